"""How much may be opened and resealed in an hour, and who is told when it was too much."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from gateway.config_keys import KeydBudgetsConfig, KeydConfig
from gateway.data.bucket_sealing import Reseal
from gateway.data.envelope import DEK_LABEL, KeyBudgetSpent, SealInvalid
from gateway.data.keyring import FileKeyring
from gateway.journal.events import CLUSTER as CLUSTER_LOG
from gateway.journal.events import read_line
from gateway.journal.journal import Journal, JournalConfig
from gateway.journal.store import read_lines
from gateway.keyd import budgets as module
from gateway.keyd.budgets import HOUR_S, WARNED_SHARE, Asker, Budget, KeyBudgets
from gateway.keyd.child import KeydFiles, lay_out_keyd
from gateway.keyd.keys import KeydKeys, KeydSealer
from gateway.keyd.metrics import KeydMetrics
from gateway.keyd.refusals import KeydRefused, KeydUnavailable
from gateway.keyd.service import KeyService
from gateway.keyd.told import BUDGET_SPENT, SpentBudgets, tell_of_budgets
from gateway.keyd.wire import SHAPES, Verb, encode_fields
from gateway.s3.errors import s3_code_for
from storaged.base.config import read_config
from storaged.base.env import RealEnv
from tests.support.journal_rig import findings, keys_with
from tests.support.keyd_rig import CLUSTER, SECRET, keyd
from tests.support.turn_env import TurnEnv

pytestmark = pytest.mark.proves("B-08", "K-06")
TENANT, OTHER, BUCKET = b"t" * 16, b"o" * 16, b"b" * 16
CONTEXT, DEK = b"where", b"d" * 32
ONE = Asker("gw-1", TENANT)


def sealed(keys: KeydKeys, count: int, tenant: bytes = TENANT) -> tuple[KeydSealer, list[bytes]]:
    """A gateway that has sealed nothing itself, and records that the key service has to open."""
    keys.create_tenant_key(tenant)
    wrapped = keys.new_bucket_key(tenant, BUCKET, 1, 1)
    sealer = keys.bucket_sealer(tenant, BUCKET, 1, wrapped, 1)
    records = [sealer.seal(DEK_LABEL, CONTEXT, DEK, os.urandom(24)) for _ in range(count)]
    return keys.bucket_sealer(tenant, BUCKET, 1, wrapped, 1), records


def opened(sealer: KeydSealer, records: list[bytes]) -> Iterator[str]:
    for record in records:
        try:
            yield "opened" if sealer.open(DEK_LABEL, CONTEXT, record) == DEK else "wrong"
        except KeyBudgetSpent:
            yield "refused"


@pytest.mark.parametrize("is_slow", [False, True])
def test_a_tenants_opens_end_where_its_budget_does(tmp_path: Path, is_slow: bool) -> None:
    """Also where a device is asked in a thread of its own."""
    config = KeydBudgetsConfig(opens_per_hour_max=3)
    with keyd(tmp_path, budgets=config, is_slow=is_slow) as (rig, keys):
        sealer, records = sealed(keys, 6)
        assert list(opened(sealer, records)) == ["opened"] * 3 + ["refused"] * 3
        with pytest.raises(KeyBudgetSpent) as refused:
            sealer.open(DEK_LABEL, CONTEXT, records[0])
        told = refused.value.fields
        assert (told["budget"], told["of"], told["who"]) == ("opens", "tenant", TENANT.hex())
        assert told["per_hour_max"] == "3" and 0 < int(str(told["again_s"])) <= 1200
        assert rig.service.budgets.refused == {("opens", "tenant"): 4}
        # Nobody else pays for it, nothing is down, and what needs no open goes on.
        other, of_other = sealed(keys, 3, OTHER)
        assert list(opened(other, of_other)) == ["opened"] * 3
        assert not keys.client.is_down
        record = sealer.seal(DEK_LABEL, CONTEXT, DEK, os.urandom(24))
        assert sealer.open(DEK_LABEL, CONTEXT, record) == DEK
        assert keys.summary()["budget_refusals"] == 4


def test_a_gateways_opens_end_where_its_own_budget_does(tmp_path: Path) -> None:
    """Whatever the tenant; and a named key opens as a bucket's does."""
    config = KeydBudgetsConfig(gateway_opens_per_hour_max=4)
    with keyd(tmp_path, budgets=config) as (_, keys):
        first, records = sealed(keys, 2)
        other, of_other = sealed(keys, 2, OTHER)
        keys.create_named_key(TENANT, "name")
        wrapped = keys.wrap_named(TENANT, "name", b"context", DEK)
        assert keys.unwrap_named(TENANT, "name", b"context", wrapped) == DEK
        assert list(opened(first, records)) + list(opened(other, of_other)) == [
            *["opened"] * 3,
            "refused",
        ]
        with pytest.raises(KeyBudgetSpent) as refused:
            keys.unwrap_named(TENANT, "name", b"context", wrapped)
        assert refused.value.fields["who"] == f"user {os.geteuid()}"


