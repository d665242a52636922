"""Events of the journal and the one line that each is kept as.

Not for which acts make an event. A line is

    16 hex digits of the leaf's hash, space, header, tab, body, line feed

Header and body are JSON in ASCII. The leaf is the header, and the header holds the SHA-256 of the
body, which begins with a random salt: who sees a leaf's hash, or a header alone, learns nothing of
the body. Names of buckets and objects are never written, only keyed hashes of them.

Source: docs/journal.md.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from hashlib import sha256
from typing import NamedTuple

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hmac import HMAC

from storaged.base.errors import Kind, StorageError

TEXT_CHARACTERS_MAX = 256  # of one value: a client chooses some of them
FIELDS_MAX = 32
LINE_BYTES_MAX = 128 * 1024
SALT_BYTES = 16
BUCKETS_KEPT_MAX = 256  # hashes of names that one hasher keeps at hand
NAMES_KEPT_MAX = 512  # of fields and of types
NAME_HASH_BYTES = 16
CHECK_DIGITS = 16  # hex digits of the leaf's hash in front of a line
CLUSTER = "cluster"  # the log that the others are anchored in; they are named by their tenant's id

LOG_NAME = re.compile(r"cluster|[0-9a-f]{32}")
_HEADER = re.compile(
    rb'\{"seq":(0|[1-9][0-9]{0,18}),"at_ms":(0|[1-9][0-9]{0,15}),"type":"([A-Za-z0-9._-]{1,80})",'
    rb'"phase":"([a-z]{1,16})","body":"([0-9a-f]{64})"\}'
)
_ERASED = (b'{"erased":"', b'"}')
_TYPE = re.compile(r"[A-Za-z0-9._-]{1,80}")


class EntryInvalid(StorageError):
    """A line of the journal is not what was written."""

    kind = Kind.CORRUPT


class Phase(StrEnum):
    """When an event was recorded: an act before and after it, an access after it."""

    INTENT = "intent"
    OUTCOME = "outcome"
    ACCESS = "access"
    NOTE = "note"


Value = str | int


class Event(NamedTuple):
    """Something that happened.

    Args:
        type: such as "s3.PutBucketPolicy" or "admin.jobs.run".
        body: what else is known; never a secret, never a name of a bucket or an object.
        bucket, key: names, "" for none; they are hashed before they are written.
    """

    at_ms: int
    type: str
    phase: Phase
    body: Mapping[str, Value]
    bucket: str = ""
    key: str = ""


class NameHasher:
    """Hashes of names under the key of a log: whoever has the key and knows a name finds it."""

    __slots__ = ("_buckets", "_keyed")

    def __init__(self, key: bytes) -> None:
        self._keyed = HMAC(key, SHA256())  # to be copied: a copy costs a fifth of setting it up
        self._buckets: dict[str, str] = {}

    def __repr__(self) -> str:
        return "NameHasher(…)"

    def bucket(self, name: str) -> str:
        held = self._buckets.get(name)
        if held is None:
            if len(self._buckets) >= BUCKETS_KEPT_MAX:
                self._buckets.clear()
            held = self._hash(b"bucket\x00" + _bytes_of(name))
            self._buckets[name] = held
        return held

    def key(self, bucket: str, key: str) -> str:
        return self._hash(b"key\x00" + _bytes_of(bucket) + b"\x00" + _bytes_of(key))

    def _hash(self, text: bytes) -> str:
        code = self._keyed.copy()
        code.update(text)
        return code.finalize()[:NAME_HASH_BYTES].hex()


def _bytes_of(name: str) -> bytes:
    """What a name was read from; a text that no bytes make has some as well, so that no name
    keeps an event from being written.
    """
    try:
        return name.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return name.encode("utf-8", "surrogatepass")


_quote = json.encoder.encode_basestring_ascii  # JSON in ASCII of one text, in C


@lru_cache(maxsize=NAMES_KEPT_MAX)
def _named(name: str) -> str:
    """The beginning of a field of a body."""
    return f",{_quote(name)}:"


@lru_cache(maxsize=NAMES_KEPT_MAX)
def _is_type(text: str) -> bool:
    return _TYPE.fullmatch(text) is not None


def encode_line(seq: int, event: Event, salt: bytes, names: NameHasher) -> tuple[bytes, bytes]:
    """(line, hash of the leaf) of an event at a place in its log."""
    # Put together by hand, for every write makes one: an encoder of objects costs three times it.
    at_ms, kind, phase, told, bucket, key = event
    text = f'{{"salt":"{salt.hex()}"'
    for name, value in told.items():
        if type(value) is int:
            text += f"{_named(name)}{value}"
        else:
            text += _named(name) + _quote(str(value)[:TEXT_CHARACTERS_MAX])
    if bucket:
        text += f',"bucket":"{names.bucket(bucket)}"'
        if key:
            text += f',"key":"{names.key(bucket, key)}"'
    assert len(told) <= FIELDS_MAX - 3 and _is_type(kind)
    body = f"{text}}}".encode()
    header = (
        f'{{"seq":{seq},"at_ms":{at_ms},"type":"{kind}","phase":"{phase.value}",'
        f'"body":"{sha256(body).hexdigest()}"}}'
    ).encode()
    leaf = sha256(b"\x00" + header).digest()
    return b"%b %b\t%b\n" % (leaf.hex()[:CHECK_DIGITS].encode(), header, body), leaf


@dataclass(frozen=True, slots=True)
class Entry:
    """A line as it was read; `leaf` is the hash of its leaf."""

    seq: int
    at_ms: int
    type: str
    phase: str
    body: Mapping[str, object]
    leaf: bytes


def erased_body(length: int) -> bytes:
    """What stands in place of a body of so many bytes that was erased: the header, and with it
    the tree, stay as they are.
    """
    fill = length - len(_ERASED[0]) - len(_ERASED[1])
    assert fill >= 0, "every body begins with its salt"
    return _ERASED[0] + b"." * fill + _ERASED[1]


def is_erased(body: bytes) -> bool:
    """Whether a body was erased; an event of the log says so: `gateway.journal.forgetting`."""
    is_long = len(body) >= len(_ERASED[0]) + len(_ERASED[1])
    return is_long and body.startswith(_ERASED[0]) and body == erased_body(len(body))


def check_line(line: bytes, seq: int) -> bytes:
    """The leaf's hash of a line with its line feed that is whole, but for a body that was erased,
    and stands at its place.

    Raises: EntryInvalid.
    """
    check, _, rest = line.partition(b" ")
    header, tab, tail = rest.partition(b"\t")
    if not tab or tail[-1:] != b"\n" or len(line) > LINE_BYTES_MAX:
        raise EntryInvalid(seq=seq, reason="the line is not whole")
    leaf = sha256(b"\x00" + header).digest()
    if check != leaf.hex()[:CHECK_DIGITS].encode():
        raise EntryInvalid(seq=seq, reason="the header was changed")
    found = _HEADER.fullmatch(header)
    if found is None:
        raise EntryInvalid(seq=seq, reason="the header has another form")
    if int(found[1]) != seq:
        raise EntryInvalid(seq=seq, reason=f"event {int(found[1])} stands here")
    if sha256(tail[:-1]).hexdigest().encode() != found[5] and not is_erased(tail[:-1]):
        raise EntryInvalid(seq=seq, reason="the body was changed")
    return leaf


def read_line(line: bytes, seq: int) -> Entry:
    """A line, checked and parsed. Raises: EntryInvalid."""
    leaf = check_line(line, seq)
    header, _, body = line.partition(b" ")[2].partition(b"\t")
    found = _HEADER.fullmatch(header)
    try:
        fields = json.loads(body)
    except ValueError as error:
        raise EntryInvalid(seq=seq, reason="the body is no JSON") from error
    if found is None or not isinstance(fields, dict):
        raise EntryInvalid(seq=seq, reason="the body is no JSON object")
    return Entry(seq, int(found[2]), found[3].decode(), found[4].decode(), fields, leaf)
