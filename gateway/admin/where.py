"""`hexagone where`: on which nodes, in which datacenters and countries and with which operators the
shards of an object are recorded.

Not a proof of a place: the index says which node holds a shard, and the configuration and the
node's certificate say where that node is. Nothing here asks a drive. Only the cluster's part of
rows is opened, so no tenant key is needed and no ETag, header or secret can be shown.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice

from gateway.admin.outlook import Document
from gateway.data.health import HealthView
from gateway.data.placement import margin, tier_of, too_much_with_one
from gateway.data.stripes import StripeGone
from gateway.data.topology import Topology
from gateway.meta import keyspace
from gateway.meta.buckets import find_bucket
from gateway.meta.kv import MetaStore, Row
from gateway.meta.record_fields import StoredBytes
from gateway.meta.records import open_document, open_stored_bytes
from gateway.meta.sealing import RecordKeys
from gateway.meta.stripes import open_stripe
from gateway.model.annotations import PART_NUMBER
from gateway.model.errors import NoSuchBucket, NoSuchKey
from gateway.model.layout import Layout, Packed, StripeRow
from gateway.model.names import BucketId, ObjectUuid, bucket_name, object_key
from storaged.base.env import Env
from storaged.base.ids import StripeId

STRIPES_LISTED_MAX = 100
STRIPES_COUNTED_MAX = 20_000  # about a tenth of a second; 80 GB of a 4+2 object
PARTS_LISTED_MAX = 100
PAGE_ROWS = 500

RECORDED = (
    "Recorded, not proved: the index says which node holds a shard; the configuration and the "
    "node's certificate say where that node is."
)


@dataclass(slots=True)
class _Totals:
    """Shards of the stripes counted so far; `bytes` are those of their cells."""

    shards: Counter[tuple[str, str]] = field(default_factory=Counter)
    cell_bytes: Counter[tuple[str, str]] = field(default_factory=Counter)
    stripes: int = 0
    rows_missing: int = 0
    shards_nowhere: int = 0
    shards_outside: int = 0
    stripes_with_one: int = 0
    with_operator: Counter[str] = field(default_factory=Counter)
    lowest_margin: int | None = None


@dataclass(frozen=True, slots=True)
class _PartPlace:
    number: int
    held: StoredBytes


def no_certificate(number: int) -> str | None:
    """Of nodes that are folders of the gateway's own machine."""
    return None


