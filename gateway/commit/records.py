"""The records of a group: which rows it sets and deletes, sealed so that nodes learn no names.

Pure. Values are already sealed row by row; this seal hides the row keys (they hold object names)
and makes the whole group one authenticated unit.

Source: docs/data-layout.md, "Commit stripes"; NIST SP 800-38D.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from gateway.meta.kv import Batch, Write
from storaged.base.errors import Kind, StorageError

_HEAD = struct.Struct(">BII")
_BATCH = struct.Struct(">16s16sI")
_WRITE = struct.Struct(">HI")
_DELETED = 0xFFFFFFFF
FORMAT = 1
TAG_BYTES = 16


class RecordsCorrupt(StorageError):
    """The records of a group fail their check."""

    kind = Kind.CORRUPT


@dataclass(frozen=True, slots=True)
class Records:
    """What a group says: batches in order (checks are not kept), and bytes that depend on the
    group's kind.
    """

    batches: tuple[Batch, ...]
    extra: bytes


def batch_bytes(batch: Batch) -> int:
    """Encoded length of one batch, in bytes."""
    total = _BATCH.size
    for write in batch.writes:
        total += _WRITE.size + len(write.key) + (len(write.value) if write.value is not None else 0)
    return total


def encode_records(batches: Sequence[Batch], extra: bytes) -> bytes:
    """format u8, batch count u32, extra length u32, extra, then per batch: request id, partition,
    write count u32,
    and per write: key length u16, value length u32 (0xFFFFFFFF = deleted), key, value."""
    parts: list[bytes] = [_HEAD.pack(FORMAT, len(batches), len(extra)), extra]
    add = parts.append
    for batch in batches:
        add(_BATCH.pack(batch.request_id, batch.partition, len(batch.writes)))
        for write in batch.writes:
            value = write.value
            if value is None:
                add(_WRITE.pack(len(write.key), _DELETED))
                add(write.key)
            else:
                add(_WRITE.pack(len(write.key), len(value)))
                add(write.key)
                add(value)
    return b"".join(parts)


def decode_records(raw: bytes) -> Records:
    """Inverse of encode_records. Raises RecordsCorrupt on any other bytes."""
    try:
        form, batch_count, extra_bytes = _HEAD.unpack_from(raw, 0)
        if form != FORMAT:
            raise RecordsCorrupt(format=form)
        at = _HEAD.size
        extra = raw[at : at + extra_bytes]
        at += extra_bytes
        batches = []
        for _ in range(batch_count):
            request_id, partition, write_count = _BATCH.unpack_from(raw, at)
            at += _BATCH.size
            writes = []
            for _ in range(write_count):
                key_bytes, value_bytes = _WRITE.unpack_from(raw, at)
                at += _WRITE.size
                key = raw[at : at + key_bytes]
                at += key_bytes
                value = None
                if value_bytes != _DELETED:
                    value = raw[at : at + value_bytes]
                    at += value_bytes
                writes.append(Write(key, value))
            batches.append(
                Batch(partition=partition, request_id=request_id, checks=(), writes=tuple(writes))
            )
    except struct.error as error:
        raise RecordsCorrupt(reason="truncated") from error
    if at != len(raw):
        raise RecordsCorrupt(reason="length")
    return Records(tuple(batches), extra)


def seal_records(cipher: AESGCM, sequence: int, context: bytes, records: bytes) -> bytes:
    """Seal the encoded records of group `sequence`.

    Args:
        cipher: the AES-256-GCM key of this log epoch; an epoch is granted once and a sequence
            number is sealed once in it, so the nonce is used once (D4).
        context: bound as associated data.

    Returns: ciphertext ‖ 16-byte tag.
    """
    return cipher.encrypt(sequence.to_bytes(12, "big"), records, context)


def open_records(cipher: AESGCM, sequence: int, context: bytes, sealed: bytes) -> bytes:
    """Inverse of seal_records. Raises RecordsCorrupt when the tag does not match."""
    try:
        return cipher.decrypt(sequence.to_bytes(12, "big"), sealed, context)
    except InvalidTag as error:
        raise RecordsCorrupt(sequence=sequence) from error
