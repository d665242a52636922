"""B-02: nodes that lie. What a client gets is what was stored, or an error: never other bytes; and
with no more than m liars, it is what was stored. Repair spreads no damage.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.objects.values import GetOptions
from storaged.base.errors import StorageError
from tests.support.admin_rig import admin_rig
from tests.support.cluster import run_virtual
from tests.support.faulty_node import FaultyNode
from tests.support.gateway import Gateway, memory_gateway

SMALL = b"a small body in a group of the log"
LARGE = Random(6).randbytes(1_300_000)
NEWER = Random(9).randbytes(len(LARGE))
BODIES = {"small": SMALL, "large": LARGE, "empty": b""}
M = 2  # nodes whose shards may be bad: one shard each, of 4+2 over six nodes


def _lies(name: str, value: object = True) -> Callable[[FaultyNode], None]:
    return lambda node: setattr(node, name, value)


LIES: dict[str, Callable[[FaultyNode], None]] = {
    "flips": _lies("corrupt_gets"),
    "swaps": _lies("swap_gets"),
    "truncates": _lies("truncate_gets"),
    "denies": _lies("deny_shards"),
    "hangs": _lies("delay_s", 40.0),
    "is slow": _lies("delay_s", 0.4),
    "is down": _lies("down"),
}


async def _read(gateway: Gateway) -> dict[str, bytes | None]:
    """What GET and a range of it give; None: an error."""
    got: dict[str, bytes | None] = {}
    for key, content in BODIES.items():
        got[key] = None
        with suppress(StorageError):
            got[key] = await gateway.get(key)
        if content:
            got[f"{key} 5-"] = None
            with suppress(StorageError):
                got[f"{key} 5-"] = await gateway.get(key, GetOptions(range_header="bytes=5-"))
    return got


def _expected(key: str) -> bytes:
    return BODIES[key.partition(" ")[0]][5 if " " in key else 0 :]


@pytest.mark.proves("B-02", "NOD-05", "C5")
@settings(max_examples=25, deadline=None)
@given(st.dictionaries(st.integers(1, 6), st.sampled_from(sorted(LIES)), min_size=1), st.data())
def test_no_lie_of_a_node_reaches_a_client(liars: dict[int, str], draw: st.DataObject) -> None:
    async def main() -> None:
        async with memory_gateway() as gateway:
            for key, content in BODIES.items():
                await gateway.put(key, content)
            for number, lie in liars.items():
                LIES[lie](gateway.cluster.nodes[number])
            if draw.draw(st.booleans()):
                await gateway.cluster.health.probe()
            for key, got in (await _read(gateway)).items():
                assert got in (None, _expected(key)), (key, liars)
                if len(liars) <= M:
                    assert got is not None, (key, liars)

    run_virtual(main())


@pytest.mark.proves("B-02", "NOD-05")
def test_the_bytes_of_an_older_version_do_not_pass_for_the_newer() -> None:
    """All nodes answer with what they held before, for an object of the same size."""

    async def main() -> None:
        async with memory_gateway() as gateway:
            await gateway.put("k", LARGE)
            await gateway.put("k", NEWER)
            for node in gateway.cluster.nodes.values():
                node.swap_gets = True
            with pytest.raises(StorageError):
                await gateway.get("k")
            for number in range(1, 7 - M):
                gateway.cluster.nodes[number].swap_gets = False
            assert await gateway.get("k") == NEWER

    run_virtual(main())


@pytest.mark.proves("B-02", "NOD-06")
@pytest.mark.parametrize("lie", ["flips", "swaps", "truncates", "denies"])
def test_repair_computes_from_what_is_right_only(lie: str) -> None:
    """A shard is made again while M − 1 of its sources lie: afterwards any k shards decode."""

    async def main() -> None:
        async with admin_rig() as rig:
            gateway, nodes = rig.gateway, rig.gateway.cluster.nodes
            await gateway.put("k", LARGE)
            nodes[1].deny_shards = True
            LIES[lie](nodes[2])
            await gateway.get("k")  # reads report what is missing or bad
            nodes[1].deny_shards = False
            for _ in range(8):
                with suppress(StorageError):
                    await rig.repairer.step()
            nodes[2].mend()
            for first in range(1, 6):
                for number, node in nodes.items():
                    node.down = number in (first, first + 1)
                assert await gateway.get("k") == LARGE, first

    run_virtual(main())
