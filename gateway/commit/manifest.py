"""What a finished checkpoint is: its floor, and the segments that hold the index's rows.

Not for taking or loading one: `gateway.commit.checkpoint`, `gateway.commit.opening`.

Source: docs/data-layout.md, "Checkpoints".
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag

from gateway.commit.header import Applied
from gateway.commit.keys import LogKeys
from gateway.commit.packs import pack_nonce
from gateway.commit.records import decode_records
from gateway.data.stripes import StripeStore
from gateway.meta.kv import Batch
from gateway.model.layout import Geometry, StripeRow, Tier
from storaged.base.errors import Kind, StorageError
from storaged.base.ids import StripeId

FORMAT = 1  # what a manifest without a format is, too


class CheckpointCorrupt(StorageError):
    """A checkpoint segment is not what was written."""

    kind = Kind.CORRUPT


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """Rows from `start` to the next segment's start, in one pack stripe."""

    start: bytes
    row: StripeRow


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """A whole checkpoint: all segments in key order, and the floor from which the log must be
    replayed.
    """

    floor: Applied
    segments: tuple[Segment, ...]

    def document(self) -> dict[str, object]:
        return {
            "format": FORMAT,
            "floor": self.floor.encode().hex(),
            "segments": [
                {
                    "start": segment.start.hex(),
                    "stripe": segment.row.stripe.encode().hex(),
                    "k": segment.row.geometry.k,
                    "m": segment.row.geometry.m,
                    "cell_bytes": segment.row.cell_bytes,
                    "payload_bytes": segment.row.payload_bytes,
                    "nodes": list(segment.row.nodes),
                    "tier": int(segment.row.tier),
                }
                for segment in self.segments
            ],
        }

    @classmethod
    def of(cls, document: object) -> Manifest:
        """Inverse of `document`. Raises CheckpointCorrupt, also for a format of another release."""
        try:
            if not isinstance(document, dict):
                raise ValueError("no object")
            if document.get("format", FORMAT) != FORMAT:
                raise CheckpointCorrupt(reason="manifest format", format=document["format"])
            return cls(
                floor=Applied.decode(bytes.fromhex(document["floor"])),
                segments=tuple(
                    Segment(
                        start=bytes.fromhex(part["start"]),
                        row=StripeRow(
                            stripe=StripeId.decode(bytes.fromhex(part["stripe"])),
                            geometry=Geometry(part["k"], part["m"]),
                            cell_bytes=part["cell_bytes"],
                            payload_bytes=part["payload_bytes"],
                            nodes=tuple(part["nodes"]),
                            tier=Tier(part["tier"]),
                            live_bytes=part["payload_bytes"],
                        ),
                    )
                    for part in document["segments"]
                ),
            )
        except (KeyError, ValueError, TypeError) as error:
            raise CheckpointCorrupt(reason="manifest") from error


def encode_manifest(manifest: Manifest) -> bytes:
    """What a CHECKPOINT record carries."""
    return json.dumps(manifest.document(), sort_keys=True).encode()


def decode_manifest(raw: bytes) -> Manifest:
    """Inverse of encode_manifest. Raises CheckpointCorrupt."""
    try:
        return Manifest.of(json.loads(raw))
    except ValueError as error:
        raise CheckpointCorrupt(reason="manifest") from error


async def read_segment(store: StripeStore, keys: LogKeys, segment: Segment) -> tuple[Batch, ...]:
    """The rows of a segment as batches. Raises CheckpointCorrupt, StripeUnreadable, StripeGone."""
    row = segment.row
    sealed = await store.read(row, 0, row.payload_bytes, verified=True)
    try:
        raw = keys.segments.decrypt(pack_nonce(row.stripe), sealed, row.stripe.encode())
    except InvalidTag as error:
        raise CheckpointCorrupt(stripe=row.stripe) from error
    return decode_records(raw).batches


def stripes_of(manifest: Manifest | None) -> set[StripeId]:
    """The pack stripes that a checkpoint needs; None needs none."""
    segments: Iterable[Segment] = () if manifest is None else manifest.segments
    return {segment.row.stripe for segment in segments}
