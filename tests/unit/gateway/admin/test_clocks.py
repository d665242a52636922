"""What is told of nodes whose clocks are off: status, metrics, events."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.admin.clocks import CLOCK_OFF, CLOCK_RIGHT, clock_warnings, tell_of_clocks
from gateway.admin.metrics import ClusterMetrics
from gateway.data.node_clocks import ANSWERS_AGREE, CLOCK_SKEW_LIMIT_S
from gateway.journal.events import CLUSTER, read_line
from gateway.journal.journal import Journal, JournalConfig
from gateway.journal.store import read_lines
from gateway.metrics import exposition, new_registry
from gateway.terminal.language import Language, heard, use
from storaged.base.env import Env
from storaged.memory import MemoryNode
from tests.support.admin_rig import AdminRig, admin_rig
from tests.support.cluster import run_virtual
from tests.support.journal_rig import findings, keys_with

pytestmark = pytest.mark.proves("L-05")


def clock(env: Env, ahead_s: float) -> Callable[[], int]:
    return lambda: env.now_ms() + round(ahead_s * 1000)


async def probe(rig: AdminRig, **ahead_s: float) -> None:
    """Set clocks of nodes, and ask for them often enough."""
    cluster = rig.gateway.cluster
    for faulty in cluster.nodes.values():
        ahead = ahead_s.get(faulty.identity.node.replace("-", "_"))
        if ahead is not None:
            faulty.node = MemoryNode(faulty.identity, now_ms=clock(cluster.env, ahead))
    for _ in range(ANSWERS_AGREE):
        await cluster.health.probe()


def test_status_and_metrics_have_the_skew_of_each_node_that_says_its_time() -> None:
    async def main() -> None:
        async with admin_rig() as rig:
            view, clocks = rig.view, rig.view.health.clocks
            view.more_warnings = lambda: clock_warnings(clocks, view.topology)
            await probe(rig, paris_1=9.0, paris_2=2.0, lyon_1=-3600.0)
            found = {one["node"]: one["clock_skew_s"] for one in view.status()["nodes"]}
            assert (found["paris-1"], found["paris-2"], found["lyon-1"]) == (9.0, 2.0, -3600.0)
            assert found["lyon-2"] is None
            assert [one for one in view.warnings() if "clock" in one] == [
                "the clock of node lyon-1 is 3600.0 s behind this gateway's",
                "the clock of node paris-1 is 9.0 s ahead of this gateway's",
            ]
            page = exposition(new_registry(ClusterMetrics(view))).decode()
            lines = [one for one in page.splitlines() if one.startswith("hexagone_node_clock")]
            assert lines == [
                'hexagone_node_clock_skew_seconds{datacenter="paris",node="paris-1"} 9.0',
                'hexagone_node_clock_skew_seconds{datacenter="paris",node="paris-2"} 2.0',
                'hexagone_node_clock_skew_seconds{datacenter="lyon",node="lyon-1"} -3600.0',
            ]
            assert not view.not_ready() and all(one["usable"] for one in view.status()["nodes"])

    run_virtual(main())


def test_both_sides_are_said_in_french() -> None:
    for told, french in (
        (
            "the clock of node paris-1 is 9.0 s ahead of this gateway's",
            "l'horloge du nœud paris-1 avance de 9.0 s sur celle de cette passerelle",
        ),
        (
            "the clock of node lyon-1 is 3600.0 s behind this gateway's",
            "l'horloge du nœud lyon-1 retarde de 3600.0 s sur celle de cette passerelle",
        ),
    ):
        use(Language.FRENCH)
        try:
            assert heard(told) == french
        finally:
            use(Language.ENGLISH)


def test_the_journal_knows_when_a_clock_goes_off_and_is_right_again(tmp_path: Path) -> None:
    async def main() -> None:
        async with admin_rig() as rig:
            env = rig.view.env
            journal = Journal(JournalConfig(folder=tmp_path), keys_with(), env)
            journal.start()
            clocks, topology = rig.view.health.clocks, rig.view.topology
            await probe(rig, paris_1=60.0)  # before somebody watches
            tell_of_clocks(clocks, topology, journal, env)
            await probe(rig, lyon_2=-7.5)
            await probe(rig, paris_1=0.0)
            await probe(rig, paris_1=CLOCK_SKEW_LIMIT_S - 1)
            await journal.close()

    run_virtual(main())
    assert not findings(tmp_path).findings
    lines = read_lines(tmp_path / "logs" / CLUSTER, 0, 100)
    entries = [read_line(line, seq) for seq, line in enumerate(lines)]
    told = [one for one in entries if one.type.startswith("node.")]
    assert [(one.type, one.body["node"], one.body["datacenter"]) for one in told] == [
        (CLOCK_OFF, "paris-1", "paris"),
        (CLOCK_OFF, "lyon-2", "lyon"),
        (CLOCK_RIGHT, "paris-1", "paris"),
    ]
    assert [one.body["skew_ms"] for one in told] == [60_000, -7500, 0]
    assert {one.body["limit_ms"] for one in told} == {5000}


@pytest.mark.parametrize("at_ms", [0, 2**64 - 1])
def test_a_node_may_say_any_time_it_likes(tmp_path: Path, at_ms: int) -> None:
    """Eight bytes of the wire: status, metrics and journal take whatever they are."""

    async def main() -> None:
        async with admin_rig() as rig:
            view, clocks = rig.view, rig.view.health.clocks
            view.more_warnings = lambda: clock_warnings(clocks, view.topology)
            journal = Journal(JournalConfig(folder=tmp_path), keys_with(), view.env)
            journal.start()
            tell_of_clocks(clocks, view.topology, journal, view.env)
            liar = rig.gateway.cluster.nodes[1]
            liar.node = MemoryNode(liar.identity, now_ms=lambda: at_ms)
            await probe(rig)
            assert [one for one in view.warnings() if "clock" in one and "paris-1" in one]
            assert "paris-1" in exposition(new_registry(ClusterMetrics(view))).decode()
            assert all(one["usable"] for one in view.status()["nodes"])
            await journal.close()

    run_virtual(main())
    assert not findings(tmp_path).findings
    lines = read_lines(tmp_path / "logs" / CLUSTER, 0, 100)
    told = [read_line(line, seq) for seq, line in enumerate(lines)]
    assert [one.body["node"] for one in told if one.type == CLOCK_OFF] == ["paris-1"]


def test_without_a_journal_a_clock_is_off_all_the_same() -> None:
    async def main() -> None:
        async with admin_rig() as rig:
            tell_of_clocks(rig.view.health.clocks, rig.view.topology, None, rig.view.env)
            await probe(rig, paris_1=60.0)
            assert rig.view.health.clocks.off().keys() == {1}

    run_virtual(main())
