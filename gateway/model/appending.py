"""What an object becomes when bytes are added to its end: parts, ETag, checksum. Pure.

An object that was put whole is what a multipart object of its part 1 would be: bodies put whole are
sealed as that part. So bytes are added as one part more.

Source: Amazon S3 User Guide, "Appending data to objects in directory buckets".
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from hashlib import md5

from gateway.limits import PART_NUMBER_MAX
from gateway.model.checksums import full_object_digest, is_crc
from gateway.model.errors import TooManyParts
from gateway.model.version import Checksum, PartRun, Version

FULL_OBJECT = "FULL_OBJECT"
FIRST_PART = 1  # what a body that is put whole is sealed as


def next_part_number(version: Version) -> int:
    """The number of a part behind all others; that of the only one where the object is empty and
    was put whole. Raises TooManyParts.
    """
    if not version.part_runs:
        return FIRST_PART + 1 if version.content_bytes else FIRST_PART
    last = version.part_runs[-1]
    number = last.first + last.count
    if number > PART_NUMBER_MAX:
        raise TooManyParts()
    return number


def runs_with_part(version: Version, number: int, plain_bytes: int) -> tuple[PartRun, ...]:
    """The runs of an object's parts and of one part more."""
    runs = version.part_runs or (
        PartRun(first=FIRST_PART, count=1, plain_bytes=version.content_bytes),
    )
    last = runs[-1]
    assert number == last.first + last.count, "the part comes after the others"
    if plain_bytes == last.plain_bytes:
        return (
            *runs[:-1],
            PartRun(first=last.first, count=last.count + 1, plain_bytes=plain_bytes),
        )
    return (*runs, PartRun(first=number, count=1, plain_bytes=plain_bytes))


def appended_etag(etag: str, part_etag: str, part_count: int) -> str:
    """An ETag for what is there now: MD5 over the ETag before and that of the part, `-` and the
    number of parts. It costs no look at the other parts.
    """
    whole = md5(f"{etag}+{part_etag}".encode(), usedforsecurity=False)
    return f"{whole.hexdigest()}-{part_count}"


def appended_checksum(
    held: Checksum | None, held_bytes: int, part: Checksum | None, part_bytes: int
) -> Checksum | None:
    """The checksum of the whole; None where that of the part does not tell it: only CRCs of whole
    objects combine.
    """
    if held is None or part is None or held.algorithm != part.algorithm:
        return None
    if held.type != FULL_OBJECT or not is_crc(held.algorithm):
        return None
    digests = [(b64decode(held.value), held_bytes), (b64decode(part.value), part_bytes)]
    whole = full_object_digest(held.algorithm, digests)
    return Checksum(
        algorithm=held.algorithm, type=FULL_OBJECT, value=b64encode(whole).decode("ascii")
    )
