"""kill -9 of the gateway at system calls of a RenameObject and of an append.

As `test_kill_gateway`, with what these two promise: an object has one of its two names, never both
and never neither, and an object that is added to ends before the piece or after it.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fault.test_kill_gateway import Campaign, no_leak
from tests.support.histories import listed
from tests.support.processes import Cluster, running
from tests.support.raw_s3 import UNSIGNED, ClosedByServer, RawClient

SAMPLE = 5  # boundaries per operation in `make test`
SMALL, LARGE = 5000, 300_000

pytestmark = pytest.mark.timeout(150)


class Renames(Campaign):
    """Two objects that go back and forth between two names each."""

    def __init__(self, cluster: Cluster, work: Path, seed: int) -> None:
        super().__init__(cluster, work, seed)
        self.contents = {size: self.rng.randbytes(size) for size in (SMALL, LARGE)}
        self.at = dict.fromkeys(self.contents, 0)
        with cluster.client() as client:
            for size, content in self.contents.items():
                assert _put(client, f"moved-{size}-0", content) == 200

    def _operate(self, name: str) -> int:
        size = self.rng.choice(list(self.at))
        before = self.at[size]
        source = {"x-amz-rename-source": f"/bucket/moved-{size}-{before}"}
        target = f"/bucket/moved-{size}-{1 - before}?renameObject="
        with self.cluster.client() as client:
            status = _status(client, target, b"", source)
        if status == 200:
            self.at[size] = 1 - before
        return status

    def _check(self, client: RawClient) -> None:
        names = [name for name in listed(client) if name.startswith("moved-")]
        for size, content in self.contents.items():
            found = [client.request("GET", f"/bucket/moved-{size}-{at}") for at in (0, 1)]
            there = [at for at, answer in enumerate(found) if answer.status == 200]
            assert len(there) == 1, (size, there)
            assert found[there[0]].body == content
            self.at[size] = there[0]
        assert names == sorted(f"moved-{size}-{at}" for size, at in self.at.items())


class Appends(Campaign):
    """One object that grows by small and large pieces."""

    def __init__(self, cluster: Cluster, work: Path, seed: int) -> None:
        super().__init__(cluster, work, seed)
        self.content = self.rng.randbytes(SMALL)
        self.perhaps: list[bytes] = []  # more than one where the process took a while to be gone
        with cluster.client() as client:
            assert _put(client, "grown", self.content) == 200

    def _operate(self, name: str) -> int:
        piece = self.rng.randbytes(self.rng.choice((9, LARGE)))
        offset = {"x-amz-write-offset-bytes": str(len(self.content))}
        with self.cluster.client() as client:
            status = _status(client, "/bucket/grown", piece, offset)
        if status == 200:
            self.content += piece
        else:
            self.perhaps.append(self.content + piece)
        return status

    def _check(self, client: RawClient) -> None:
        answer = client.request("GET", "/bucket/grown")
        assert answer.status == 200
        assert answer.body in (self.content, *self.perhaps), len(answer.body)
        self.content, self.perhaps = answer.body, []


def _put(client: RawClient, key: str, content: bytes) -> int:
    return client.request("PUT", f"/bucket/{key}", content, payload=UNSIGNED).status


def _status(client: RawClient, target: str, body: bytes, headers: dict[str, str]) -> int:
    try:
        answer = client.request("PUT", target, body, headers, payload=UNSIGNED)
    except (OSError, ClosedByServer):
        client.close()
        return 0
    assert answer.status in (200, 503), answer
    return answer.status


def _run(tmp_path: Path, kind: type[Campaign], sample: int | None) -> None:
    with running(tmp_path / "data") as cluster:
        campaign = kind(cluster, tmp_path, seed=20_261)
        boundaries = campaign.boundaries(kind.__name__)
        assert len(boundaries) > 10, boundaries
        chosen = boundaries if sample is None else campaign.rng.sample(boundaries, sample)
        for thread, call in chosen:
            campaign.kill_at(kind.__name__, thread, call)
        assert campaign.kills > 2 * campaign.missed
        assert cluster.stop_gateway() == 0
        no_leak(cluster)


@pytest.mark.parametrize("kind", [Renames, Appends])
def test_kill_at_sampled_boundaries(tmp_path: Path, kind: type[Campaign]) -> None:
    _run(tmp_path, kind, SAMPLE)


@pytest.mark.slow
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("kind", [Renames, Appends])
def test_kill_at_every_boundary(tmp_path: Path, kind: type[Campaign]) -> None:
    _run(tmp_path, kind, None)
