"""kill -9 of the gateway at system calls of a small PUT, a large PUT and a DELETE.

Each run attaches strace to one thread and kills the process at that thread's i-th call. After a
restart acknowledged objects are there and right, the others are old or new, whole; in the end the
sweep has left no shard that nothing names. `make test` draws a sample of the boundaries, `make
faults` takes all.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from gateway.compose import Gateway
from tests.support.histories import Model, check, write
from tests.support.processes import Cluster, running, settle, tasks_of
from tests.support.raw_s3 import RawClient
from tests.support.strace import QUIET, Strace

OPERATIONS: dict[str, Callable[[Random], bytes | None]] = {
    "small PUT": lambda rng: rng.randbytes(4096),
    "large PUT": lambda rng: rng.randbytes(5 << 20),
    "DELETE": lambda rng: None,
}
SAMPLE = 7  # boundaries per operation in `make test`

pytestmark = pytest.mark.timeout(900)


class Campaign:
    """One cluster that is killed again and again."""

    def __init__(self, cluster: Cluster, work: Path, seed: int) -> None:
        self.cluster = cluster
        self.model = Model()
        self.work = work
        self.rng = Random(seed)
        self.kills = self.missed = 0
        with cluster.client() as client:
            for name in OPERATIONS:
                for size in (5000, 300_000):
                    write(self.model, client, f"{_slug(name)}-{size}", self.rng.randbytes(size))

    def boundaries(self, name: str) -> list[tuple[int, int]]:
        """(thread, call) of one undisturbed run of the operation."""
        found = []
        tasks = tasks_of(self.cluster.pid)
        outputs = [self.work / f"calls-{at}" for at in range(len(tasks))]
        traces = [
            Strace([task], f"trace={QUIET}", output=output)
            for task, output in zip(tasks, outputs, strict=True)
        ]
        for trace in traces:
            trace.__enter__()
        try:
            self._operate(name)
        finally:
            for trace in traces:
                trace.__exit__(None, None, None)
        for at, trace in enumerate(traces):
            found += [(at, call) for call in range(1, trace.calls().total() + 1)]
        return found

    def _operate(self, name: str) -> int:
        key = f"{_slug(name)}-{self.rng.choice((5000, 300_000))}"
        with self.cluster.client() as client:
            if name == "DELETE" and self.model.possible(key) == {None}:
                write(self.model, client, key, self.rng.randbytes(9000))
            return write(self.model, client, key, OPERATIONS[name](self.rng))

    def _check(self, client: RawClient) -> None:
        check(self.model, client)

    def kill_at(self, name: str, thread: int, call: int) -> None:
        """Kill at a call of a thread; when it makes fewer this time, at one of half that number,
        and at last at the first call of another thread: which one of a pool gets the work differs.
        """
        tasks = tasks_of(self.cluster.pid)
        tries = [(thread, call >> halved) for halved in range(call.bit_length())]
        tries += [((thread + more) % len(tasks), 1) for more in range(1, len(tasks))]
        for at, number in tries:
            inject = f"inject={QUIET}:signal=KILL:when={number}"
            task = tasks[min(at, len(tasks) - 1)]
            with Strace([task], f"trace={QUIET}", inject, output=self.work / "kill"):
                self._operate(name)
            assert self.cluster.gateway is not None
            if self.cluster.gateway.poll() is not None:
                self.kills += 1
                break
        else:
            self.missed += 1  # killed after the answer
        self.cluster.kill()
        self.cluster.start()
        with self.cluster.client() as client:
            self._check(client)


def _slug(name: str) -> str:
    return name.replace(" ", "-").lower()


def no_leak(cluster: Cluster) -> None:
    async def look(gateway: Gateway) -> None:
        detail = await settle(gateway)
        assert detail.startswith("0 missing, 0 unnamed"), detail

    cluster.inside(look)


def _campaign(tmp_path: Path, sample: int | None, names: tuple[str, ...]) -> None:
    with running(tmp_path / "data") as cluster:
        campaign = Campaign(cluster, tmp_path, seed=20_260)
        for name in names:
            boundaries = campaign.boundaries(name)
            assert len(boundaries) > 10, boundaries
            chosen = boundaries if sample is None else campaign.rng.sample(boundaries, sample)
            for thread, call in chosen:
                campaign.kill_at(name, thread, call)
            print(f"{name}: {len(chosen)} of {len(boundaries)} boundaries")
        print(f"{campaign.kills} kills, {campaign.missed} after the answer")
        print(f"{campaign.model.acknowledged} acknowledged, {campaign.model.unknown} unknown")
        assert campaign.kills > 5 * campaign.missed
        assert cluster.stop_gateway() == 0
        no_leak(cluster)


@pytest.mark.parametrize("name", OPERATIONS)
def test_kill_at_sampled_boundaries(tmp_path: Path, name: str) -> None:
    _campaign(tmp_path, SAMPLE, (name,))


@pytest.mark.slow
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("name", OPERATIONS)
def test_kill_at_every_boundary(tmp_path: Path, name: str) -> None:
    _campaign(tmp_path, None, (name,))
