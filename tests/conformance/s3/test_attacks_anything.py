"""Any header, any parameter and any body at every route: an error that S3 documents, never one of
ours, and never a stall.

Headers are those that the gateway's source names, so that one that is added is tried unasked.
What bytes do to one parser is asked by its own tests, and by `make fuzz`.
"""

from __future__ import annotations

import random
import re
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from gateway.s3.errors import STATUS
from tests.support.raw_s3 import UNSIGNED
from tests.support.route_matrix import BODIES, EVERY
from tests.support.s3_gateway import S3Gateway

REQUESTS = 3000
STALL_S = 2.0
GATEWAY = Path(__file__).resolve().parents[3] / "gateway"
AMZ = re.compile(r'"(x-amz-[a-z0-9-]+)"')
PLAIN = """accept access-control-request-headers access-control-request-method cache-control
    content-disposition content-encoding content-language content-md5 content-type expect expires
    if-match if-modified-since if-none-match if-unmodified-since origin range x-amz-meta-a"""
# What the signature itself is made of has tests of its own.
OF_THE_SIGNATURE = {"x-amz-content-sha256", "x-amz-date", "x-amz-security-token"}
NAMED = {name for path in GATEWAY.rglob("*.py") for name in AMZ.findall(path.read_text())}
HEADERS = sorted((NAMED | set(PLAIN.split())) - OF_THE_SIGNATURE)
PARAMETERS = """annotationName bucket-region continuation-token delimiter encoding-type fetch-owner
    id key-marker list-type marker max-buckets max-keys max-parts max-uploads part-number-marker
    partNumber prefix response-content-type response-expires start-after upload-id-marker uploadId
    version-id-marker versionId x-id"""
VALUES = """0 -1 1 7 10001 99999999999999999999 a true null * "x" \x7f %00 %zz a/b {bucket}/ AES256
    aws:kms CRC32 SHA256 COMPOSITE FULL_OBJECT COPY REPLACE GOVERNANCE COMPLIANCE ON STANDARD_IA
    GLACIER public-read id=x uri=y a=b&a=c a=b AAAA aws-chunked gzip 100-continue
    2999-01-01T00:00:00Z"""
# What such a header may well say, by a part of its name.
LIKELY = {
    "trailer": ["x-amz-checksum-crc32", "x-amz-checksum-crc32,x-amz-checksum-sha1", "content-md5"],
    "decoded": ["0", "7", "100"],
    "encoding": ["aws-chunked", "aws-chunked,gzip", "gzip"],
    "source": ["/{bucket}/k", "/{bucket}/k?versionId=null", "{bucket}/up", "/{bucket}/missing"],
    "checksum": ["CRC32", "AAAA", "AAAAAA==", "COMPOSITE", "ENABLED"],
    "customer": ["AES256", "AAAA"],
    "range": ["bytes=0-", "bytes=5-1", "bytes=-0", "bytes=a-b", "bytes=0-0,2-3", "bytes=0-2"],
    "since": ["Wed, 21 Oct 2015 07:28:00 GMT", "Wed, 21 Oct 2999 07:28:00 GMT"],
    "attributes": ["ETag,ObjectParts", "Checksum"],
    "match": ["*", '"x"', "9a0364b9e99bb480dd25e1f0284c8555"],
}
WRONG_BODIES = [b"", b"x", b"<a/>", b"{}", b"\xff\xfe<", b"<?xml version='1.0'?><a>" + b"<c>" * 9]


def value_of(rng: random.Random, name: str) -> str:
    """Something that a header or a parameter may be given."""
    for part, likely in LIKELY.items():
        if part in name and rng.random() < 0.7:
            return rng.choice(likely)
    return rng.choice([*VALUES.split(), "", "é", "x" * 2000])


@pytest.mark.parametrize("seed", range(3))
def test_anything_gets_a_documented_answer(
    gateway: S3Gateway, s3: Any, bucket: str, seed: int
) -> None:
    """HTTP-10: nor does anything keep the process busy."""
    rng = random.Random(seed)
    s3.put_object(Bucket=bucket, Key="k", Body=b"content", ChecksumAlgorithm="CRC32")
    upload = {"Bucket": bucket, "Key": "up"}
    upload["UploadId"] = s3.create_multipart_upload(**upload)["UploadId"]
    s3.upload_part(**upload, PartNumber=1, Body=b"x")
    routes = [one for one in EVERY if one.method != "DELETE" or one.target != "/{bucket}"]
    routes += [one for one in routes if "?" not in one.target or one.source] * 8
    for _ in range(REQUESTS):
        one = rng.choice(routes)
        target = one.target.replace("{id}", upload["UploadId"])
        for name in rng.sample(PARAMETERS.split(), rng.choice([0, 0, 1, 2])):
            if f"{name}=" not in target:
                mark = "&" if "?" in target else "?"
                target += f"{mark}{name}={quote(value_of(rng, name), safe='{}')}"
        target = target.replace("{bucket}", bucket)
        names = rng.sample(HEADERS, rng.choice([0, 1, 1, 2, 3]))
        headers = {name: value_of(rng, name).replace("{bucket}", bucket) for name in names}
        if one.source:
            headers.setdefault(one.source, f"/{bucket}/k")
        right = BODIES.get(one.operation, b"")
        body = rng.choice([right, right, *WRONG_BODIES]) if one.method in ("PUT", "POST") else b""
        payload = rng.choice([None, None, UNSIGNED])
        told = (one.method, target, headers, body, payload)
        began = time.monotonic()
        with gateway.raw() as client:
            answer = client.request(one.method, target, body, headers, payload=payload)
        assert time.monotonic() - began < STALL_S, told
        assert answer.status < 500 or answer.status == 501, told
        assert answer.status < 400 or not answer.code or answer.code in STATUS, told
