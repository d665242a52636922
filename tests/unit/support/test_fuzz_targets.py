"""The fuzz targets: they run without the fuzzer, and say when an answer is our own mistake."""

from __future__ import annotations

import pytest

from gateway.s3.errors import S3Error
from tests.fuzz import targets

SEEDS = [
    b"",
    b"\x00",
    b"GET\nbucket/key\nX-Amz-Algorithm=AWS4-HMAC-SHA256\nhost:s3.test",
    b"\x00<Delete><Object><Key>k</Key></Object></Delete>",
    b"<LifecycleConfiguration><Rule><Status>Enabled</Status></Rule></LifecycleConfiguration>",
    b'{"Version": "2012-10-17", "Statement": []}',
    b"\x10--boundary\r\nContent-Disposition: form-data; name=key\r\n\r\nk\r\n--boundary--",
    b"bytes=0-9",
]


@pytest.mark.parametrize("name", sorted(targets.TARGETS))
@pytest.mark.parametrize("data", SEEDS)
def test_any_seed_ends(name: str, data: bytes) -> None:
    targets.run(name, data)


def test_an_answer_that_is_our_mistake_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(data: bytes) -> None:
        raise S3Error("InternalError")

    monkeypatch.setitem(targets.TARGETS, "broken", broken)
    with pytest.raises(targets.WrongAnswer):
        targets.run("broken", b"")
