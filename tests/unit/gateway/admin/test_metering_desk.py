"""Usage, limits, plans and statements as operators see them; computed again, they are the same."""

from __future__ import annotations

import asyncio
import csv
import io
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from gateway.admin.metering_desk import MeteringDesk, MeteringInputInvalid, NoSuchMeteredBucket
from gateway.cli import metering_cli, statements
from gateway.cli.statements import StatementInvalid
from gateway.main import app
from gateway.model.billing import HOUR_MS, Plan, PlanChange
from gateway.model.errors import QuotaExceeded
from gateway.model.quota import QuotaInvalid
from gateway.objects.delete import delete_object
from gateway.terminal.user_files import FileUnusable
from tests.support.gateway import BUCKET, TENANT
from tests.support.metered import Metered, TurnedEnv, metered_gateway
from tests.support.usage_scan import full_scan

pytestmark = pytest.mark.proves("A-16")

NOVEMBER = 1_793_491_200_000  # 2026-11-01T00Z
PRICES = """
currency = "EUR"
out_gb = 0.01
reserved_gb = 0.008
overage_gb = 0.02
[storage]
STANDARD = 0.0146
"*" = 0.02
[requests_10k]
write = 0.05
"""


def run(folder: Path, test: Callable[[Metered, MeteringDesk], Awaitable[None]]) -> None:
    async def main() -> None:
        async with metered_gateway(folder / "index", TurnedEnv(NOVEMBER)) as rig:
            await test(rig, MeteringDesk(rig.gateway.services))

    asyncio.run(main())


def test_usage_equals_a_full_scan(tmp_path: Path) -> None:
    async def main(rig: Metered, desk: MeteringDesk) -> None:
        for number in range(5):
            await rig.gateway.put(f"k{number}", bytes(1000 * number))
        answer = await desk.usage({"bucket": BUCKET})
        (found,) = full_scan(rig.gateway.log, rig.gateway.services.records).values()
        assert answer["usage"][0]["stored_bytes"] == found.stored_bytes == 10_000
        assert answer["total"]["objects"] == found.objects == 5
        assert await desk.usage({"tenant": TENANT.hex()}) == answer == await desk.usage({})
        rows = metering_cli._usage_rows(answer["usage"], answer["total"])
        table = list(csv.DictReader(io.StringIO(metering_cli._csv(rows))))
        assert [row["stored_bytes"] for row in table] == ["10000", "10000"]
        with pytest.raises(NoSuchMeteredBucket):
            await desk.usage({"bucket": "absent"})

    run(tmp_path, main)


def test_limits_are_set_changed_shown_and_cleared(tmp_path: Path) -> None:
    async def main(rig: Metered, desk: MeteringDesk) -> None:
        of_bucket = {"subject": "bucket", "name": BUCKET}
        await desk.set_quota({**of_bucket, "limits": '{"stored_bytes": 100, "objects": 9}'})
        answer = await desk.set_quota({**of_bucket, "limits": '{"objects": null}'})
        assert [(held["name"], held["limits"]) for held in answer["quotas"]] == [
            (BUCKET, {"stored_bytes": 100})
        ]
        with pytest.raises(QuotaExceeded):
            await rig.gateway.put("k", bytes(101))
        assert (await desk.clear_quota(of_bucket))["quotas"] == []
        await rig.gateway.put("k", bytes(101))
        for fields in (
            {"subject": "moon", "name": "x"},
            {"subject": "bucket", "name": ""},
            {"subject": "source", "name": "\u00e9"},
            {**of_bucket, "limits": "[]"},
        ):
            with pytest.raises(MeteringInputInvalid):
                await desk.set_quota(fields)
        with pytest.raises(QuotaInvalid):
            await desk.set_quota({**of_bucket, "limits": '{"buckets": 3}'})

    run(tmp_path, main)


async def _a_month(rig: Metered) -> None:
    """10 GB·h ten times over would take bodies that large: bytes here are small, times long."""
    await rig.gateway.put("kept", bytes(100_000))
    rig.env.turn(10 * 24 * 3600)
    await rig.gateway.put("half", bytes(50_000))
    rig.meter.request(rig.bucket_id, "GetObject", 0, 3 * 10**11)  # type: ignore[arg-type]
    rig.env.turn(5 * 24 * 3600)
    await delete_object(rig.gateway.ctx(), BUCKET, "half")
    rig.env.turn(20 * 24 * 3600)
    await rig.meter.flush()


