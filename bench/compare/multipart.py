"""One upload in parts, with each part a request of a job."""

from __future__ import annotations

import re
import time
from dataclasses import replace
from urllib.parse import quote

from bench.compare.systems import System
from bench.drive import CaseFailed, run_load
from bench.exchange import exchange
from bench.load import Job, Result


def multipart(system: System, job: Job) -> Result:
    """One upload in parts; its seconds are those of the parts and of completing it.

    Raises:
        CaseFailed: a step was refused.
    """
    endpoint, path = system.endpoint(), job.path
    status, body = exchange(endpoint, "POST", path, query="uploads=", tls=job.tls)
    found = re.search(rb"<UploadId>([^<]+)</UploadId>", body)
    if status != 200 or found is None:
        raise CaseFailed(f"no upload: {status} {body[:200]!r}")
    upload = quote(found[1].decode(), safe="-._~")
    result = run_load(replace(job, query=f"partNumber={{}}&uploadId={upload}"))
    status, body = exchange(endpoint, "GET", path, query=f"uploadId={upload}", tls=job.tls)
    parts = re.findall(rb"<Part>.*?</Part>", body, re.S)
    if status != 200 or len(parts) != job.count:
        raise CaseFailed(f"{len(parts)} of {job.count} parts are listed: {status} {body[:200]!r}")
    began = time.perf_counter()
    status, body = exchange(
        endpoint, "POST", path, query=f"uploadId={upload}", body=_completion(parts), tls=job.tls
    )
    if status != 200 or b"<Error>" in body:
        raise CaseFailed(f"not completed: {status} {body[:200]!r}")
    result.seconds += time.perf_counter() - began
    result.ops_per_s = result.ops / result.seconds
    result.mib_per_s = result.ops_per_s * (job.body_bytes or 0) / 2**20
    exchange(endpoint, "DELETE", path, tls=job.tls)
    return result


def _completion(parts: list[bytes]) -> bytes:
    rows = []
    for part in parts:
        number = re.search(rb"<PartNumber>(\d+)</PartNumber>", part)
        etag = re.search(rb"<ETag>(.*?)</ETag>", part)
        if number is None or etag is None:
            raise CaseFailed(f"a part without number or ETag: {part!r}")
        rows.append((int(number[1]), etag[1].decode()))
    listed = "".join(
        f"<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>"
        for number, etag in sorted(rows)
    )
    return f"<CompleteMultipartUpload>{listed}</CompleteMultipartUpload>".encode()
