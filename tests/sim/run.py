"""One run: a seed in, what happened out."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from random import Random

from gateway.commit import checkpoint
from gateway.data import geometry, writer
from gateway.limits import SEALED_FRAME_BYTES
from gateway.objects import assembly, store
from storaged import upkeep, volumes
from storaged import writer as shard_writer
from tests.sim.bodies import Bodies
from tests.sim.clients import Client
from tests.sim.nemesis import Nemesis
from tests.sim.oracle import check_codewords
from tests.sim.settle import check_books, check_rebuild, read_all, settle
from tests.sim.world import LogWatch, Shape, Violation, World
from tests.support.simloop import Deadlock, SimLoop, run_simulated

CLIENTS = 4
CALLS = 22
ROUNDS = 7
VIRTUAL_S_MAX = 3 * 3600.0

_PATCHES = (
    (geometry, "FULL_CELL_BYTES", SEALED_FRAME_BYTES),
    (assembly, "PART_BYTES_MIN", 10),
    (shard_writer, "VOLUME_BYTES", 2 << 20),
    (volumes, "VOLUME_BYTES", 2 << 20),
    (volumes, "ALLOCATE_STEP_BYTES", 256 << 10),
    (upkeep, "FLUSH_ROWS", 12),
    (upkeep, "PUNCH_RECORDS_MAX", 5),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a run came to. `violations` empty: every promise was kept."""

    seed: int
    shape: Shape
    trace_hash: str
    violations: tuple[str, ...]
    counts: Counter[str]
    lines: tuple[str, ...]
    virtual_s: float


@contextmanager
def _limits(shape: Shape) -> Iterator[None]:
    """Small limits, so that short histories reach far."""
    patches = [
        *_PATCHES,
        (checkpoint, "SEGMENT_BYTES", shape.segment_bytes),
        (writer, "SMALL_BODY_BYTES_MAX", shape.small_max),
        (store, "SMALL_BODY_BYTES_MAX", shape.small_max),
    ]
    before = [(module, name, getattr(module, name)) for module, name, _ in patches]
    try:
        for module, name, value in patches:
            setattr(module, name, value)
        yield
    finally:
        for module, name, value in before:
            setattr(module, name, value)


async def _life(world: World) -> None:
    bodies = Bodies(world.rng.randrange(1 << 30))
    clients = [Client(world, bodies, f"c{n}") for n in range(CLIENTS)]
    await world.open_nodes()
    await world.first_start()
    nemesis = Nemesis(world, Client(world, bodies, "zombie"))
    trouble = asyncio.ensure_future(nemesis.run(ROUNDS))
    await asyncio.gather(*(client.run(CALLS, 0.15) for client in clients))
    world.finished = True
    await trouble
    if nemesis.running:
        await asyncio.wait(nemesis.running)
    gateway = await settle(world)
    check_books(world, gateway)
    await check_codewords(world, gateway)
    await read_all(clients[0])
    await check_rebuild(world, clients[0])
    for key in world.history.unexplained():
        world.violate(f"no order of calls explains {key}")


async def _main(world: World) -> float:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, SimLoop)

    def unhandled(_: object, context: dict[str, object]) -> None:
        error = context.get("exception")
        if isinstance(error, BaseException) and not isinstance(error, asyncio.CancelledError):
            world.counts["unhandled"] += 1

    loop.set_exception_handler(unhandled)
    began_s = loop.time()
    life = asyncio.ensure_future(_life(world))
    done, _ = await asyncio.wait({life}, timeout=VIRTUAL_S_MAX)
    if not done:
        world.violate("the run does not end")
        life.cancel()
        await asyncio.wait({life})
    elif (error := life.exception()) is not None:
        if not isinstance(error, Violation):
            raise error
        world.violate(str(error))
    return loop.time() - began_s


def run(seed: int) -> Outcome:
    """Run a seed."""
    shape = Shape.of(Random(seed))
    world = World(seed, shape)
    watch = LogWatch(world)
    roots = [logging.getLogger(name) for name in ("gateway", "storaged", "asyncio")]
    levels = [(root, root.level, root.propagate) for root in roots]
    for root in roots:
        root.addHandler(watch)
        root.setLevel(logging.WARNING)
        root.propagate = False
    virtual_s = 0.0
    try:
        with _limits(shape):
            virtual_s = run_simulated(_main(world), seed, shuffle=shape.shuffle)
    except Deadlock:
        world.violations.append("deadlock: no timer is left")
    finally:
        for root, level, propagate in levels:
            root.removeHandler(watch)
            root.setLevel(level)
            root.propagate = propagate
    return Outcome(
        seed=seed,
        shape=shape,
        trace_hash=world.trace_hash,
        violations=tuple(world.violations),
        counts=world.counts,
        lines=tuple(world.lines),
        virtual_s=virtual_s,
    )
