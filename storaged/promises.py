"""What a node has promised per log: the epoch and the one instance it was granted to.

Not for the order between promises and puts: the shard store's writer decides that. The whole table
is one small file, replaced as one: magic, count u32, then per log 16 bytes id, u64 epoch, 16 bytes
instance, and a CRC32C over everything before it.
"""

from __future__ import annotations

from collections.abc import Mapping
from struct import Struct

from awscrt.checksums import crc32c

from storaged.base.errors import Kind, StorageError
from storaged.base.ids import EPOCH_MAX, LogId
from storaged.node import Promise

PROMISES_NAME = "promises"
LOGS_MAX = 4096  # logs one node keeps promises for; the file stays below 200 KiB

_MAGIC = b"HXPROM\x00\x01"
_COUNT = Struct(">I")
_ENTRY = Struct(">16sQ16s")

Promises = Mapping[LogId, tuple[int, bytes]]
_NONE = (0, b"")


class PromisesUnreadable(StorageError):
    """The promises of this node cannot be read, so it may not accept commit shards."""

    kind = Kind.CORRUPT
    hint = "replace the node: wipe its directory, give it another id, and let repair fill it"


class PromiseInvalid(StorageError):
    """A promise must name an epoch, an instance of 16 bytes, and one of at most 4,096 logs."""

    kind = Kind.INVALID


def encode_promises(promises: Promises) -> bytes:
    """The file's bytes."""
    body = _MAGIC + _COUNT.pack(len(promises))
    body += b"".join(
        _ENTRY.pack(log, epoch, instance) for log, (epoch, instance) in sorted(promises.items())
    )
    return body + _COUNT.pack(crc32c(body))


def decode_promises(raw: bytes) -> dict[LogId, tuple[int, bytes]]:
    """The table in the file. Raises `PromisesUnreadable`."""
    if len(raw) < 16 or raw[:8] != _MAGIC:
        raise PromisesUnreadable(reason="magic")
    (count,) = _COUNT.unpack_from(raw, 8)
    end = 12 + count * _ENTRY.size
    if len(raw) != end + 4 or crc32c(raw[:end]) != _COUNT.unpack_from(raw, end)[0]:
        raise PromisesUnreadable(reason="checksum")
    return {
        LogId(log): (epoch, instance) for log, epoch, instance in _ENTRY.iter_unpack(raw[12:end])
    }


def promised_epoch(promises: Promises, log: LogId) -> int:
    """The epoch promised for a log, 0 when there is none."""
    return promises.get(log, _NONE)[0]


def promise(promises: Promises, *, log: LogId, epoch: int, instance: bytes) -> tuple[Promise, bool]:
    """Judge one `fence` call: the answer, and whether the table changes to (epoch, instance).

    Raises:
        PromiseInvalid: the epoch is out of range, or the instance is not 16 bytes.
    """
    if not 0 <= epoch <= EPOCH_MAX or (epoch and len(instance) != 16):
        raise PromiseInvalid(epoch=epoch, instance_bytes=len(instance))
    promised, holder = promises.get(log, _NONE)
    if epoch > promised:
        if promised == 0 and len(promises) >= LOGS_MAX:
            raise PromiseInvalid(logs_max=LOGS_MAX)
        return (Promise(epoch=epoch, granted=True), True)
    granted = epoch == promised and epoch > 0 and holder == instance
    return (Promise(epoch=promised, granted=granted), False)