def test_reseals_have_a_budget_of_records_not_of_calls(tmp_path: Path) -> None:
    config = KeydBudgetsConfig(reseals_per_hour_max=5, opens_per_hour_max=1)
    with keyd(tmp_path, budgets=config) as (_, keys):
        sealer, records = sealed(keys, 4)
        wanted = Reseal(sealer, sealer, DEK_LABEL, (b"", b""), [CONTEXT] * 4, records)
        assert all(keys.reseal(wanted))
        assert all(keys.reseal(wanted))  # one was left: what is done beyond is owed
        with pytest.raises(KeyBudgetSpent):
            keys.reseal(wanted)
        assert list(opened(sealer, records[:1])) == ["opened"]


def test_a_secret_is_not_resealed_for_another_tenant_to_pay_its_opening(tmp_path: Path) -> None:
    """Nor for another bucket: a rotation has no use for either."""
    config = KeydBudgetsConfig(opens_per_hour_max=1)
    with keyd(tmp_path, budgets=config) as (rig, keys):
        sealer, records = sealed(keys, 2)
        assert list(opened(sealer, records)) == ["opened", "refused"]
        wrapped = keys.new_bucket_key(TENANT, b"c" * 16, 1, 1)
        beside = keys.bucket_sealer(TENANT, b"c" * 16, 1, wrapped, 1)
        for own in (sealed(keys, 0, OTHER)[0], beside):
            with pytest.raises(KeydRefused):
                keys.reseal(Reseal(sealer, own, DEK_LABEL, (b"", b""), [CONTEXT] * 2, records))
        given = {verb for _, _, verb, _ in rig.service.releases.counted()}
        assert "open_under_bucket" in given and "reseal_under_bucket" not in given


def test_what_does_not_open_is_no_open(tmp_path: Path) -> None:
    """Else junk would spend a tenant's budget, or push holders out."""
    config = KeydBudgetsConfig(opens_per_hour_max=1)
    with keyd(tmp_path, budgets=config) as (_, keys):
        sealer, records = sealed(keys, 1)
        for _ in range(5):
            with pytest.raises(SealInvalid):
                sealer.open(DEK_LABEL, b"elsewhere", records[0])
        assert list(opened(sealer, records * 2)) == ["opened", "refused"]


def test_tokens_come_back_evenly_and_never_more_than_an_hours() -> None:
    budget, now_s = Budget("opens", "tenant", 60), 1e6
    for _ in range(60):
        budget.check("a", now_s)
        budget.charge("a", 1, now_s)
    with pytest.raises(KeyBudgetSpent) as refused:
        budget.check("a", now_s)
    assert refused.value.fields["again_s"] == 60
    with pytest.raises(KeyBudgetSpent):
        budget.check("a", now_s + 59)
    budget.check("a", now_s + 60.001)
    given = 0
    with pytest.raises(KeyBudgetSpent):
        for _ in range(1000):
            budget.check("a", now_s + 50 * HOUR_S)
            budget.charge("a", 1, now_s + 50 * HOUR_S)
            given += 1
    assert given == 60


