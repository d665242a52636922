"""The header every shard of a commit stripe carries: who wrote the group, after which one, at which
tier.

Pure. The header is the same in all shards of a stripe (`common` of the shard's attributes). Its MAC
is made with the log key, so a node can neither forge nor alter it; its digest is what the next
group names, so the groups form a chain.

Source: docs/data-layout.md, "Commit stripes".
"""

from __future__ import annotations

import hashlib
import hmac
import struct
from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hmac import HMAC

from gateway.model.layout import Tier
from storaged.base.errors import Kind, StorageError
from storaged.base.ids import LogId, StripeFamily, StripeId

MARKER = b"HXG\x01"
DIGEST_BYTES = 32
GENESIS_DIGEST = bytes(DIGEST_BYTES)
_FIELDS = struct.Struct(">4s16sQQBBxx32sQQII")
_MAC_BYTES = 32
LOG_KEYS_MAX = 8  # kept ready; a process has one log, tests have several
HEADER_BYTES = _FIELDS.size + _MAC_BYTES


@lru_cache(maxsize=LOG_KEYS_MAX)
def _keyed(log_key: bytes) -> HMAC:
    return HMAC(log_key, SHA256())


def _mac(log_key: bytes, body: bytes) -> bytes:
    """HMAC-SHA256; a copy of a keyed one, for `hmac.digest` gives the interpreter's lock up."""
    code = _keyed(log_key).copy()
    code.update(body)
    return code.finalize()


class HeaderInvalid(StorageError):
    """A commit header is not one of this log."""

    kind = Kind.CORRUPT


class GroupKind(IntEnum):
    """What a group is for."""

    CHANGES = 0
    EPOCH = 1  # first group of a log epoch
    CHECKPOINT = 2  # names a finished checkpoint


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupHeader:
    """Header of one commit group.

    Args:
        previous: digest of the group before, 32 bytes; zeros for the first.
        checkpoint: (epoch, sequence) of the newest checkpoint record, (0, 0) when there is none.
        bodies_bytes, records_bytes: the payload is the bodies, then the sealed records.
    """

    log: LogId
    epoch: int
    sequence: int
    tier: Tier
    kind: GroupKind
    previous: bytes
    checkpoint: tuple[int, int]
    bodies_bytes: int
    records_bytes: int

    @property
    def stripe(self) -> StripeId:
        return StripeId(StripeFamily.COMMIT, self.epoch, self.sequence)

    def encode(self, log_key: bytes) -> bytes:
        """HEADER_BYTES bytes, MAC included."""
        body = _FIELDS.pack(
            MARKER,
            self.log,
            self.epoch,
            self.sequence,
            self.tier,
            self.kind,
            self.previous,
            *self.checkpoint,
            self.bodies_bytes,
            self.records_bytes,
        )
        return body + _mac(log_key, body)

    @classmethod
    def decode(cls, raw: bytes, log_key: bytes, log: LogId) -> GroupHeader:
        """Check the MAC, then read.

        Raises:
            HeaderInvalid: wrong length, marker, MAC, log or value.
        """
        if len(raw) != HEADER_BYTES or raw[:4] != MARKER:
            raise HeaderInvalid(reason="form")
        body = raw[: _FIELDS.size]
        if not hmac.compare_digest(raw[_FIELDS.size :], _mac(log_key, body)):
            raise HeaderInvalid(reason="mac")
        _, owner, epoch, sequence, tier, kind, previous, at_epoch, at_sequence, bodies, records = (
            _FIELDS.unpack(body)
        )
        if owner != log or tier > Tier.FULL or kind > GroupKind.CHECKPOINT:
            raise HeaderInvalid(reason="value")
        return cls(
            log=log,
            epoch=epoch,
            sequence=sequence,
            tier=Tier(tier),
            kind=GroupKind(kind),
            previous=previous,
            checkpoint=(at_epoch, at_sequence),
            bodies_bytes=bodies,
            records_bytes=records,
        )


def digest_of(encoded: bytes, records_tag: bytes) -> bytes:
    """What the next group names: SHA-256 over the encoded header and the records' AEAD tag, 32
    bytes.
    """
    return hashlib.sha256(encoded + records_tag).digest()


_APPLIED = struct.Struct(">BQQ32sQQ")


@dataclass(frozen=True, slots=True)
class Applied:
    """How far an index has followed the log: the mark its last transaction left."""

    epoch: int
    sequence: int
    digest: bytes
    checkpoint: tuple[int, int]

    def encode(self) -> bytes:
        return _APPLIED.pack(1, self.epoch, self.sequence, self.digest, *self.checkpoint)

    @classmethod
    def decode(cls, raw: bytes | None) -> Applied:
        """The mark, or the start of an empty log. Raises HeaderInvalid on other bytes."""
        if raw is None:
            return cls(0, 0, GENESIS_DIGEST, (0, 0))
        if len(raw) != _APPLIED.size or raw[0] != 1:
            raise HeaderInvalid(reason="applied mark")
        _, epoch, sequence, digest, at_epoch, at_sequence = _APPLIED.unpack(raw)
        return cls(epoch, sequence, digest, (at_epoch, at_sequence))
