"""The index is deleted and made again from the nodes; a second gateway takes a cluster over and the
first never commits again.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from gateway.compose import Gateway
from gateway.meta.kv import Row
from tests.support.histories import Load, Model, check, write
from tests.support.processes import BIN, Cluster, DidNotStart, free_port, running, start, wait_until
from tests.support.raw_s3 import ClosedByServer, RawClient

pytestmark = pytest.mark.timeout(120)


def _rows(cluster: Cluster) -> list[Row]:
    """Rows of versions in the stopped gateway's index."""
    rows: list[Row] = []

    async def look(gateway: Gateway) -> None:
        rows.extend(gateway.log.scan(b"O", b"P", limit=100_000))

    cluster.inside(look)
    return rows


@pytest.mark.proves("A-10")
def test_a_deleted_index_is_made_again(tmp_path: Path) -> None:
    model = Model()
    with running(tmp_path / "data") as cluster:
        with Load(model, cluster.client, clients=6, seed=3):
            wait_until(lambda: model.acknowledged > 400, 60, "writes")
        with cluster.client() as client:
            for number in range(20):
                assert write(model, client, f"gone-{number}", b"x" * 5000) == 200
                assert write(model, client, f"gone-{number}", None) == 204
            check(model, client)
        assert cluster.stop_gateway() == 0
        before = _rows(cluster)
        shutil.rmtree(cluster.folder / "index")
        (cluster.laid.keys / "tenants.sealed").unlink()
        with pytest.raises(DidNotStart, match="rebuild"):
            cluster.start()
        shutil.rmtree(cluster.folder / "index", ignore_errors=True)
        done = cluster.rebuild()
        assert done.returncode == 0, done.stderr
        assert '"lost": []' in done.stdout
        assert _rows(cluster) == before
        cluster.start()
        with cluster.client() as client:
            present = check(model, client)
            assert write(model, client, "after", b"y") == 200
        print(f"{present} objects, {len(model.keys) - present} deleted ones stay deleted")
        cluster.kill()


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with running(tmp_path / "data", processes=True) as started:
        yield started


def _second(cluster: Cluster, folder: Path) -> Cluster:
    """The configuration of another gateway of the same nodes, with an index of its own."""
    folder.mkdir()
    second = Cluster(folder, port=free_port())
    shutil.copytree(cluster.laid.keys, second.laid.keys)
    shutil.copy(cluster.laid.aws_env, second.laid.aws_env)
    first = cluster.laid
    text = first.config.read_text()
    for ours, theirs in ((first.keys, second.laid.keys), (first.socket, second.laid.socket)):
        text = text.replace(str(ours), str(theirs))
    text = text.replace(str(first.folder / "index"), str(second.laid.folder / "index"))
    text = text.replace(f"port = {cluster.port}\n", f"port = {second.port}\n")
    text = text.replace(f"port = {cluster.port + 1}\n", f"port = {second.port + 1}\n")
    second.laid.config.write_text(text)
    return second


def _run(second: Cluster, *more: str) -> None:
    command: list[str | Path] = [
        BIN / "hexagone",
        "gateway",
        "run",
        "--config",
        second.laid.config,
        *more,
    ]
    second.gateway = start(command, second.log)


@pytest.mark.proves("LDB-02")
def test_two_gateways_never_both_commit(cluster: Cluster, tmp_path: Path) -> None:
    """The second has an old copy of the index: it asks before it takes over, follows the log, and
    from then on the first commits nothing.
    """
    rng, model = Random(5), Model()
    second = _second(cluster, tmp_path / "second")
    try:
        with cluster.client() as client:
            for number in range(10):
                assert write(model, client, f"early-{number}", rng.randbytes(5000)) == 200
        assert cluster.stop_gateway() == 0
        shutil.copytree(cluster.folder / "index", second.folder / "index")
        cluster.start()
        with cluster.client() as client, cluster.client() as late:
            for number in range(10):
                assert write(model, client, f"early-{number}", rng.randbytes(5000)) == 200
            with pytest.raises(DidNotStart, match="--takeover"):
                _run(second)
            assert write(model, client, "still", b"the first goes on") == 200
            _run(second, "--takeover")
            with second.client() as other:
                check(model, other)
                for number in range(12):
                    assert write(model, other, f"second-{number}", rng.randbytes(5000)) == 200
                    status = _try(late, f"first-{number}", rng.randbytes(5000))
                    assert status not in (200, 204), "acknowledged by a gateway without an epoch"
                check(model, other)
        cluster.kill()
        with pytest.raises(DidNotStart, match="--takeover"):
            cluster.start()
    finally:
        if second.gateway is not None:
            second.kill()


def test_a_rebuild_elsewhere_fences_the_first_gateway(cluster: Cluster, tmp_path: Path) -> None:
    rng, model = Random(6), Model()
    second = _second(cluster, tmp_path / "second")
    try:
        with cluster.client() as client:
            for number in range(10):
                assert write(model, client, f"early-{number}", rng.randbytes(5000)) == 200
            done = second.rebuild()
            assert done.returncode == 0, done.stderr
            for number in range(5):
                status = _try(client, f"late-{number}", b"not to be acknowledged")
                assert status not in (200, 204)
            _run(second)
            with second.client() as other:
                check(model, other)
                assert write(model, other, "second", b"serves") == 200
            assert _try(client, "later", b"no") not in (200, 204)
    finally:
        if second.gateway is not None:
            second.kill()


def _try(client: RawClient, key: str, content: bytes) -> int:
    try:
        return client.request("PUT", f"/bucket/{key}", content).status
    except (OSError, ClosedByServer):
        client.close()
        return 0
