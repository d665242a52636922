"""Identifiers that cross the node port: nodes, datacenters, stripes, shards, logs. Text and byte
forms.

Not for names of S3 (buckets, keys, versions): a node never sees one.

Source: docs/data-layout.md, "Identifiers".
"""

from __future__ import annotations

import re
from enum import IntEnum
from typing import NewType

from storaged.base.errors import ProtocolError
from storaged.base.values import value

_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,30}[a-z0-9])?\Z")

NodeId = NewType("NodeId", str)
DatacenterId = NewType("DatacenterId", str)
LogId = NewType("LogId", bytes)

STRIPE_ID_BYTES = 16
SHARD_ID_BYTES = 17
LOG_ID_BYTES = 16
EPOCH_MAX = (1 << 56) - 1
COUNTER_MAX = (1 << 64) - 1


class InvalidId(ProtocolError):
    """An identifier is not of the required form."""


def node_id(text: str) -> NodeId:
    """Validate a node id: 1–32 characters of a–z, 0–9 and inner hyphens."""
    if not _NAME.match(text):
        raise InvalidId(node_id=text[:64])
    return NodeId(text)


def operator_id(text: str) -> str:
    """Validate the name of who runs a node: same form as a node id; "" where nobody is named."""
    if text and not _NAME.match(text):
        raise InvalidId(operator_id=text[:64])
    return text


def datacenter_id(text: str) -> DatacenterId:
    """Validate a datacenter id: same form as a node id."""
    if not _NAME.match(text):
        raise InvalidId(datacenter_id=text[:64])
    return DatacenterId(text)


class StripeFamily(IntEnum):
    """First byte of a stripe id."""

    DATA = 1  # bytes of one part of one large version
    PACK = 2  # small bodies only: compaction survivors, other classes, checkpoint segments
    COMMIT = 3  # one commit group; epoch is the log epoch, counter the sequence number


@value(frozen=True, slots=True, order=True)
class StripeId:
    """Family, epoch (writer epoch, or log epoch for COMMIT) and counter; ordered as its 16
    bytes.
    """

    family: StripeFamily
    epoch: int
    counter: int

    def __post_init__(self) -> None:
        if not (0 <= self.epoch <= EPOCH_MAX and 0 <= self.counter <= COUNTER_MAX):
            raise InvalidId(epoch=self.epoch, counter=self.counter)

    def encode(self) -> bytes:
        """16 bytes: family u8, epoch u56, counter u64, big-endian."""
        return ((self.family << 120) | (self.epoch << 64) | self.counter).to_bytes(16, "big")

    @classmethod
    def decode(cls, raw: bytes) -> StripeId:
        if len(raw) != STRIPE_ID_BYTES or raw[0] not in (1, 2, 3):
            raise InvalidId(stripe_id=raw[:STRIPE_ID_BYTES].hex())
        return cls(
            StripeFamily(raw[0]), int.from_bytes(raw[1:8], "big"), int.from_bytes(raw[8:], "big")
        )

    def __str__(self) -> str:
        return f"{self.family.name.lower()}-{self.epoch:x}-{self.counter:x}"


@value(frozen=True, slots=True, order=True)
class ShardId:
    """One shard of a stripe; `index` is 0-based, below k + m ≤ 255."""

    stripe: StripeId
    index: int

    def encode(self) -> bytes:
        """17 bytes: stripe id, index u8. Byte order is (family, epoch, counter, index) order."""
        return self.stripe.encode() + bytes((self.index,))

    @classmethod
    def decode(cls, raw: bytes) -> ShardId:
        if len(raw) != SHARD_ID_BYTES:
            raise InvalidId(shard_id=raw[:SHARD_ID_BYTES].hex())
        return cls(StripeId.decode(raw[:16]), raw[16])

    def __str__(self) -> str:
        return f"{self.stripe}.{self.index}"


def log_id(raw: bytes) -> LogId:
    """Validate a log id: 16 bytes."""
    if len(raw) != LOG_ID_BYTES:
        raise InvalidId(log_id=raw[:LOG_ID_BYTES].hex())
    return LogId(raw)
