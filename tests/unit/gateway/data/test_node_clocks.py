"""Clocks of nodes against ours: ahead, behind, a slow answer, an odd one, a node that says none."""

from __future__ import annotations

import asyncio

import pytest

from gateway.data.health import PROBE_S, HealthView
from gateway.data.node_clocks import (
    ANSWERS_AGREE,
    CLOCK_SKEW_LIMIT_S,
    NodeClocks,
    Skew,
    measured_skew,
)
from storaged.memory import MemoryNode
from tests.support.cluster import MemoryCluster, memory_cluster, run_virtual

pytestmark = pytest.mark.proves("L-05")

NOW_MS = 1_800_000_000_000
RIGHT, AHEAD = Skew(0.0, 0.0), Skew(CLOCK_SKEW_LIMIT_S + 1, 0.1)


@pytest.mark.parametrize(
    ("at_s", "sent_s", "received_s", "took_s", "sure_s", "is_off"),
    [
        (0.01, 0.0, 0.02, 0.02, 0.0, False),
        (42.0, 0.0, 0.0, 0.0003, 42.0, True),
        (7.0, 0.0, 0.0, 0.0, 7.0, True),
        (-7.0, 0.0, 0.0, 0.0, -7.0, True),
        (5.0, 0.0, 0.0, 0.0, 5.0, False),
        (7.0, 0.0, 2.0, 2.0, 5.0, None),  # 6 from the middle, which 1 may explain
        (-6.5, 0.0, 2.0, 2.0, -6.5, True),  # 7.5 from the middle
        (0.0, 0.0, 20.0, 20.0, 0.0, None),
        (0.0, 0.0, -3600.0, 0.1, 0.0, None),  # our own clock was set back meanwhile
        (0.0, 0.0, 0.0, 12.0, 0.0, None),  # and to just where it had been
    ],
)
def test_only_what_the_answers_time_does_not_explain_counts(
    at_s: float, sent_s: float, received_s: float, took_s: float, sure_s: float, is_off: bool | None
) -> None:
    at_ms, sent_ms, received_ms = (NOW_MS + round(t * 1000) for t in (at_s, sent_s, received_s))
    skew = measured_skew(at_ms, sent_ms=sent_ms, received_ms=received_ms, took_s=took_s)
    assert skew.sure_s == sure_s and skew.is_off is is_off
    assert str(skew.sure_s) != "-0.0"


def watched() -> tuple[NodeClocks, list[tuple[int, bool, float]]]:
    clocks, turns = NodeClocks(), list[tuple[int, bool, float]]()
    clocks.watch(lambda *turn: turns.append(turn))
    return clocks, turns


def test_a_clock_is_off_when_answers_in_a_row_agree_and_right_again_likewise() -> None:
    clocks, turns = watched()
    for _ in range(ANSWERS_AGREE - 1):
        clocks.saw(1, AHEAD)
    clocks.saw(1, RIGHT)  # so it begins anew
    for _ in range(ANSWERS_AGREE - 1):
        clocks.saw(1, AHEAD)
        clocks.saw(1, Skew(5.0, 1.0))  # says nothing either way
    assert not turns and not clocks.off()
    clocks.saw(1, AHEAD)
    assert turns == [(1, True, AHEAD.sure_s)] and clocks.off() == {1: AHEAD.sure_s}
    for _ in range(ANSWERS_AGREE):
        clocks.saw(1, RIGHT)
    assert turns[1:] == [(1, False, 0.0)] and not clocks.off() and clocks.skew_s(1) == 0.0


def test_a_node_that_says_another_time_each_second_makes_no_news() -> None:
    clocks, turns = watched()
    for number in range(1000):
        clocks.saw(1, Skew(3600.0 if number % 2 else -3600.0, 0.0) if number % 4 else RIGHT)
    assert not turns


def test_who_is_away_has_no_clock_and_is_not_told_of_again() -> None:
    clocks, turns = watched()
    for _ in range(ANSWERS_AGREE):
        clocks.saw(1, AHEAD)
    clocks.saw(1, None)
    assert not clocks.off() and clocks.skew_s(1) is None
    clocks.saw(1, AHEAD)
    assert clocks.off() == {1: AHEAD.sure_s} and len(turns) == 1
    later = list[tuple[int, bool, float]]()
    clocks.watch(lambda *turn: later.append(turn))
    assert later == turns, "who begins to watch is told what is off"


def with_clocks(**ahead_s: float) -> MemoryCluster:
    """A cluster whose nodes have clocks, each so far ahead; those not named say no time."""
    cluster = memory_cluster()
    for faulty in cluster.nodes.values():
        ahead = ahead_s.get(faulty.identity.node.replace("-", "_"))
        if ahead is not None:
            ahead_ms = round(ahead * 1000)
            faulty.node = MemoryNode(
                faulty.identity, now_ms=lambda ms=ahead_ms: cluster.env.now_ms() + ms
            )
    return cluster


def test_probes_measure_clocks_both_ways_and_through_slow_answers() -> None:
    async def main() -> None:
        cluster = with_clocks(paris_1=0.0, paris_2=9.0, lyon_1=-9.0, lyon_2=0.0, marseille_1=-5.5)
        cluster.nodes[4].delay_s = 1.9
        cluster.nodes[5].delay_s = 1.9
        probing = asyncio.create_task(cluster.health.run())
        await asyncio.sleep((ANSWERS_AGREE + 1) * (PROBE_S + 2.0))
        probing.cancel()
        clocks = cluster.health.clocks
        assert clocks.off().keys() == {2, 3}
        assert clocks.skew_s(2) == pytest.approx(9.0, abs=0.01)
        assert clocks.skew_s(3) == pytest.approx(-9.0, abs=0.01)
        assert clocks.skew_s(1) == clocks.skew_s(4) == 0.0, "a slow answer is no skew"
        # Asked 1.9 s ago: 4.55 s behind the middle, of which 0.95 may be the way.
        assert clocks.skew_s(5) == pytest.approx(-3.6, abs=0.01)
        assert clocks.skew_s(6) is None, "an older node says no time"
        assert cluster.health.usable() == {1, 2, 3, 4, 5, 6}, "nothing depends on a clock"

    run_virtual(main())


def test_a_node_that_stops_answering_or_telling_has_no_skew() -> None:
    async def main() -> None:
        cluster = with_clocks(paris_1=60.0, paris_2=60.0)
        health: HealthView = cluster.health
        await health.probe()
        assert health.clocks.skew_s(1) == health.clocks.skew_s(2) == 60.0
        cluster.nodes[1].down = True
        cluster.nodes[2].node = MemoryNode(cluster.nodes[2].identity)
        await health.probe()
        assert health.clocks.skew_s(1) is None and health.clocks.skew_s(2) is None

    run_virtual(main())
