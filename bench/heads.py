"""Request heads for the load generator: HTTP/1.1 bytes, signed with SigV4, cheap to make.

Not for odd paths: only letters, digits and `-._~/` may be in a path, and a query must already be
canonical (sorted, percent-encoded), so nothing has to be encoded twice. A test compares heads with
what `gateway.s3.signer` makes.

Source: AWS, "Authenticating Requests (AWS Signature Version 4)", S3 API Reference.
"""

from __future__ import annotations

import hmac
import re
import time
from dataclasses import dataclass, field
from hashlib import sha256

PLAIN_PATH = re.compile(r"/[A-Za-z0-9._~/-]*")
EMPTY_SHA256 = sha256(b"").hexdigest()
UNSIGNED = "UNSIGNED-PAYLOAD"


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Where requests go and in whose name.

    Attributes:
        authority: what `Host` says; the signature covers it.
    """

    host: str
    port: int
    authority: str
    access_key_id: str
    secret: str = field(repr=False)
    region: str


def signing_key(secret: str, *, date: str, region: str) -> bytes:
    """The day's key: 32 bytes."""
    key = f"AWS4{secret}".encode()
    for step in (date, region, "s3", "aws4_request"):
        key = hmac.digest(key, step.encode(), "sha256")
    return key


class HeadMaker:
    """Makes heads that differ in path and query only."""

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        method: str,
        body_bytes: int | None,
        content_sha256: str,
        now_s: float | None = None,
    ) -> None:
        """
        Args:
            body_bytes: Content-Length to announce; None for methods without a body.
            content_sha256: 64 hexadecimal digits, or UNSIGNED.
            now_s: UTC epoch; the machine's clock unless given. A head is good for 15 minutes.
        """
        date = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now_s))
        self._method = method
        self._key = signing_key(endpoint.secret, date=date[:8], region=endpoint.region)
        scope = f"{date[:8]}/{endpoint.region}/s3/aws4_request"
        self._to_sign = f"AWS4-HMAC-SHA256\n{date}\n{scope}\n"
        self._canonical_tail = (
            f"host:{endpoint.authority}\nx-amz-content-sha256:{content_sha256}\nx-amz-date:{date}\n"
            f"\nhost;x-amz-content-sha256;x-amz-date\n{content_sha256}"
        )
        length = "" if body_bytes is None else f"Content-Length: {body_bytes}\r\n"
        self._head_tail = (
            f" HTTP/1.1\r\nHost: {endpoint.authority}\r\n{length}x-amz-date: {date}\r\n"
            f"x-amz-content-sha256: {content_sha256}\r\n"
            f"Authorization: AWS4-HMAC-SHA256 Credential={endpoint.access_key_id}/{scope}, "
            "SignedHeaders=host;x-amz-content-sha256;x-amz-date, Signature="
        )

    def head(self, path: str, query: str = "") -> bytes:
        """One request head with its empty line.

        Raises:
            ValueError: the path holds a character that would need encoding.
        """
        if not PLAIN_PATH.fullmatch(path):
            raise ValueError(f"not a plain path: {path!r}")
        canonical = f"{self._method}\n{path}\n{query}\n{self._canonical_tail}"
        text = self._to_sign + sha256(canonical.encode()).hexdigest()
        signature = hmac.digest(self._key, text.encode(), "sha256").hex()
        target = f"{path}?{query}" if query else path
        return f"{self._method} {target}{self._head_tail}{signature}\r\n\r\n".encode()