class Locator:
    """Answers `where` from the index.

    Args:
        certificate_of: SHA-256, as hex, of the certificate that a node has shown; None: it has
            shown none.
    """

    def __init__(
        self,
        *,
        store: MetaStore,
        records: RecordKeys,
        topology: Topology,
        health: HealthView,
        env: Env,
        certificate_of: Callable[[int], str | None] = no_certificate,
    ) -> None:
        self._certificate_of = certificate_of
        self._store = store
        self._records = records
        self._topology = topology
        self._health = health
        self._env = env

    async def where(self, bucket: str, key: str) -> Document:
        """Where the current version of an object is recorded to be, annotations included: their
        stripes follow those of the content, as part 0.

        Args:
            key: as text; bytes that are no UTF-8 as surrogates.

        Raises: InvalidBucketName, InvalidArgument, KeyTooLong, NoSuchBucket, NoSuchKey, RowCorrupt.
        """
        row_key, held = self._current(bucket, key)
        parts = list(self._parts(row_key, held))
        attached = list(self._annotations(row_key, held))
        totals = _Totals()
        listed: list[Document] = []
        async for part, row, stripe in self._stripes(parts + attached):
            if totals.stripes >= STRIPES_COUNTED_MAX:
                break
            self._count(totals, row)
            if len(listed) < STRIPES_LISTED_MAX:
                listed.append(self._stripe_report(part, stripe, row))
        stripe_count = sum(_stripe_count(part.held.layout) for part in parts + attached)
        return {
            "bucket": bucket,
            "key": key,
            "content_bytes": held.plain_bytes,
            "kind": _kind(held, parts),
            "recorded": RECORDED,
            "part_count": len(parts),
            "annotation_count": len(attached),
            "parts": [_part_report(part) for part in parts[:PARTS_LISTED_MAX]],
            "stripe_count": stripe_count,
            "stripes_counted": totals.stripes,
            "stripes": listed,
            "stripe_rows_missing": totals.rows_missing,
            "shards_nowhere": totals.shards_nowhere,
            "shards_outside": totals.shards_outside,
            "stripes_too_much_with_one": totals.stripes_with_one,
            "lowest_margin": totals.lowest_margin,
            "datacenters": [
                {
                    "datacenter": datacenter,
                    "country": country,
                    "shards": totals.shards[datacenter, country],
                    "cell_bytes": totals.cell_bytes[datacenter, country],
                }
                for datacenter, country in sorted(totals.shards)
            ],
            "countries": sorted({country for _, country in totals.shards}),
            "operators": [
                {"operator": operator, "shards": count}
                for operator, count in sorted(totals.with_operator.items())
            ],
        }

    async def stripe_rows(self, bucket: str, key: str) -> tuple[int, list[StripeRow]]:
        """Bytes of the content of the current version of an object, and the rows of its stripes, at
        most STRIPES_COUNTED_MAX. Raises: as `where`, and StripeGone.
        """
        row_key, held = self._current(bucket, key)
        parts = [*self._parts(row_key, held), *self._annotations(row_key, held)]
        rows: dict[StripeId, StripeRow] = {}
        async for _, row, stripe in self._stripes(parts):
            if row is None:
                raise StripeGone(stripe=stripe)
            rows[stripe] = row
            if len(rows) >= STRIPES_COUNTED_MAX:
                break
        return held.plain_bytes, list(rows.values())

    def _current(self, bucket: str, key: str) -> tuple[bytes, StoredBytes]:
        name = bucket_name(bucket)
        checked = object_key(key.encode("utf-8", "surrogateescape"))
        stored = find_bucket(self._store, self._records, name)
        if stored is None:
            raise NoSuchBucket(bucket=bucket)
        row_key = keyspace.current_row(stored.bucket.bucket_id, checked)
        value = self._store.read((row_key,))[0]
        if value is None:
            raise NoSuchKey(bucket=bucket)
        return row_key, open_stored_bytes(self._records, row_key, value)

    def _parts(self, row_key: bytes, held: StoredBytes) -> Iterator[_PartPlace]:
        """The one part of an object put whole, else the part rows that the version still has."""
        if held.layout is not None:
            yield _PartPlace(1, held)
            return
        bucket = BucketId(keyspace.partition_of(row_key))
        kept = self._kept(bucket, held.object_uuid)
        for row in self._rows(*keyspace.part_range(bucket, held.object_uuid)):
            number = keyspace.parse_part(row.key)[2]
            if kept is None or number in kept:
                yield _PartPlace(number, open_stored_bytes(self._records, row.key, row.value))

    def _annotations(self, row_key: bytes, held: StoredBytes) -> Iterator[_PartPlace]:
        """Annotations of the version, by their names; their number is that of no part."""
        bucket = BucketId(keyspace.partition_of(row_key))
        for row in self._rows(*keyspace.annotation_range(bucket, held.object_uuid)):
            stored = open_stored_bytes(self._records, row.key, row.value)
            yield _PartPlace(PART_NUMBER, stored)

    def _kept(self, bucket: BucketId, uuid: ObjectUuid) -> set[int] | None:
        """Part numbers the version names while others wait to be taken away; None: all rows."""
        row_key = keyspace.garbage_row(bucket, uuid)
        value = self._store.read((row_key,))[0]
        if value is None:
            return None
        keep = open_document(self._records, row_key, value)["keep"]
        return {first + offset for first, count in keep for offset in range(count)}

    def _rows(self, start: bytes, end: bytes) -> Iterator[Row]:
        while True:
            page = self._store.scan(start, end, limit=PAGE_ROWS)
            yield from page
            if len(page) < PAGE_ROWS:
                return
            start = keyspace.after(page[-1].key)

    async def _stripes(
        self, parts: list[_PartPlace]
    ) -> AsyncIterator[tuple[int, StripeRow | None, StripeId]]:
        """(part number, row or None, stripe) in the order of the content. Past the log's row cache,
        which a look at one large object must not empty.
        """
        wanted = ((part.number, stripe) for part in parts for stripe in _ids(part.held.layout))
        while True:
            page = list(islice(wanted, PAGE_ROWS))
            if not page:
                return
            keys = [keyspace.stripe_row(stripe) for _, stripe in page]
            values = self._store.read(keys)
            for (number, stripe), row_key, value in zip(page, keys, values, strict=True):
                row = None if value is None else open_stripe(self._records, row_key, value)
                yield number, row, stripe
            await self._env.sleep(0)

    def _count(self, totals: _Totals, row: StripeRow | None) -> None:
        totals.stripes += 1
        if row is None:
            totals.rows_missing += 1
            return
        for number in row.nodes:
            node = self._topology.by_number.get(number)
            if node is None:
                totals.shards_nowhere += 1
                continue
            totals.shards_outside += not self._topology.allows(row.region, number)
            place = str(node.datacenter), node.country
            totals.shards[place] += 1
            totals.cell_bytes[place] += row.cell_bytes
            totals.with_operator[node.operator] += 1
        held = too_much_with_one(row.nodes, self._topology, row.geometry, row.region)
        totals.stripes_with_one += held is not None
        left = self._margin(row)
        if totals.lowest_margin is None or left < totals.lowest_margin:
            totals.lowest_margin = left

    def _margin(self, row: StripeRow) -> int:
        alive = [n for n in self._topology.by_number if self._health.readable(n)]
        return margin(row.nodes, self._topology, row.geometry.k, alive)

    def _stripe_report(self, part: int, stripe: StripeId, row: StripeRow | None) -> Document:
        if row is None:
            return {"part": part, "stripe": str(stripe), "recorded": False, "shards": []}
        return {
            "part": part,
            "stripe": str(stripe),
            "recorded": True,
            "layout": f"{row.geometry.k}+{row.geometry.m}",
            "tier": tier_of(row.nodes, self._topology, row.geometry.k).name,
            "margin": self._margin(row),
            "region": row.region,
            "cell_bytes": row.cell_bytes,
            "shards": [
                self._shard_report(i, number, row.region) for i, number in enumerate(row.nodes)
            ],
        }

    def _shard_report(self, index: int, number: int, region: int) -> Document:
        node = self._topology.by_number.get(number)
        if node is None:
            return {"index": index, "node": None, "number": number or None}
        status = self._health.statuses().get(number)
        return {
            "index": index,
            "node": str(node.node),
            "number": number,
            "datacenter": str(node.datacenter),
            "country": node.country,
            "operator": node.operator,
            "reachable": self._health.readable(number),
            "inside": self._topology.allows(region, number),
            "certificate_sha256": self._certificate_of(number),
            "verified_at_ms": 0 if status is None else status.scrubbed_at_ms,
        }


def _stripe_count(layout: Layout | None) -> int:
    if layout is None:
        return 0
    return 1 if isinstance(layout, Packed) else layout.stripe_count


def _ids(layout: Layout | None) -> Iterator[StripeId]:
    if layout is None:
        return
    if isinstance(layout, Packed):
        yield layout.stripe
        return
    first = layout.first
    for offset in range(layout.stripe_count):
        yield StripeId(first.family, first.epoch, first.counter + offset)


def _kind(held: StoredBytes, parts: list[_PartPlace]) -> str:
    if held.layout is not None:
        return "whole"
    return "multipart" if parts else "delete marker"


def _part_report(part: _PartPlace) -> Document:
    layout = part.held.layout
    report: Document = {
        "part": part.number,
        "plain_bytes": part.held.plain_bytes,
        "stripe_count": _stripe_count(layout),
    }
    if layout is None:
        return report | {"layout": "none"}
    report["sealed_bytes"] = layout.sealed_bytes
    if isinstance(layout, Packed):
        return report | {
            "layout": "packed",
            "stripe": str(layout.stripe),
            "offset": layout.offset,
        }
    return report | {"layout": "striped", "first_stripe": str(layout.first)}
