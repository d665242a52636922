"""Whether the parts a client lists make an object, and which ETag and checksum it has then.

Pure decisions over values; reading and committing is `gateway.objects.multipart`'s.

Source: Amazon S3 API Reference, "CompleteMultipartUpload"; User Guide, "Checking object integrity".
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from gateway.limits import OBJECT_BYTES_MAX, PART_BYTES_MIN
from gateway.model.checksums import (
    MD5,
    composite_digest,
    digest_of,
    full_object_digest,
    is_crc,
)
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


def last_listed(listed: Sequence[CompletePart]) -> list[CompletePart]:
    """The parts as listed, but for a part that is there again at once with another ETag: who sends
    a part twice lists both answers, and means the later one.
    """
    kept: list[CompletePart] = []
    for part in listed:
        if kept and kept[-1].part_number == part.part_number and kept[-1].etag != part.etag:
            kept.pop()
        kept.append(part)
    return kept


def chosen_parts(
    upload: Upload, listed: Sequence[CompletePart], held: Mapping[int, Part]
) -> list[Part]:
    """The held parts that are listed, in order.

    Raises:
        InvalidPartOrder, InvalidRequest: as in_order; with composite checksums, numbers have no
            gaps.
        InvalidPart: not held, or held with another ETag or checksum.
        EntityTooSmall: a part before the last has less than PART_BYTES_MIN bytes.
    """
    chosen: list[Part] = []
    is_composite = upload.checksum_type == COMPOSITE
    for wanted in in_order(listed):
        part = held.get(wanted.part_number)
        if part is None or part.etag != wanted.etag:
            raise InvalidPart(part_number=wanted.part_number)
        if is_composite and wanted.part_number != len(chosen) + 1:
            raise InvalidPartOrder(part_number=wanted.part_number)
        kept = part.checksum
        for stated in wanted.checksums:
            if kept is None or stated != (kept.algorithm, kept.value):
                raise InvalidPart(part_number=wanted.part_number)
        chosen.append(part)
    for part in chosen[:-1]:
        if part.plain_bytes < PART_BYTES_MIN:
            raise EntityTooSmall(
                part_number=part.number,
                proposed_bytes=part.plain_bytes,
                min_bytes=PART_BYTES_MIN,
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
        raise EntityTooLarge(proposed_bytes=content_bytes)
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
    checksum = _checksum_of(upload.checksum_algorithm, upload.checksum_type, chosen)
    if options.checksum is not None:
        _compare(upload, chosen, checksum, *options.checksum)
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


def _checksum_of(algorithm: str, kind: str, chosen: Sequence[Part]) -> Checksum | None:
    if not algorithm:
        return None
    digests = []
    for part in chosen:
        kept = part.checksum
        if kept is None or kept.algorithm != algorithm:
            return None
        digests.append(b64decode(kept.value))
    if kind == COMPOSITE:
        text = b64encode(composite_digest(algorithm, digests)).decode("ascii")
        return Checksum(algorithm=algorithm, type=COMPOSITE, value=f"{text}-{len(chosen)}")
    lengths = [part.plain_bytes for part in chosen]
    whole = full_object_digest(algorithm, list(zip(digests, lengths, strict=True)))
    return Checksum(algorithm=algorithm, type=FULL_OBJECT, value=b64encode(whole).decode("ascii"))


def _compare(
    upload: Upload, chosen: Sequence[Part], checksum: Checksum | None, algorithm: str, value: str
) -> None:
    """Raises BadDigest; InvalidRequest for a checksum that cannot be told from the parts'."""
    if checksum is None and not upload.checksum_algorithm:
        # Nothing was agreed on at the start; the parts' own checksums may tell all the same.
        if "-" in value:
            checksum = _checksum_of(algorithm, COMPOSITE, chosen)
        elif is_crc(algorithm):
            checksum = _checksum_of(algorithm, FULL_OBJECT, chosen)
    if checksum is None or checksum.algorithm != algorithm:
        expected = upload.checksum_algorithm.lower() or "null"
        raise InvalidRequest(
            message=f"Checksum Type mismatch occurred, expected checksum Type: {expected}, "
            f"actual checksum Type: {algorithm.lower()}",
        )
    known = checksum.value if "-" in value else checksum.value.partition("-")[0]
    if value != known:
        raise BadDigest(algorithm=algorithm)
