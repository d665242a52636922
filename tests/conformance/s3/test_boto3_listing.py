"""Listings, as boto3 asks for them."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import pytest
from botocore.exceptions import ClientError

KEYS = ["a/1", "a/2", "b", "c/d/1", "c/d/2", "c/e", "z"]


@pytest.fixture
def filled(s3: Any, bucket: str) -> str:
    for key in KEYS:
        s3.put_object(Bucket=bucket, Key=key, Body=key.encode())
    return bucket


def keys_of(page: dict[str, Any]) -> list[str]:
    return [row["Key"] for row in page.get("Contents", [])]


def prefixes_of(page: dict[str, Any]) -> list[str]:
    return [row["Prefix"] for row in page.get("CommonPrefixes", [])]


def test_an_empty_token_begins_at_the_start(s3: Any, filled: str) -> None:
    page = s3.list_objects_v2(Bucket=filled, ContinuationToken="")
    assert page["ContinuationToken"] == "" and keys_of(page) == KEYS


def test_version_1_repeats_a_prefix_with_a_line_feed(s3: Any, filled: str) -> None:
    assert s3.list_objects(Bucket=filled, Prefix="\n/ä")["Prefix"].startswith("\n")


def test_version_2(s3: Any, filled: str) -> None:
    page = s3.list_objects_v2(Bucket=filled)
    assert keys_of(page) == KEYS
    assert (page["KeyCount"], page["IsTruncated"], page["MaxKeys"]) == (7, False, 1000)
    assert page["Contents"][0]["Size"] == 3
    assert page["Contents"][0]["StorageClass"] == "STANDARD"
    assert "Owner" not in page["Contents"][0]
    assert s3.list_objects_v2(Bucket=filled, FetchOwner=True)["Contents"][0]["Owner"]["ID"]
    page = s3.list_objects_v2(Bucket=filled, Delimiter="/")
    assert (keys_of(page), prefixes_of(page)) == (["b", "z"], ["a/", "c/"])
    page = s3.list_objects_v2(Bucket=filled, Delimiter="/", Prefix="c/")
    assert (keys_of(page), prefixes_of(page)) == (["c/e"], ["c/d/"])
    assert keys_of(s3.list_objects_v2(Bucket=filled, StartAfter="c/d/1")) == ["c/d/2", "c/e", "z"]


@pytest.mark.parametrize("delimiter", ["", "/"])
@pytest.mark.parametrize("keys_max", [1, 2, 3])
def test_pages_join_to_the_whole(s3: Any, filled: str, delimiter: str, keys_max: int) -> None:
    whole = s3.list_objects_v2(Bucket=filled, Delimiter=delimiter)
    for name in ("list_objects_v2", "list_objects"):
        keys: list[str] = []
        prefixes: list[str] = []
        pages = s3.get_paginator(name).paginate(
            Bucket=filled, Delimiter=delimiter, PaginationConfig={"PageSize": keys_max}
        )
        for page in pages:
            assert len(keys_of(page)) + len(prefixes_of(page)) <= keys_max
            keys += keys_of(page)
            prefixes += prefixes_of(page)
        assert (keys, prefixes) == (keys_of(whole), prefixes_of(whole))


def test_version_1(s3: Any, filled: str) -> None:
    page = s3.list_objects(Bucket=filled, MaxKeys=3)
    assert keys_of(page) == KEYS[:3]
    assert page["IsTruncated"] is True
    assert "NextMarker" not in page
    page = s3.list_objects(Bucket=filled, Marker="b", Delimiter="/", MaxKeys=1)
    assert prefixes_of(page) == ["c/"]
    assert page["NextMarker"] == "c/"
    assert keys_of(page) == []


def test_no_keys_asked_for(s3: Any, filled: str) -> None:
    page = s3.list_objects_v2(Bucket=filled, MaxKeys=0)
    assert (keys_of(page), page["IsTruncated"], page["KeyCount"]) == ([], False, 0)


def test_refusals(s3: Any, filled: str) -> None:
    for arguments in ({"MaxKeys": -1}, {"ContinuationToken": "forged"}):
        with pytest.raises(ClientError) as error:
            s3.list_objects_v2(Bucket=filled, **arguments)
        assert error.value.response["Error"]["Code"] == "InvalidArgument"


def test_encoding_type_url(s3: Any, bucket: str) -> None:
    keys = ["a b", "é+&<", "tab\there", "x\x01y"]
    for key in keys:
        s3.put_object(Bucket=bucket, Key=key, Body=b"")
    listed = keys_of(s3.list_objects_v2(Bucket=bucket, EncodingType="url"))
    assert listed == [quote(key, safe="/") for key in sorted(keys, key=str.encode)]
    assert sorted(keys_of(s3.list_objects_v2(Bucket=bucket))) == sorted(keys)
