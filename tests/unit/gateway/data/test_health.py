"""The health view: who is usable, who is readable, how fast, and who is told."""

from __future__ import annotations

import asyncio

import pytest

from gateway.data.health import PROBE_DEADLINE_S, PROBE_S, QUARANTINE_S, HealthView
from storaged.base.errors import DeadlineExceeded
from storaged.node import (
    DriveFull,
    DriveOutOfService,
    FencedOut,
    NodeBusy,
    NodeUnavailable,
    ShardCorrupt,
    ShardMissing,
)
from tests.support.cluster import memory_cluster, run_virtual


def view() -> tuple[HealthView, list[tuple[int, bool, str]]]:
    cluster = memory_cluster()
    seen: list[tuple[int, bool, str]] = []
    health = HealthView(
        cluster.topology, cluster.nodes, cluster.env, lambda *change: seen.append(change)
    )
    return health, seen


@pytest.mark.parametrize(
    ("error", "usable", "readable"),
    [
        (NodeUnavailable(), False, False),
        (DriveFull(), False, True),
        (DriveOutOfService(), False, True),
        (DeadlineExceeded(), False, True),
        (NodeBusy(), True, True),
        (ShardMissing(), True, True),
        (ShardCorrupt(), True, True),
        (FencedOut(), True, True),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_an_error_says_of_a_node(error: NodeBusy, usable: bool, readable: bool) -> None:
    health, seen = view()
    assert health.usable() == {1, 2, 3, 4, 5, 6}
    health.mark_failed(2, error)
    assert (2 in health.usable()) is usable and health.readable(2) is readable
    assert [change[:2] for change in seen] == ([] if usable else [(2, False)])
    assert (2 in health.details()) is not usable


def test_a_node_is_silent_only_if_nothing_came_while_a_read_waited() -> None:
    async def main() -> None:
        health, _ = view()
        health.mark_ok(1, 0.001)
        health.mark_ok(2, 0.001)
        since_s = asyncio.get_running_loop().time()
        await asyncio.sleep(0.03)
        health.mark_ok(2, 0.001)  # busy, and answering others
        await asyncio.sleep(0.03)
        for number in (1, 2, 3, 99):
            health.mark_late(number, since_s)
        assert [n for n in (1, 2, 3, 4) if health.prompt(n)] == [2, 4] and not health.prompt(99)
        assert health.usable() == {1, 2, 3, 4, 5, 6} and health.readable(1)
        health.mark_ok(1)
        health.mark_failed(3, ShardMissing())  # an answer as well
        assert health.prompt(1) and health.prompt(3)

    run_virtual(main())


def test_an_answer_brings_a_node_back_but_makes_no_room_on_it() -> None:
    health, seen = view()
    health.mark_failed(1, NodeUnavailable())
    health.mark_ok(1)
    assert 1 in health.usable() and [change[:2] for change in seen] == [(1, False), (1, True)]
    health.mark_failed(1, DriveFull())
    health.mark_ok(1)
    assert 1 not in health.usable()


def test_unknown_nodes_are_nobody() -> None:
    health, _ = view()
    health.mark_failed(99, NodeUnavailable())
    health.mark_ok(99, 1.0)
    assert not health.readable(99) and health.p95(99) == 0.0


def test_p95_follows_the_last_reads() -> None:
    health, _ = view()
    assert health.p95(1) == 0.0
    for i in range(100):
        health.mark_ok(1, 0.001 if i % 10 else 0.5)
    assert health.p95(1) == 0.5
    for _ in range(64):
        health.mark_ok(1, 0.002)
    assert health.p95(1) == 0.002


def test_probes_find_the_dead_the_full_and_the_hanging() -> None:
    async def main() -> None:
        cluster = memory_cluster()
        health = cluster.health
        cluster.nodes[1].down = True
        cluster.nodes[2].freeze()
        probing = asyncio.create_task(health.run())
        await asyncio.sleep(PROBE_DEADLINE_S + 0.1)
        assert health.usable() == {3, 4, 5, 6}
        assert not health.readable(1) and not health.readable(2)
        assert health.statuses().keys() == {3, 4, 5, 6}
        cluster.nodes[1].down = False
        cluster.nodes[2].unfreeze()
        await asyncio.sleep(PROBE_S + 0.1)
        assert health.usable() == cluster.topology.active
        probing.cancel()

    run_virtual(main())


def test_a_slow_node_rests_although_it_answers_probes() -> None:
    async def main() -> None:
        cluster = memory_cluster()
        cluster.health.mark_failed(3, DeadlineExceeded())
        await asyncio.sleep(QUARANTINE_S - 1)
        await cluster.health.probe()
        assert 3 not in cluster.health.usable()
        await asyncio.sleep(1.1)
        await cluster.health.probe()
        assert 3 in cluster.health.usable()

    run_virtual(main())
