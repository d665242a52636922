"""A gateway, a key service and a token: written, read, rotated, disabled, destroyed, rebuilt; the
token taken out; and a backup that is opened without it.
"""

from __future__ import annotations

import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.hsm_cluster import HsmCluster, hsm_cluster
from tests.support.processes import end, wait_until
from tests.support.raw_s3 import Answer
from tests.support.softhsm import PIN, make_token

BODIES = {"small": b"small body", "large": bytes(range(256)) * 4000}
KMS = {
    "x-amz-server-side-encryption": "aws:kms",
    "x-amz-server-side-encryption-aws-kms-key-id": "letters",
}
WAIT_S = 30.0


@pytest.fixture
def held(tmp_path: Path) -> Iterator[HsmCluster]:
    with hsm_cluster(tmp_path / "c", make_token()) as started:
        yield started


def request(held: HsmCluster, method: str, path: str, body: bytes = b"") -> Answer:
    with held.cluster.client() as client:
        return client.request(method, path, body)


def write_all(held: HsmCluster, bucket: str) -> None:
    assert request(held, "PUT", f"/{bucket}").status == 200
    for key, body in BODIES.items():
        assert request(held, "PUT", f"/{bucket}/{key}", body).status == 200


def reads_all(held: HsmCluster, bucket: str) -> bool:
    return all(
        request(held, "GET", f"/{bucket}/{key}").body == body for key, body in BODIES.items()
    )


def statuses(held: HsmCluster, bucket: str) -> set[int]:
    return {request(held, "GET", f"/{bucket}/{key}").status for key in BODIES}


@pytest.mark.proves("K-05", "K-10", "K-11", "C3")
def test_keys_in_a_token_are_rotated_disabled_destroyed_and_outlive_the_index(
    held: HsmCluster,
) -> None:
    write_all(held, "photos")
    assert reads_all(held, "photos")
    listed = held.keys("list")
    assert listed["kept_in"] == f"key service: HSM, token {held.token.label}"
    (tenant,) = listed["tenants"]
    assert [epoch["state"] for epoch in tenant["epochs"]] == ["ACTIVE"]
    assert held.token_check()["keys"] == 1

    held.keys("rotate", "--tenant", tenant["name"], "--wait", "--yes")
    assert held.token_check()["keys"] == 2
    held.restart_gateway()
    assert reads_all(held, "photos")
    first = ("--tenant", tenant["name"], "--epoch", "1")
    held.keys("disable", *first, "--yes")
    assert reads_all(held, "photos")
    held.keys("destroy", *first, "--yes")
    assert held.token_check()["keys"] == 1
    (tenant,) = held.keys("list")["tenants"]
    assert [epoch["state"] for epoch in tenant["epochs"]] == ["DESTROYED", "ACTIVE"]

    assert held.cluster.stop_gateway() == 0
    shutil.rmtree(held.cluster.config().storage.index)
    rebuilt = held.cluster.rebuild()
    assert rebuilt.returncode == 0, rebuilt.stderr
    held.start()
    assert reads_all(held, "photos")
    write_all(held, "more")
    text = (held.cluster.folder / "keyd.log").read_text() + held.cluster.log.read_text()
    assert PIN not in text


@pytest.mark.proves("CRY-14")
def test_a_token_that_is_taken_out_is_503_and_nothing_is_lost(held: HsmCluster) -> None:
    write_all(held, "photos")
    held.token.take_out()
    held.stop_keyd()
    held.start_keyd()  # it comes up, and says that the token is away
    assert request(held, "PUT", "/more").status == 503
    held.restart_gateway()
    assert statuses(held, "photos") == {503}
    assert request(held, "PUT", "/photos/new", b"x").status == 503
    held.token.put_in()
    wait_until(lambda: statuses(held, "photos") == {200}, WAIT_S, "the token is back")
    assert reads_all(held, "photos")
    assert request(held, "PUT", "/more").status == 200
    assert request(held, "GET", "/photos/new").status == 404


def test_named_keys_are_in_the_token_as_well(held: HsmCluster) -> None:
    assert request(held, "PUT", "/photos").status == 200
    with held.cluster.client() as client:
        for number in range(20):
            put = client.request("PUT", f"/photos/{number}", b"%d" % number, headers=KMS)
            assert put.status == 200, put.body
    assert held.token_check()["keys"] == 2
    held.restart_gateway()
    with held.cluster.client() as client:
        for number in range(20):
            got = client.request("GET", f"/photos/{number}")
            assert (got.status, got.body) == (200, b"%d" % number)
            assert got.headers["x-amz-server-side-encryption"] == "aws:kms"


@pytest.mark.proves("K-05", "K-10", "K-11")
def test_a_named_key_in_a_token_is_rotated_and_its_older_epoch_destroyed(
    held: HsmCluster,
) -> None:
    """Through kills of gateway and key service in the middle of it, and a rebuild after it."""
    letters = {f"/photos/{number}": b"%d" % number for number in range(30)}
    assert request(held, "PUT", "/photos").status == 200
    with held.cluster.client() as client:
        for path, body in letters.items():
            assert client.request("PUT", path, body, headers=KMS).status == 200

    def all_there() -> bool:
        return all(request(held, "GET", path).body == body for path, body in letters.items())

    key = ("--key", "letters")
    held.keys("rotate", *key, "--rate", "40", "--yes")
    assert held.keyd is not None
    for process in (held.keyd, held.cluster.gateway):
        end(process, signal.SIGKILL)
    held.keyd = None
    held.start()
    assert all_there()
    with held.cluster.client() as client:
        assert client.request("PUT", "/photos/new", b"new", headers=KMS).status == 200
    wait_until(lambda: not held.keys("status")["rotations"], WAIT_S, "the rotation has ended")
    (named,) = held.keys("list")["keys"]
    assert [epoch["state"] for epoch in named["epochs"]] == ["DECRYPT_ONLY", "ACTIVE"]
    assert held.token_check()["keys"] == 3
    held.keys("disable", *key, "--epoch", "1", "--yes")
    held.keys("destroy", *key, "--epoch", "1", "--yes")
    assert held.token_check()["keys"] == 2
    held.restart_gateway()
    assert all_there()
    assert held.cluster.stop_gateway() == 0
    shutil.rmtree(held.cluster.config().storage.index)
    rebuilt = held.cluster.rebuild()
    assert rebuilt.returncode == 0, rebuilt.stderr
    held.start()
    assert all_there()
    assert request(held, "GET", "/photos/new").body == b"new"


@pytest.mark.proves("B-05")
def test_a_backup_of_everything_but_the_token_opens_nothing(held: HsmCluster) -> None:
    write_all(held, "photos")
    assert held.cluster.stop_gateway() == 0
    held.stop_keyd()
    held.write_config(make_token())  # index, nodes, keys folder and keyd's own are all there
    held.start()
    assert statuses(held, "photos") == {503}
    assert request(held, "GET", "/photos?list-type=2").status in (200, 503)
    assert request(held, "PUT", "/photos/new", b"x").status == 503
    end(held.cluster.gateway)
    held.cluster.gateway = None
    held.stop_keyd()
    held.write_config(held.token)
    held.start()
    assert reads_all(held, "photos")
