"""kill -9 of the gateway at system calls of a rotation of all keys (C6, K-10, CRY-16).

As `test_kill_gateway`: after each restart every object is what was put, and the rotation goes on by
itself; in the end nothing is under an older key, and those can be destroyed.
"""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from gateway.cli.client import AdminClient
from gateway.compose import Gateway
from gateway.meta import buckets as bucket_rows
from gateway.model.key_states import KeyState
from gateway.objects import key_epochs
from storaged.base.errors import StorageError
from tests.fault.test_kill_gateway import Campaign, no_leak
from tests.support.histories import write
from tests.support.processes import Cluster, running

SAMPLE = 6  # boundaries in `make test`
OBJECTS = 40
STALL_S, POLL_S = 60.0, 0.05

pytestmark = [pytest.mark.timeout(900), pytest.mark.proves("K-10", "CRY-16")]


class Rotations(Campaign):
    """Objects that are only read while all keys are rotated."""

    def __init__(self, cluster: Cluster, work: Path, seed: int) -> None:
        super().__init__(cluster, work, seed)
        with cluster.client() as client:
            for number in range(OBJECTS):
                write(self.model, client, f"kept-{number}", self.rng.randbytes(900))

    def _operate(self, name: str) -> int:
        """Rotate all keys and wait for the end, or for the end of the process."""
        client = AdminClient(self.cluster.folder / "admin.sock")
        seen: object = None
        until_s = 0.0
        try:
            client.key_epochs("POST", "rotate", {"all": "1", "rate": "0"})
            while left := client.key_epochs("GET", "status", {})["rotations"]:
                so_far = [{**one, "rate": 0, "eta_s": 0} for one in left]
                if so_far != seen:  # it goes on, however slowly
                    seen, until_s = so_far, time.monotonic() + STALL_S
                assert time.monotonic() < until_s, "the rotation does not go on"
                time.sleep(POLL_S)
        except StorageError:
            return 0
        return 200


def _all_under_the_newest(cluster: Cluster) -> None:
    """Nothing is left under an older key; the data are read without them by who comes next."""

    async def look(gateway: Gateway) -> None:
        services = gateway.services
        while await gateway.rotation.step() == 0.0:
            pass
        provider = services.bucket_keys.provider
        for stored in bucket_rows.scan_buckets(services.log, services.records, None, limit=100):
            bucket = stored.bucket
            assert bucket.key_epoch > 1
            for epoch in range(1, bucket.key_epoch):
                await key_epochs.set_bucket_epoch(services, bucket, epoch, KeyState.DISABLED)
                await key_epochs.destroy_bucket_epoch(services, bucket, epoch, forced=False)
            for one in provider.tenant_epochs(bucket.tenant)[:-1]:
                assert one.state is KeyState.DECRYPT_ONLY
                await key_epochs.set_tenant_epoch(
                    services, bucket.tenant, one.epoch, KeyState.DISABLED
                )
                await key_epochs.destroy_tenant_epoch(
                    services, bucket.tenant, one.epoch, forced=False
                )

    cluster.inside(look)


def _run(tmp_path: Path, sample: int | None) -> None:
    with running(tmp_path / "data") as cluster:
        campaign = Rotations(cluster, tmp_path, seed=20_262)
        boundaries = campaign.boundaries("rotation")
        assert len(boundaries) > 10, boundaries
        chosen = boundaries if sample is None else campaign.rng.sample(boundaries, sample)
        for thread, call in chosen:
            campaign.kill_at("rotation", thread, call)
        assert campaign.kills > 2 * campaign.missed
        assert cluster.stop_gateway() == 0
        _all_under_the_newest(cluster)
        no_leak(cluster)
        cluster.start()
        with cluster.client() as client:
            campaign._check(client)


def test_c6_kill_at_sampled_boundaries_of_a_rotation(tmp_path: Path) -> None:
    _run(tmp_path, SAMPLE)


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_c6_kill_at_every_boundary_of_a_rotation(tmp_path: Path) -> None:
    _run(tmp_path, None)
