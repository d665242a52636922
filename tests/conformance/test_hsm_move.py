"""A whole cluster whose keys go from the key service's file into a token: under load, through
kills of gateway and key service, with named keys and uploads under way; and the file is gone after.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.data.keyring import TENANTS_FILE
from tests.support.hsm_cluster import HsmCluster, hsm_cluster
from tests.support.processes import end
from tests.support.raw_s3 import Answer
from tests.support.softhsm import make_token

KMS = {
    "x-amz-server-side-encryption": "aws:kms",
    "x-amz-server-side-encryption-aws-kms-key-id": "letters",
}
OBJECTS = {f"plain/{n}": b"plain %d" % n for n in range(8)}
LETTERS = {f"letter/{n}": b"letter %d" % n for n in range(12)}
WAIT_S = 60.0


@pytest.fixture
def held(tmp_path: Path) -> Iterator[HsmCluster]:
    with hsm_cluster(tmp_path / "c", make_token(), in_file=True) as started:
        yield started


def request(
    held: HsmCluster, method: str, path: str, body: bytes = b"", headers: Any = None
) -> Answer:
    with held.cluster.client() as client:
        return client.request(method, path, body, headers=headers or {})


def fill(held: HsmCluster) -> None:
    assert request(held, "PUT", "/photos").status == 200
    for key, body in OBJECTS.items():
        assert request(held, "PUT", f"/photos/{key}", body).status == 200
    for key, body in LETTERS.items():
        assert request(held, "PUT", f"/photos/{key}", body, KMS).status == 200


def all_there(held: HsmCluster) -> None:
    for key, body in {**OBJECTS, **LETTERS}.items():
        got = request(held, "GET", f"/photos/{key}")
        assert (got.status, got.body) == (200, body), key


def moved(held: HsmCluster, *words: str, code: int = 0) -> Any:
    return held.keys("move", "--yes", *words, code=code)


def until_wrapped(held: HsmCluster) -> Any:
    """Say `keys move` until all that is left can be disabled."""
    until_s = time.monotonic() + WAIT_S
    while time.monotonic() < until_s:
        told = held.keys("move", "--yes")
        if all(
            one["is_begun"] and not one["is_rotating"] and one["named_done"]
            for one in told["tenants"]
        ):
            return told
        held.run_job("key-move")
    raise AssertionError(f"not moved: {told}")


def kill(held: HsmCluster) -> None:
    """Neither gateway nor key service ends in peace."""
    assert held.cluster.gateway is not None and held.keyd is not None
    end(held.cluster.gateway, signal.SIGKILL)
    end(held.keyd, signal.SIGKILL)
    held.keyd = None
    held.start()


@pytest.mark.timeout(300)
@pytest.mark.proves("K-05", "K-10", "K-11", "CRY-16")
def test_keys_go_from_the_file_into_the_token_and_nothing_is_lost(held: HsmCluster) -> None:
    fill(held)
    held.keys("rotate", "--key", "letters", "--wait", "--yes")  # the file has two epochs of it
    begun = request(held, "POST", "/photos/parts?uploads", b"", KMS)
    upload = begun.body.partition(b"<UploadId>")[2].partition(b"<")[0].decode()
    part = request(held, "PUT", f"/photos/parts?partNumber=1&uploadId={upload}", b"part")
    assert (begun.status, part.status) == (200, 200)
    assert not moved(held, "--dry-run")["is_moving"]
    folder = held.cluster.laid.keyd.folder
    before = (folder / TENANTS_FILE).read_bytes()

    held.stop_keyd()
    held.write_config(held.token, from_file=True)
    held.start_keyd()
    held.restart_gateway()
    all_there(held)
    told = moved(held, "--dry-run")
    assert told["is_moving"] and [one["named_keys"] for one in told["tenants"]] == [["letters"]]
    assert [one["is_begun"] for one in told["tenants"]] == [False]
    moved(held, "--rate", "20")
    kill(held)
    assert request(held, "PUT", "/photos/later", b"later", KMS).status == 200
    told = until_wrapped(held)
    all_there(held)
    assert [one["state"] for one in told["tenants"][0]["epochs"]] == ["DECRYPT_ONLY"]

    moved(held, "--disable")
    all_there(held)  # nothing needed what is disabled
    assert request(held, "GET", "/photos/later").body == b"later"
    listed = (
        b"<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>%b</ETag></Part>"
        b"</CompleteMultipartUpload>"
    ) % part.headers["etag"].encode()
    completed = request(held, "POST", f"/photos/parts?uploadId={upload}", listed)
    assert completed.status == 200, completed.body
    done = moved(held, "--destroy")
    assert (done["tenants_left"], done["refused"]) == (0, [])
    assert not (folder / TENANTS_FILE).exists()
    kill(held)
    all_there(held)
    assert request(held, "GET", "/photos/parts").body == b"part"

    held.stop_keyd()
    held.write_config(held.token)
    held.start_keyd()
    held.restart_gateway()
    all_there(held)
    (tenant,) = held.keys("list")["tenants"]
    assert [one["state"] for one in tenant["epochs"]] == ["DESTROYED", "ACTIVE"]
    held.keys("rotate", "--key", "letters", "--wait", "--yes")
    (letters,) = held.keys("list")["keys"]
    assert [one["epoch"] for one in letters["epochs"]] == [2, 3]
    all_there(held)
    held.stop_keyd()
    (folder / TENANTS_FILE).write_bytes(before)  # from a backup
    held.write_config(held.token, from_file=True)
    held.start_keyd()
    assert not (folder / TENANTS_FILE).exists()


@pytest.mark.timeout(300)
@pytest.mark.proves("K-11")
def test_nothing_is_destroyed_that_a_named_key_is_needed_for(held: HsmCluster) -> None:
    fill(held)
    held.stop_keyd()
    held.write_config(held.token, from_file=True)
    held.start_keyd()
    held.restart_gateway()
    (tenant,) = held.keys("list")["tenants"]
    held.keys("rotate", "--tenant", tenant["name"], "--wait", "--yes")  # and no `move`
    first = ("--tenant", tenant["name"], "--epoch", "1")
    held.keys("disable", *first, "--yes")
    told = moved(held, "--destroy", code=1)
    assert "still something" in told["refused"][0]["why"]
    assert not told["tenants"][0]["is_begun"]
    held.keys("enable", *first)
    all_there(held)
