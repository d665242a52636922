"""What an operator is told: tiers, nodes, margins, repair, warnings."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable

from gateway.admin.margins import MarginCounter
from gateway.admin.metrics import ClusterMetrics
from gateway.meta.stripes import scan_stripes
from gateway.metrics import exposition, new_registry
from gateway.model.layout import Geometry, Tier
from storaged.base.ids import StripeFamily, StripeId
from tests.support.admin_rig import AdminRig, admin_rig
from tests.support.gateway import SECRET


def run(test: Callable[[AdminRig], Awaitable[None]], *node_counts: int) -> None:
    async def main() -> None:
        async with admin_rig(*node_counts) as rig:
            await test(rig)

    asyncio.run(main())


def test_a_healthy_cluster_is_full_and_warns_of_its_layout_only() -> None:
    async def check(rig: AdminRig) -> None:
        await rig.gateway.put("key", b"body")
        await rig.view.count_margins()
        status = rig.view.status()
        assert status["tier"]["name"] == "FULL"
        assert status["tier"]["meaning"] == "any datacenter may go"
        assert status["writes"] == {"accepted": True, "reason": ""}
        assert set(status["margins"]["by_margin"]) == {"2"}
        assert status["margins"]["counted_by"] == "now"
        assert status["index"]["buckets"] == 1 and status["index"]["buckets_counted_all"]
        assert [node["usable"] for node in status["nodes"]] == [True] * 6
        assert all(node["seen"] and node["in_service"] for node in status["nodes"])
        assert len(status["warnings"]) == 1 and "margin 0" in status["warnings"][0]
        assert SECRET not in json.dumps(status)

    run(check)


def test_a_lost_datacenter_shows_in_tier_nodes_margins_and_warnings() -> None:
    async def check(rig: AdminRig) -> None:
        await rig.gateway.put("key", b"body")
        await rig.lose("lyon")
        await rig.view.count_margins()
        status = rig.view.status()
        assert status["tier"]["epoch"] == "FULL", "the next write or the job opens another epoch"
        assert status["tier"]["name"] == "NODE" and "tier NODE" in " ".join(status["warnings"])
        await rig.gateway.log.change_tier(Tier.NODE)
        status = rig.view.status()
        assert status["tier"]["name"] == status["tier"]["epoch"] == "NODE"
        assert "not a datacenter" in status["tier"]["meaning"]
        assert status["writes"]["accepted"]
        away = [node for node in status["nodes"] if node["datacenter"] == "lyon"]
        assert all(not node["reachable"] and not node["usable"] for node in away)
        assert all("cannot be reached" in node["why_not"] for node in away)
        assert status["margins"]["lowest"] == 0
        warnings = " ".join(status["warnings"])
        assert "tier NODE" in warnings and warnings.count("takes no shards") == 2

    run(check)


def test_margins_below_zero_are_said_and_writes_refused() -> None:
    async def check(rig: AdminRig) -> None:
        await rig.gateway.put("key", b"body")
        await rig.lose("lyon")
        await rig.lose("paris")
        await rig.view.count_margins()
        status = rig.view.status()
        assert status["margins"]["lowest"] == -2
        assert status["tier"]["reachable"] == "NONE"
        assert not status["writes"]["accepted"] and "usable nodes" in status["writes"]["reason"]
        assert rig.view.not_ready() == "too-few-nodes"
        assert any("cannot be read" in warning for warning in status["warnings"])

    run(check)


def test_shards_that_were_reported_missing_do_not_count() -> None:
    async def check(rig: AdminRig) -> None:
        await rig.gateway.put("key", b"body")
        stripe = scan_stripes(rig.gateway.log, rig.view.records, None, limit=1)[0].row.stripe
        rig.repairs.report(stripe, 0, "not on its node")
        rig.repairs.report(stripe, 3, "not on its node")
        await rig.view.count_margins()
        by_margin = rig.view.status()["margins"]["by_margin"]
        assert by_margin["0"] == 1 and list(by_margin) == ["0", "2"]
        assert rig.view.status()["repair"]["waiting"] == 1

    run(check)


def test_readiness_has_a_word_for_a_log_that_stopped() -> None:
    async def check(rig: AdminRig) -> None:
        assert rig.view.not_ready() == ""
        await rig.gateway.log.close()
        assert rig.view.not_ready() == "stopped"
        rig.view.closing = True
        assert rig.view.not_ready() == "closing"

    run(check)


def test_a_node_that_says_it_is_elsewhere_is_named() -> None:
    async def check(rig: AdminRig) -> None:
        first, second = rig.gateway.cluster.nodes[1], rig.gateway.cluster.nodes[3]
        first.node, second.node = second.node, first.node
        await rig.gateway.cluster.health.probe()
        assert any("says it is fr/" in warning for warning in rig.view.warnings())

    run(check)


def test_unrecoverable_stripes_are_listed_but_not_all() -> None:
    async def check(rig: AdminRig) -> None:
        for counter in range(60):
            stripe = StripeId(StripeFamily.DATA, 1, counter)
            rig.repairs.unrecoverable[stripe] = "too few shards"
        repair = rig.view.status()["repair"]
        assert repair["unrecoverable_count"] == 60 and len(repair["unrecoverable"]) == 50
        assert repair["unrecoverable"][0] == {"stripe": "data-1-0", "reason": "too few shards"}
        assert "60 stripes" in rig.view.warnings()[0]

    run(check)


def test_a_large_index_is_left_to_the_repair_job() -> None:
    async def check(rig: AdminRig) -> None:
        for number in range(3):
            await rig.gateway.put(f"key-{number}", b"body")
        counter = MarginCounter(
            log=rig.gateway.log,
            records=rig.view.records,
            health=rig.view.health,
            repairs=rig.repairs,
            env=rig.view.env,
            stripes_max=1,
        )
        assert await counter.count(rig.view.topology) is None
        await rig.repairer.step()
        margins = rig.view.margins()
        assert margins.counted_by == "the last look of job repair"
        assert margins.by_margin == {2: sum(margins.by_margin.values())} and margins.counted_at_ms

    run(check)


def test_metrics_hold_what_alerts_need() -> None:
    async def check(rig: AdminRig) -> None:
        await rig.gateway.put("key", b"body")
        await rig.repairer.step()
        await rig.lose("lyon")
        text = exposition(new_registry(ClusterMetrics(rig.view))).decode()
        lines = dict(line.rsplit(" ", 1) for line in text.splitlines() if line[0] != "#")
        assert lines["hexagone_log_tier"] == "2.0"
        assert lines["hexagone_reachable_tier"] == "1.0"
        assert lines["hexagone_writes_accepted"] == "1.0"
        assert lines['hexagone_node_usable{datacenter="lyon",node="lyon-1"}'] == "0.0"
        assert lines['hexagone_node_usable{datacenter="paris",node="paris-1"}'] == "1.0"
        assert float(lines['hexagone_stripes{margin="2"}']) > 0
        assert lines['hexagone_job_state{job="count",state="waiting"}'] == "1.0"
        assert lines['hexagone_job_waiting{job="count"}'] == "0.0"
        assert float(lines["hexagone_index_rows"]) > 0
        assert lines["hexagone_buffers_max"] == "8.0"

    run(check)


def test_durability_of_both_layouts_with_what_it_rests_on() -> None:
    async def check(rig: AdminRig) -> None:
        report = rig.view.durability()
        present, production = report["present"], report["production"]
        assert present["layout"] == "4+2" and present["shards_per_datacenter"] == [2, 2, 2]
        assert present["margin_after_datacenter"] == 0 and present["nines"] == 5.1
        assert present["dominant_cause"] == "a datacenter destroyed"
        assert production["layout"] == "5+4" and production["margin_after_datacenter"] == 1
        assert production["nines"] == 6.6
        assert "margin 0 after losing one" in report["sentence"]
        assert report["assumptions"]["repair_hours"] == 24.0
        assert any("one machine" in caveat for caveat in report["caveats"])

    run(check)


def test_durability_says_when_shards_share_nodes_or_a_layout_is_impossible() -> None:
    async def two_sites(rig: AdminRig) -> None:
        report = rig.view.durability()
        assert report["present"]["margin_after_datacenter"] == -1
        assert report["present"]["after_datacenter"] == "stripes are lost with a datacenter"
        assert any("share a node" in caveat for caveat in report["caveats"])
        assert any("fewer than three" in caveat for caveat in report["caveats"])

    run(two_sites, 2, 2)

    async def impossible() -> None:
        async with admin_rig(1, 1, 1, geometry=Geometry(4, 2)) as rig:
            few = rig.view.topology
            rig.view.topology = type(few)(few.epoch, few.nodes[:2])
            assert rig.view.durability()["present"]["possible"] is False

    asyncio.run(impossible())
