"""Names and ids: what is accepted, refused, printed and parsed back."""

from __future__ import annotations

import pytest

from gateway.model import names
from gateway.model.errors import (
    InvalidArgument,
    InvalidBucketName,
    KeyTooLong,
    NoSuchUpload,
    NoSuchVersion,
)


@pytest.mark.parametrize("text", ["abc", "a-b.c", "0a9", "a" * 63, "1.2.3.4a", "my--bucket"])
def test_bucket_names_accepted(text: str) -> None:
    assert names.bucket_name(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ab",
        "a" * 64,
        "Abc",
        "a_b",
        "-ab",
        "ab-",
        ".ab",
        "a..b",
        "foo-.bar",
        "foo.-bar",
        "192.168.5.4",
        "abc\n",
        "xn--abc",
        "sthree-abc",
        "abc-s3alias",
        "abc--ol-s3",
        "abc--x-s3",
        "é" * 5,
        "a/b",
    ],
)
def test_bucket_names_refused(text: str) -> None:
    with pytest.raises(InvalidBucketName):
        names.bucket_name(text)


def test_object_keys() -> None:
    for raw in (b"a", b"/", b"../..", "é".encode() * 512, b" ", b"\x01", b"\x7f"):
        assert names.object_key(raw) == raw
    with pytest.raises(KeyTooLong):
        names.object_key(b"k" * 1025)
    for raw in (b"", b"a\x00", b"\xff", b"\xc3"):
        with pytest.raises(InvalidArgument):
            names.object_key(raw)


def test_version_and_upload_ids_are_printed_and_parsed() -> None:
    raw = bytes(range(16))
    assert names.version_id(names.version_id_text(names.VersionId(raw))) == raw
    assert names.version_id_text(names.NULL_VERSION) == "null"
    assert names.version_id("null") == names.NULL_VERSION
    assert names.upload_id(names.upload_id_text(names.UploadId(raw))) == raw
    for text in ("", "00", "g" * 32, "A" * 32, "0" * 32 + "\n", "Null"):
        with pytest.raises(NoSuchVersion):
            names.version_id(text)
        with pytest.raises(NoSuchUpload):
            names.upload_id(text)
