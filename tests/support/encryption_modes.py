"""Modes of encryption as boto3 asks for them, and what an answer says of them."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.support.s3_gateway import S3Gateway, running_gateway

PREFIX = "x-amz-server-side-encryption"
KEYS = ("key-1", "key-2")
PART = 5 * 1024 * 1024
LARGE = b"large" * 60_000
MIN = b"least" * (1 << 20)  # the least that a part but the last may have


def own_key(seed: str, prefix: str = "SSECustomer") -> dict[str, str]:
    key = hashlib.sha256(seed.encode()).digest()
    return {
        f"{prefix}Algorithm": "AES256",
        f"{prefix}Key": base64.b64encode(key).decode(),
        f"{prefix}KeyMD5": base64.b64encode(hashlib.md5(key).digest()).decode(),
    }


A, B = own_key("a"), own_key("b")
FROM_A = own_key("a", "CopySourceSSECustomer")
MODES: dict[str, dict[str, Any]] = {
    "none": {},
    "AES256": {"ServerSideEncryption": "AES256"},
    "aws:kms": {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": "key-1"},
    "aws:kms:dsse": {"ServerSideEncryption": "aws:kms:dsse", "SSEKMSKeyId": "key-2"},
    "SSE-C": A,
}


@contextmanager
def encrypting_gateway() -> Iterator[S3Gateway]:
    """A gateway that takes keys over plain HTTP, with the named keys KEYS."""
    with running_gateway() as running:
        services = running.gateway.services
        services.sse_over_http = True
        services.test_kms_keys = KEYS
        yield running


def with_headers(s3: Any, operation: str, headers: dict[str, str]) -> None:
    s3.meta.events.register(
        f"before-call.s3.{operation}", lambda params, **_: params["headers"].update(headers)
    )


def check_told(answer: dict[str, Any], mode: str) -> None:
    """An answer names the mode of its object, and nothing of another one."""
    if mode == "SSE-C":
        # Of a completion boto3 gives these as headers only.
        headers = answer["ResponseMetadata"]["HTTPHeaders"]
        assert headers[f"{PREFIX}-customer-algorithm"] == "AES256"
        digests = (A["SSECustomerKeyMD5"], B["SSECustomerKeyMD5"])
        assert headers[f"{PREFIX}-customer-key-md5"] in digests
        assert "ServerSideEncryption" not in answer
        return
    assert answer["ServerSideEncryption"] == ("AES256" if mode == "none" else mode)
    assert "SSECustomerAlgorithm" not in answer
    assert answer.get("SSEKMSKeyId") == MODES[mode].get("SSEKMSKeyId")
