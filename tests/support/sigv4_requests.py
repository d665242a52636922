"""Requests for the tests of SigV4: signed by our own signer, then changed.

Not for the wire: `raw_s3` shares no code with the gateway, this does.
"""

from __future__ import annotations

import dataclasses

import pytest

from gateway.s3.errors import S3Error
from gateway.s3.signer import presign_url, sign_request
from gateway.s3.sigv4 import Authorized, RequestHead, authorize, derive_signing_key

KEY_ID = "AKIAIOSFODNN7EXAMPLE"
SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
REGIONS = ("us-east-1", "fr")
NOW_MS = 1_790_000_000_000
EMPTY = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def signing_key(access_key_id: str, date: str, region: str, service: str) -> bytes | None:
    if access_key_id != KEY_ID:
        return None
    return derive_signing_key(SECRET, date=date, region=region, service=service)


def check(head: RequestHead, now_ms: int = NOW_MS) -> Authorized | None:
    return authorize(head, now_ms=now_ms, regions=REGIONS, signing_key=signing_key)


def refused(head: RequestHead, now_ms: int = NOW_MS) -> S3Error:
    with pytest.raises(S3Error) as caught:
        check(head, now_ms)
    return caught.value


def head_of(
    method: str = "PUT",
    path: str = "/bucket/key",
    query: str = "",
    headers: tuple[tuple[str, str], ...] = (("host", "s3.test"),),
) -> RequestHead:
    return RequestHead(method=method, raw_path=path, raw_query=query, headers=headers)


def signed(head: RequestHead, **changes: object) -> RequestHead:
    arguments: dict[str, object] = {
        "access_key_id": KEY_ID,
        "secret": SECRET,
        "now_ms": NOW_MS,
        "region": "fr",
        **changes,
    }
    headers = sign_request(head, **arguments)  # type: ignore[arg-type]
    return dataclasses.replace(head, headers=headers)


def presigned(head: RequestHead, expires_s: int = 600, **changes: object) -> RequestHead:
    arguments: dict[str, object] = {
        "access_key_id": KEY_ID,
        "secret": SECRET,
        "now_ms": NOW_MS,
        "region": "fr",
        **changes,
    }
    url = presign_url(head, expires_s=expires_s, **arguments)  # type: ignore[arg-type]
    path, _, query = url.partition("?")
    return dataclasses.replace(head, raw_path=path, raw_query=query)


def with_header(head: RequestHead, name: str, value: str) -> RequestHead:
    kept = [(key, text) for key, text in head.headers if key != name]
    return dataclasses.replace(head, headers=[*kept, (name, value)])


def without_header(head: RequestHead, name: str) -> RequestHead:
    return dataclasses.replace(head, headers=[pair for pair in head.headers if pair[0] != name])


def header(head: RequestHead, name: str) -> str:
    return dict(head.headers)[name]


BASE = head_of(
    path="/bucket/some/key%20x",
    query="partNumber=3&uploadId=abc",
    headers=(
        ("host", "s3.test"),
        ("content-type", "text/plain"),
        ("x-amz-meta-colour", "red"),
        ("x-amz-acl", "private"),
    ),
)
SIGNED_HEADER = signed(BASE)
SIGNED_QUERY = presigned(BASE)
