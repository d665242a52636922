"""Signing requests with SigV4, for tests and the load generator: the other side of `sigv4`.

Not for verifying, and not used by the gateway: here the long-term secret is an argument.

Source: as `sigv4`.
"""

from __future__ import annotations

from gateway.s3.sigv4 import (
    PayloadMode,
    RequestHead,
    chain_signature,
    derive_signing_key,
    join_headers,
    string_to_sign,
)
from gateway.s3.sigv4_claim import ALGORITHM, SERVICE, TERMINATOR, amz_date_at
from gateway.s3.uri import canonical_path, canonical_query, split_query


def sign_request(
    head: RequestHead,
    *,
    access_key_id: str,
    secret: str,
    now_ms: int,
    region: str,
    content_sha256: str = PayloadMode.UNSIGNED,
) -> list[tuple[str, str]]:
    """Headers of the head plus x-amz-date, x-amz-content-sha256 and authorization; all of them
    signed.
    """
    amz_date = amz_date_at(now_ms)
    headers = [
        *head.headers,
        ("x-amz-date", amz_date),
        ("x-amz-content-sha256", str(content_sha256)),
    ]
    fields = join_headers(headers)
    signed = ";".join(sorted(fields))
    lines = "".join([f"{name}:{fields[name]}\n" for name in sorted(fields)])
    query = canonical_query(split_query(head.raw_query))
    path = canonical_path(head.raw_path)
    canonical = f"{head.method}\n{path}\n{query}\n{lines}\n{signed}\n{content_sha256}"
    scope = f"{amz_date[:8]}/{region}/{SERVICE}/{TERMINATOR}"
    key = derive_signing_key(secret, date=amz_date[:8], region=region)
    signature = chain_signature(key, string_to_sign(amz_date, scope, canonical))
    credential = f"{access_key_id}/{scope}"
    value = f"{ALGORITHM} Credential={credential}, SignedHeaders={signed}, Signature={signature}"
    return [*headers, ("authorization", value)]


def presign_url(
    head: RequestHead, *, access_key_id: str, secret: str, now_ms: int, region: str, expires_s: int
) -> str:
    """Path and query (`/bucket/key?X-Amz-…`) good for `expires_s` seconds; the headers of the head
    are signed.
    """
    amz_date = amz_date_at(now_ms)
    scope = f"{amz_date[:8]}/{region}/{SERVICE}/{TERMINATOR}"
    fields = join_headers(head.headers)
    signed = ";".join(sorted(fields))
    added = {
        "X-Amz-Algorithm": ALGORITHM,
        "X-Amz-Credential": f"{access_key_id}/{scope}",
        "X-Amz-Date": amz_date,
        "X-Amz-Expires": str(expires_s),
        "X-Amz-SignedHeaders": signed,
    }
    pairs = split_query(head.raw_query)
    pairs.extend((name.encode(), value.encode()) for name, value in added.items())
    query = canonical_query(pairs)
    lines = "".join([f"{name}:{fields[name]}\n" for name in sorted(fields)])
    path = canonical_path(head.raw_path)
    canonical = f"{head.method}\n{path}\n{query}\n{lines}\n{signed}\n{PayloadMode.UNSIGNED}"
    key = derive_signing_key(secret, date=amz_date[:8], region=region)
    signature = chain_signature(key, string_to_sign(amz_date, scope, canonical))
    return f"{path}?{query}&X-Amz-Signature={signature}"
