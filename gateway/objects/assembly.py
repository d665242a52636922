"""Whether the parts a client lists make an object, and which ETag and checksum it has then.

Pure decisions over values; reading and committing is `gateway.objects.multipart`'s.

Source: Amazon S3 API Reference, "CompleteMultipartUpload"; User Guide, "Checking object integrity".
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from gateway.limits import OBJECT_BYTES_MAX, PART_BYTES_MIN
from gateway.model.checksums import MD5, composite_digest, digest_of, full_object_digest
from gateway.model.errors import (
    BadDigest,
    EntityTooLarge,
    EntityTooSmall,
    InvalidPart,
    InvalidPartOrder,
    InvalidRequest,
)
from gateway.model.version import Checksum, Part, PartRun, Upload, part_runs
from gateway.objects.values import CompleteOptions, CompletePart

COMPOSITE = "COMPOSITE"
FULL_OBJECT = "FULL_OBJECT"


@dataclass(frozen=True, slots=True, kw_only=True)
class Assembly:
    """What an upload becomes."""

    etag: str
    content_bytes: int
    checksum: Checksum | None
    runs: tuple[PartRun, ...]


def in_order(listed: Sequence[CompletePart]) -> Iterator[CompletePart]:
    """The parts as listed.

    Raises: InvalidPartOrder unless the numbers ascend; InvalidRequest for an empty list.
    """
    if not listed:
        raise InvalidRequest(message="You must specify at least one part")
    before = 0
    for part in listed:
        if part.part_number <= before:
            raise InvalidPartOrder(part_number=part.part_number)
        before = part.part_number
        yield part


def chosen_parts(listed: Sequence[CompletePart], held: Mapping[int, Part]) -> list[Part]:
    """The held parts that are listed, in order.

    Raises:
        InvalidPartOrder, InvalidRequest: as in_order.
        InvalidPart: not held, or held with another ETag or checksum.
        EntityTooSmall: a part before the last has less than PART_BYTES_MIN bytes.
    """
    chosen = []
    for wanted in in_order(listed):
        part = held.get(wanted.part_number)
        if part is None or part.etag != wanted.etag:
            raise InvalidPart(part_number=wanted.part_number)
        for algorithm, value in wanted.checksums:
            kept = part.checksum
            if kept is not None and kept.algorithm == algorithm and kept.value != value:
                raise InvalidPart(part_number=wanted.part_number)
        chosen.append(part)
    for part in chosen[:-1]:
        if part.plain_bytes < PART_BYTES_MIN:
            raise EntityTooSmall(
                part_number=part.number,
                proposed_size_bytes=part.plain_bytes,
                min_size_allowed_bytes=PART_BYTES_MIN,
            )
    return chosen


def assemble(upload: Upload, chosen: Sequence[Part], options: CompleteOptions) -> Assembly:
    """What the chosen parts become.

    Raises:
        EntityTooLarge: more than OBJECT_BYTES_MAX bytes.
        InvalidRequest: another checksum type or total length than stated.
        BadDigest: another checksum than stated.
    """
    content_bytes = sum(part.plain_bytes for part in chosen)
    if content_bytes > OBJECT_BYTES_MAX:
        raise EntityTooLarge(proposed_size_bytes=content_bytes)
    if options.length is not None and options.length != content_bytes:
        raise InvalidRequest(
            message="The provided 'x-amz-mp-object-size' header value does not match what was "
            "computed.",
        )
    wanted_type = options.checksum_type
    if wanted_type is not None and wanted_type != (upload.checksum_type or FULL_OBJECT):
        raise InvalidRequest(
            message=f"The upload was created using the {upload.checksum_type or 'null'} checksum "
            f"mode. The complete request must use the same checksum mode.",
        )
    checksum = _checksum_of(upload, chosen)
    _compare(checksum, options.checksum)
    return Assembly(
        etag=etag_of([part.etag for part in chosen]),
        content_bytes=content_bytes,
        checksum=checksum,
        runs=part_runs((part.number, part.plain_bytes) for part in chosen),
    )


def etag_of(part_etags: Sequence[str]) -> str:
    """MD5 over the parts' raw MD5s, `-` and their number."""
    whole = digest_of(MD5, b"".join(bytes.fromhex(etag) for etag in part_etags))
    return f"{whole.hex()}-{len(part_etags)}"


def _checksum_of(upload: Upload, chosen: Sequence[Part]) -> Checksum | None:
    algorithm = upload.checksum_algorithm
    if not algorithm:
        return None
    digests = []
    for part in chosen:
        kept = part.checksum
        if kept is None or kept.algorithm != algorithm:
            return None
        digests.append(b64decode(kept.value))
    if upload.checksum_type == COMPOSITE:
        text = b64encode(composite_digest(algorithm, digests)).decode("ascii")
        return Checksum(algorithm=algorithm, type=COMPOSITE, value=f"{text}-{len(chosen)}")
    lengths = [part.plain_bytes for part in chosen]
    whole = full_object_digest(algorithm, list(zip(digests, lengths, strict=True)))
    return Checksum(algorithm=algorithm, type=FULL_OBJECT, value=b64encode(whole).decode("ascii"))


def _compare(checksum: Checksum | None, stated: tuple[str, str] | None) -> None:
    if stated is None or checksum is None or stated[0] != checksum.algorithm:
        return
    if stated[1].partition("-")[0] != checksum.value.partition("-")[0]:
        raise BadDigest(algorithm=checksum.algorithm)
