"""Annotations of a real cluster outlive a killed gateway and the loss of its index."""

from __future__ import annotations

import shutil
from pathlib import Path
from urllib.parse import quote

import pytest

from gateway.compose import Gateway
from tests.support.processes import Cluster, running
from tests.support.raw_s3 import RawClient

pytestmark = pytest.mark.timeout(120)
BUCKET = "annotated"
# Of either kind of place, and one that is replaced, one that is dropped.
TEXTS = {"small": b"a text", "large": "é".encode() * 300_000, "replaced": b"later"}


def _target(key: str, name: str) -> str:
    return f"/{BUCKET}/{key}?annotation=&annotationName={quote(name)}"


def _check(client: RawClient, key: str) -> None:
    for name, content in TEXTS.items():
        answer = client.request("GET", _target(key, name))
        assert (answer.status, answer.body) == (200, content)
    assert client.request("GET", _target(key, "dropped")).status == 404
    listed = client.request("GET", f"/{BUCKET}/{key}?annotation=").body
    assert b"<AnnotationCount>3</AnnotationCount>" in listed


def _write(client: RawClient) -> None:
    assert client.request("PUT", f"/{BUCKET}").status == 200
    assert client.request("PUT", f"/{BUCKET}/k", body=b"content").status == 200
    for name, content in {**TEXTS, "replaced": b"first" * 50_000, "dropped": b"x"}.items():
        assert client.request("PUT", _target("k", name), body=content).status == 200
    assert client.request("PUT", _target("k", "replaced"), body=TEXTS["replaced"]).status == 200
    assert client.request("DELETE", _target("k", "dropped")).status == 204
    headers = {"x-amz-copy-source": f"/{BUCKET}/k"}
    assert client.request("PUT", f"/{BUCKET}/copy", headers=headers).status == 200
    assert client.request("PUT", f"/{BUCKET}/gone", headers=headers).status == 200
    assert client.request("DELETE", f"/{BUCKET}/gone").status == 204


def _rows(cluster: Cluster) -> int:
    """Rows of annotations in the stopped gateway's index."""
    found: list[int] = []

    async def look(gateway: Gateway) -> None:
        found.append(len(gateway.log.scan(b"a", b"b", limit=1000)))

    cluster.inside(look)
    return found[0]


def test_they_outlive_a_crash_and_the_index(tmp_path: Path) -> None:
    with running(tmp_path / "data") as cluster:
        with cluster.client() as client:
            _write(client)
        cluster.kill()
        cluster.start()
        with cluster.client() as client:
            for key in ("k", "copy"):
                _check(client, key)
        assert cluster.stop_gateway() == 0
        assert _rows(cluster) == 2 * len(TEXTS)
        shutil.rmtree(cluster.folder / "index")
        done = cluster.rebuild()
        assert done.returncode == 0, done.stderr
        cluster.start()
        with cluster.client() as client:
            for key in ("k", "copy"):
                _check(client, key)
            assert client.request("DELETE", f"/{BUCKET}/k").status == 204
            _check(client, "copy")
        assert cluster.stop_gateway() == 0
        assert _rows(cluster) == len(TEXTS)