def test_a_statement_computed_again_from_its_hours_is_the_same(tmp_path: Path) -> None:
    """A-16."""
    prices = tmp_path / "prices.toml"
    prices.write_text(PRICES)
    first, end = statements.month_hours("2026-11")
    held: dict[str, Any] = {}

    async def main(rig: Metered, desk: MeteringDesk) -> None:
        await _a_month(rig)
        fields = {"tenant": TENANT.hex(), "from_hour": str(first), "to_hour": str(end)}
        held["hours"], held["plan"] = await desk.hours(fields), desk.plan(fields)
        held["metered"] = await desk.metered(fields)
        held["statement"] = statements.statement_of(
            tenant=held["plan"]["tenant"],
            tenant_id=TENANT.hex(),
            month="2026-11",
            hours=statements.hours_of(held["hours"]),
            plans=[],
            prices=statements.read_prices(prices),
        )

    run(tmp_path, main)
    made = held["statement"]
    days = 24 * HOUR_MS
    by_hand = 100_000 * 30 * days + 50_000 * 5 * days
    assert made["is_final"] and held["metered"]["total"]["byte_ms"] == {"STANDARD": by_hand}
    lines = {line["item"]: line for line in made["lines"]}
    assert lines["storage STANDARD"]["quantity"] == by_hand
    assert lines["sent"]["amount"] == "3.00" and made["total"] == "3.00"
    for name in ("hours", "plan"):
        (tmp_path / f"{name}.json").write_text(json.dumps(held[name]))
    command = ["statement", "2026-11", "--prices", prices, "--json"]
    command += ["--hours", tmp_path / "hours.json", "--plan", tmp_path / "plan.json"]
    again = CliRunner().invoke(app, list(map(str, command)))
    assert again.exit_code == 0, again.output
    assert json.loads(again.output) == made
    other = CliRunner().invoke(app, [*map(str, command[:1]), "2026-10", *map(str, command[2:])])
    assert other.exit_code != 0


def test_plans_reserve_and_who_is_switching_pays_nothing_for_what_is_sent(tmp_path: Path) -> None:
    """MET-03."""
    prices = statements.prices_of(
        {"reserved_gb": "2", "overage_gb": "3", "out_gb": "5", "storage": {"STANDARD": "7"}}
    )
    month = statements.month_hours("2026-11")
    terabyte_hours = {
        "bucket_id": "aa",
        "number": month[0],
        "name": "b",
        "until_ms": month[0] * HOUR_MS + 1,
        "levels": {},
        "byte_ms": {"STANDARD": 10**9 * 730 * HOUR_MS * 10},
        "requests": {},
        "in_bytes": 0,
        "out_bytes": 4 * 10**9,
    }
    hours = {
        "from_hour": month[0],
        "to_hour": month[1],
        "until_ms": month[1] * HOUR_MS,
        "hours": [terabyte_hours],
    }

    def total(plan: Plan) -> str:
        made = statements.statement_of(
            tenant="t",
            tenant_id="",
            month="2026-11",
            hours=statements.hours_of(hours),
            plans=[PlanChange(since_hour=0, plan=plan)],
            prices=prices,
        )
        return str(made["total"])

    assert total(Plan()) == "90.00"  # 10 GB·month at 7, 4 GB at 5
    assert total(Plan(switching=True)) == "70.00"
    assert total(Plan(reserved_bytes=6 * 10**9)) == "44.00"  # 6 at 2, 4 over at 3, 4 sent at 5
    assert total(Plan(reserved_bytes=60 * 10**9, switching=True)) == "120.00"
    assert total(Plan(reserved_out_bytes=3 * 10**9)) == "75.00"  # one GB over at 5

    async def main(rig: Metered, desk: MeteringDesk) -> None:
        fields = {"tenant": TENANT.hex()}
        assert desk.plan(fields)["kind"] == "on-demand"
        await desk.set_plan({**fields, "reserved_bytes": "5", "switching": "1"})
        answer = desk.plan(fields)
        assert (answer["kind"], answer["reserved_bytes"], answer["switching"]) == (
            "subscription",
            5,
            True,
        )

    run(tmp_path, main)


def test_price_lists_that_are_none_are_refused(tmp_path: Path) -> None:
    for held in (
        {"storage": {"STANDRAD": 1}},
        {"requests_10k": {"read": -1}},
        {"out_gb": "much"},
        {"out_gb": "NaN"},
        {"nonsense": 1},
        {"storage": 3},
    ):
        with pytest.raises(StatementInvalid):
            statements.prices_of(held)
    with pytest.raises(FileUnusable):
        statements.read_prices(tmp_path / "absent.toml")
    (tmp_path / "prices.toml").write_text("nonsense = 1")
    with pytest.raises(FileUnusable, match="unknown price nonsense"):
        statements.read_prices(tmp_path / "prices.toml")
    for month in ("2026", "2026-13", "november"):
        with pytest.raises(StatementInvalid):
            statements.month_hours(month)
    assert statements.month_hours("2026-12")[1] - statements.month_hours("2026-12")[0] == 31 * 24


def test_quantities_have_units_and_cells_are_no_formulas() -> None:
    assert metering_cli._quantity("20G") == 20 * 10**9
    assert metering_cli._quantity("2Ti") == 2 << 40
    assert metering_cli._quantity("none") is None
    for said in ("", "G", "2X", "-1", "1.5G"):
        with pytest.raises(Exception, match="quantity"):
            metering_cli._quantity(said)
    assert metering_cli._plain("=1+1") == "'=1+1"
