"""Drives that are really full: ext4 images with nothing left. Others take the writes, deletes work,
and when there is room again the drive is used again.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

import pytest

from gateway.compose import Gateway
from gateway.meta.stripes import scan_stripes
from storaged.base.ids import StripeFamily
from tests.support.histories import Model, check, write
from tests.support.loop_images import LoopImage
from tests.support.processes import Cluster, running, settle, shards_on, wait_until

MIB = 1 << 20
IMAGE_MIB = 200
LEFT_BYTES = 6 * MIB
ROUNDS_MAX = 20  # of freeing: a round leaves what another one was at

pytestmark = [pytest.mark.root, pytest.mark.timeout(120)]


@contextmanager
def _small_drives(tmp_path: Path, names: list[str]) -> Iterator[list[LoopImage]]:
    made: list[LoopImage] = []
    try:
        for name in names:
            folder = tmp_path / "data" / "nodes" / name
            made.append(LoopImage(tmp_path / f"{name}.img", folder, mib=IMAGE_MIB))
            made[-1].create()
        yield made
    finally:
        for image in made:
            image.remove()


def _fill_up(image: LoopImage) -> Path:
    """Take what is left of the drive, but for a little that the next writes use up."""
    found = os.statvfs(image.folder)
    filler = image.folder / "filler"
    with filler.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, found.f_bavail * found.f_frsize - LEFT_BYTES)
    return filler


def _free_bytes(image: LoopImage) -> int:
    found = os.statvfs(image.folder)
    return found.f_bavail * found.f_frsize


async def _data_shards(gateway: Gateway) -> int:
    """Shards of large bodies on the first node."""
    return sum(s.stripe.family is StripeFamily.DATA for s in (await shards_on(gateway))[1])


def _named(gateway: Gateway) -> int:
    """Shards of large bodies that objects need on the first node."""
    return sum(
        one.row.stripe.family is StripeFamily.DATA and 1 in one.row.nodes and one.row.live_bytes > 0
        for one in scan_stripes(gateway.log, gateway.core.records, None, limit=10_000)
    )


def test_one_full_drive(tmp_path: Path) -> None:
    rng, model = Random(47), Model()
    name = Cluster(tmp_path).node_names()[0]
    with _small_drives(tmp_path, [name]) as (image,), running(tmp_path / "data") as cluster:
        with cluster.client() as client:
            for number in range(30):
                assert write(model, client, f"early-{number}", rng.randbytes(600_000)) == 200
            filler = _fill_up(image)
            for number in range(30):
                assert write(model, client, f"full-{number}", rng.randbytes(2_000_000)) == 200
            assert _free_bytes(image) < LEFT_BYTES
            for number in range(0, 30, 2):
                assert write(model, client, f"early-{number}", None) == 204
            check(model, client)
        assert cluster.stop_gateway() == 0

        async def look(gateway: Gateway) -> None:
            rows = scan_stripes(gateway.log, gateway.core.records, None, limit=10_000)
            assert any(all(row.row.nodes) and 1 not in row.row.nodes for row in rows)
            for _ in range(ROUNDS_MAX):
                await gateway.scheduler.run_round("free")
                left, named = await _data_shards(gateway), _named(gateway)
                if left == named:
                    break
            assert left == named, "a full drive takes deletes"
            print(f"full drive: {left} shards after deletes")

        cluster.inside(look)
        filler.unlink()
        cluster.start()
        with cluster.client() as client:
            check(model, client)
            for number in range(10):
                assert write(model, client, f"again-{number}", rng.randbytes(600_000)) == 200
        assert cluster.stop_gateway() == 0

        async def used_again(gateway: Gateway) -> None:
            assert 1 in gateway.core.health.usable()
            detail = await settle(gateway)
            assert detail.startswith("0 missing, 0 unnamed"), detail
            rows = scan_stripes(gateway.log, gateway.core.records, None, limit=10_000)
            newest = max(rows, key=lambda stored: (stored.row.stripe.epoch, stored.row.live_bytes))
            assert 1 in newest.row.nodes

        cluster.inside(used_again)


def test_all_drives_full(tmp_path: Path) -> None:
    """New bodies are refused by a 5xx; GET, LIST go on; with room again, so does everything."""
    rng, model = Random(53), Model()
    names = Cluster(tmp_path).node_names()
    with (
        _small_drives(tmp_path, names) as images,
        running(tmp_path / "data") as cluster,
        cluster.client() as client,
    ):
        for number in range(20):
            assert write(model, client, f"early-{number}", rng.randbytes(300_000)) == 200
        fillers = [_fill_up(image) for image in images]
        refused = 0
        for number in range(40):
            status = write(model, client, f"full-{number % 8}", rng.randbytes(2_000_000))
            assert status in (200, 500, 503, 507), status
            refused += status != 200
            if refused >= 3:
                break
        assert refused >= 3
        check(model, client, [f"early-{number}" for number in range(20)])
        deleted = write(model, client, "early-0", None)
        print(f"{refused} refused with {status}; DELETE with all drives full: {deleted}")
        for filler in fillers:
            filler.unlink()
        wait_until(lambda: write(model, client, "again", rng.randbytes(300_000)) == 200, 40, "room")
        check(model, client)