def test_by_default_nothing_is_refused_and_much_is_warned_of(
    caplog: pytest.LogCaptureFixture,
) -> None:
    config = KeydBudgetsConfig()
    budgets, now_s = KeyBudgets(config), 5.0
    for _ in range(config.opens_per_hour_warn // 1000):
        budgets.check(Verb.OPEN_UNDER_BUCKET, ONE, now_s)
        budgets.charge(Verb.OPEN_UNDER_BUCKET, ONE, 1000, now_s)
    for _ in range(30_000 * 3600 // 1_000_000):  # an hour of a rotation
        budgets.check(Verb.RESEAL_UNDER_BUCKET, ONE, now_s)
        budgets.charge(Verb.RESEAL_UNDER_BUCKET, ONE, 1_000_000, now_s)
    assert not caplog.records
    for _ in range(3):
        budgets.charge(Verb.OPEN_UNDER_BUCKET, ONE, 1, now_s)
    (told,) = caplog.records  # once in an hour
    assert told.fields["who"] == TENANT.hex()  # type: ignore[attr-defined]
    assert [one.warned for one in budgets.told(now_s)] == [1, 0, 0, 0]
    assert [one.warned for one in budgets.told(now_s + HOUR_S)] == [0, 0, 0, 0]
    budgets.charge(Verb.OPEN_UNDER_BUCKET, ONE, config.opens_per_hour_warn + 1, now_s + HOUR_S)
    assert len(caplog.records) == 2
    assert not budgets.refused


def test_a_maximum_warns_before_it_refuses(caplog: pytest.LogCaptureFixture) -> None:
    budgets = KeyBudgets(KeydBudgetsConfig(opens_per_hour_max=100))
    budgets.charge(Verb.OPEN_UNDER_BUCKET, ONE, round(100 * WARNED_SHARE), 5.0)
    assert not caplog.records
    budgets.charge(Verb.OPEN_UNDER_BUCKET, ONE, 1, 5.0)
    assert len(caplog.records) == 1
    never = KeyBudgets(KeydBudgetsConfig(opens_per_hour_warn=0))
    never.charge(Verb.OPEN_UNDER_BUCKET, ONE, 10**9, 5.0)
    assert len(caplog.records) == 1


@pytest.mark.parametrize("per_hour_max", [0, 2])
def test_nobody_is_forgotten_to_have_more(
    monkeypatch: pytest.MonkeyPatch, per_hour_max: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Who makes tenants to push others out gets no budget of theirs anew, and hides no warning."""
    monkeypatch.setattr(module, "HOLDERS_MAX", 3)
    budget, now_s = Budget("opens", "tenant", per_hour_max, warned_above=2), 1e6

    def use(who: str, at_s: float) -> None:
        budget.check(who, at_s)
        budget.charge(who, 2, at_s)

    use("spent", now_s)
    for number in range(20):
        use(f"made {number}", now_s)
        budget.charge("spent", 0, now_s)
    assert budget.told(now_s).most_used == 2
    if per_hour_max:
        with pytest.raises(KeyBudgetSpent):
            use("spent", now_s)
    else:
        use("spent", now_s)
        assert "much of a budget" in caplog.text
    assert budget.known_count == 21


@pytest.mark.parametrize("per_hour_max", [0, 100])
def test_who_would_have_no_more_is_forgotten(
    monkeypatch: pytest.MonkeyPatch, per_hour_max: int
) -> None:
    monkeypatch.setattr(module, "HOLDERS_MAX", 3)
    budget, now_s = Budget("opens", "tenant", per_hour_max), 1e6
    for number in range(10):
        budget.charge(f"tenant {number}", 1, now_s)
    for number in range(10):
        budget.charge(f"tenant {number}", 1, now_s + HOUR_S)
    budget.charge("owes", 250, now_s + HOUR_S)
    assert budget.known_count == 11
    budget.charge("later", 1, now_s + 2 * HOUR_S)
    assert budget.known_count == 3
    if per_hour_max:
        with pytest.raises(KeyBudgetSpent):
            budget.check("owes", now_s + 2 * HOUR_S)


def test_a_client_is_told_to_slow_down() -> None:
    answer = s3_code_for(KeyBudgetSpent(budget="opens", of="tenant", who="ab", per_hour_max=3))
    assert (answer.code, answer.status) == ("SlowDown", 503)
    assert dict(answer.headers)["Retry-After"] and not answer.extra


def test_the_key_service_counts_in_metrics_of_its_own(tmp_path: Path) -> None:
    env = TurnEnv(Random(1))
    service = KeyService(
        FileKeyring(tmp_path, SECRET, env),
        CLUSTER,
        env,
        cache_s=300.0,
        provider_name="file",
        budgets=KeydBudgetsConfig(opens_per_hour_max=2),
    )
    keys = {"create": Verb.CREATE_NAMED_KEY, "wrap": Verb.WRAP_NAMED, "open": Verb.UNWRAP_NAMED}

    def ask(verb: Verb, *values: object) -> bytes:
        payload = encode_fields(SHAPES[verb].request, values)  # type: ignore[arg-type]
        return service.answer(verb, payload, "gw-1")

    ask(Verb.CREATE_TENANT_KEY, TENANT)
    ask(keys["create"], TENANT, "name")
    wrapped = ask(keys["wrap"], TENANT, "name", b"context", DEK)[4:]
    for _ in range(2):
        ask(keys["open"], TENANT, "name", b"context", wrapped)
    with pytest.raises(KeyBudgetSpent):
        ask(keys["open"], TENANT, "name", b"context", wrapped)
    page = KeydMetrics(service, env).render().decode().splitlines()
    assert (
        f'hexagone_keyd_released_total{{gateway="gw-1",tenant="{TENANT.hex()}",'
        'verb="unwrap_named"} 2.0'
    ) in page
    for name, value in (
        ("budget_refused_total", 1),
        ("budget_per_hour", 2),
        ("budget_used", 2),
        ("budget_warned", 1),
    ):
        assert f'hexagone_keyd_{name}{{budget="opens",of="tenant"}} {value}.0' in page
        assert f'hexagone_keyd_{name}{{budget="reseals",of="gateway"}} 0.0' in page
    assert not any(DEK.hex() in line or wrapped.hex() in line for line in page)


def test_the_journal_is_told_once_for_an_hour(tmp_path: Path) -> None:
    env = TurnEnv(Random(1))

    async def main() -> None:
        journal = Journal(JournalConfig(folder=tmp_path), keys_with(), env)
        journal.start()
        spent = SpentBudgets(journal, env, asyncio.get_running_loop())
        fields = {"budget": "opens", "of": "tenant", "per_hour_max": "3", "again_s": "1"}
        for _ in range(50):
            spent.heard(KeyBudgetSpent(**fields, who="ab"))
            spent.heard(KeydUnavailable(reason="away"))
        await asyncio.to_thread(spent.heard, KeyBudgetSpent(**fields, who="cd"))
        env.wall_ms += round(HOUR_S * 1000)
        spent.heard(KeyBudgetSpent(**fields, who="ab"))
        await asyncio.sleep(0)
        await journal.close()

    asyncio.run(main())
    assert not findings(tmp_path).findings
    lines = read_lines(tmp_path / "logs" / CLUSTER_LOG, 0, 100)
    entries = [read_line(line, seq) for seq, line in enumerate(lines)]
    told = [one.body for one in entries if one.type == BUDGET_SPENT]
    assert [one["who"] for one in told] == ["ab", "cd", "ab"]
    assert told[0].items() >= {"budget": "opens", "of": "tenant", "per_hour_max": "3"}.items()


def test_a_gateway_tells_of_what_it_hears(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with keyd(tmp_path, budgets=KeydBudgetsConfig(opens_per_hour_max=1)) as (_, keys):

        async def main() -> None:
            env = RealEnv(1)
            tell_of_budgets(keys, None, env)
            sealer, records = sealed(keys, 4)
            assert list(opened(sealer, records)).count("refused") == 3
            env.close()

        asyncio.run(main())
        heard = [one for one in caplog.records if "the key service refuses" in one.getMessage()]
        assert len(heard) == 1
        tell_of_budgets(FileKeyring(tmp_path, SECRET, RealEnv(1)), None, RealEnv(1))


def test_what_was_configured_stays_when_up_writes_the_file_anew(tmp_path: Path) -> None:
    files, env = KeydFiles(tmp_path), RealEnv(1)
    lay_out_keyd(files, tmp_path / "keys", CLUSTER, env, unsafe_sigv2=False)
    held = files.config.read_text()
    lay_out_keyd(files, tmp_path / "keys", CLUSTER, env, unsafe_sigv2=False)
    assert "budgets" not in files.config.read_text()  # defaults are those of the release
    tables = "\n[budgets]\nopens_per_hour_max = 7\n[metrics]\nport = 7499\n"
    files.config.write_text(held.partition("\n[")[0] + tables)
    lay_out_keyd(files, tmp_path / "keys", CLUSTER, env, unsafe_sigv2=False)
    found = read_config(KeydConfig, files.config)
    assert found.budgets.opens_per_hour_max == 7
    assert found.metrics is not None and found.metrics.port == 7499
    env.close()
