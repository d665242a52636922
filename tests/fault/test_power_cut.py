"""Power cuts of everything at once: each drive and the index on an ext4 image of its own, under
load; every acknowledged write is back after a restart, without an operator.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.compose import Gateway
from tests.support.histories import Load, Model, check
from tests.support.loop_images import LoopImage
from tests.support.processes import Cluster, running, settle

CUTS = 5
CUTS_LONG = 60
CLIENTS = 6
LOAD_S = 0.8

pytestmark = [pytest.mark.root, pytest.mark.timeout(150)]


@pytest.fixture
def images(tmp_path: Path) -> Iterator[list[LoopImage]]:
    folder = tmp_path / "data"
    names = ["index", *(f"nodes/{name}" for name in Cluster(folder).node_names())]
    made: list[LoopImage] = []
    try:
        for name in names:
            image = LoopImage(tmp_path / f"{name.replace('/', '-')}.img", folder / name)
            made.append(image)
            image.create()
        yield made
    finally:
        for image in made:
            image.remove()


def _cut(cluster: Cluster, images: list[LoopImage]) -> None:
    for image in images:
        image.cut()
    cluster.kill()
    for image in images:
        image.unmount()


def _campaign(tmp_path: Path, images: list[LoopImage], cuts: int) -> None:
    model = Model()
    ready_s = []
    with running(tmp_path / "data") as cluster:
        try:
            for number in range(cuts):
                with Load(model, cluster.client, clients=CLIENTS, seed=number):
                    time.sleep(LOAD_S + 0.013 * number)
                    _cut(cluster, images)
                for image in images:
                    image.mount()
                began = time.monotonic()
                cluster.start()
                ready_s.append(time.monotonic() - began)
                with cluster.client() as client:
                    check(model, client)
            print(
                f"{cuts} cuts, {model.acknowledged} acknowledged, {model.unknown} unknown, 0 lost"
            )
            print(f"ready again within {max(ready_s):.2f} s")
            assert model.acknowledged > 20 * cuts and model.unknown
            assert cluster.stop_gateway() == 0

            async def look(gateway: Gateway) -> None:
                detail = await settle(gateway)
                assert detail.startswith("0 missing, 0 unnamed"), detail

            cluster.inside(look)
        finally:
            cluster.kill()
            os.sync()


def test_every_acknowledged_write_is_back(tmp_path: Path, images: list[LoopImage]) -> None:
    _campaign(tmp_path, images, CUTS)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_many_cuts(tmp_path: Path, images: list[LoopImage]) -> None:
    _campaign(tmp_path, images, CUTS_LONG)
