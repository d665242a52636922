"""A tenant's data on its way out, for the admin port.

Not for files (`gateway.cli.export_run` writes them). Nothing is told before the tenant's journal
has it; every page of versions is an event of its own. Bytes that leave are metered as egress.

Source: docs/export.md.
"""

from __future__ import annotations

import asyncio
import base64
from collections import deque
from collections.abc import AsyncIterator, Mapping
from typing import Any

from gateway.admin.frames import INLINE_BYTES_MAX, Document, encode_frame
from gateway.admin.tickets import Ticket, Tickets
from gateway.data.stripe_errors import StripeUnreadable
from gateway.journal.events import Event, Phase, Value
from gateway.meta.usage import open_usage
from gateway.model.names import ObjectKey, ObjectUuid, TenantId, object_key
from gateway.objects import limits_set, tenancy
from gateway.objects.context import Services
from gateway.objects.exporting import (
    Cursor,
    Described,
    Listed,
    VersionReplaced,
    bucket_of,
    bytes_of,
    cursor_behind,
    fitting_key,
    list_rows,
    small_version,
    stream_bytes,
    version_at,
)
from gateway.objects.fetch import Piece
from gateway.objects.target import OpenBucket
from gateway.objects.tenant_export import account_document, bucket_document, buckets_of
from storaged.base.errors import Kind, StorageError

PAGE_VERSIONS = 1000
PAGE_BYTES = 256 * 1024 * 1024  # of bodies, after which a page ends
AHEAD = 8  # versions that are read while one is sent; so at most 8 MiB of bodies
CUSTOMER_KEY_BYTES = 32
CUSTOMER_KEYS_MAX = 1000

# What may be over soon, such as a key service that is away, ends the export until it goes on.
PASSING = frozenset({Kind.UNAVAILABLE, Kind.TIMEOUT, Kind.EXHAUSTED, Kind.UNKNOWN_OUTCOME})

Fields = Mapping[str, str]
Read = tuple[Described, bytes | None] | Document | None
"""A version, one that cannot be read, or one that has gone."""


class ExportInputInvalid(StorageError):
    """The request for an export is not usable."""

    kind = Kind.INVALID


class ExportDesk:
    """What an export asks, one bucket and one page after the other."""

    def __init__(self, services: Services, tickets: Tickets) -> None:
        self._services = services
        self._tickets = tickets

    async def begin(self, said: Mapping[str, Any], who: str) -> Document:
        """Who is in the tenant, which buckets it has, and a ticket for them.

        Raises: NoSuchIdentity, ExportInputInvalid, BucketNotThere, JournalUnavailable.
        """
        services = self._services
        tenant = tenancy.find_tenant(services, _text(said, "tenant"))
        named = frozenset(one for one in _text(said, "buckets").split(",") if one)
        keys = customer_keys(said)
        for name in named:
            bucket_of(services, tenant.tenant_id, name)
        ticket = self._tickets.issue(
            tenant.tenant_id, tenant.name, is_import=False, buckets=named, keys=keys, who=who
        )
        buckets = [
            self._counted(tenant.tenant_id, one.name)
            for one in buckets_of(services, tenant.tenant_id)
            if (not named or one.name in named) and services.buckets.find(one.name) is not None
        ]
        body: dict[str, Value] = {"who": who, "buckets": len(buckets), "keys": len(keys)}
        await self.tell(ticket, "export.begun", body)
        return {
            "ticket": ticket.text,
            "export": ticket.shown_id,
            "at_ms": services.env.now_ms(),
            "cluster": services.cluster_id.hex(),
            "journal": services.journal is not None,
            "switching": limits_set.plan_of(services, tenant.tenant_id).switching,
            "account": account_document(services, tenant),
            "buckets": buckets,
        }

    def check_holder(self, text: object, who: str) -> None:
        """Whether a ticket, of an import as well, was given to who shows it. Raises:
        TicketUnknown.
        """
        self._tickets.check_holder(str(text), who)

    async def finish(self, said: Mapping[str, Any]) -> Document:
        """The export is whole: its digest goes into the tenant's journal. Raises: TicketUnknown,
        JournalUnavailable.
        """
        ticket = self._tickets.find(_text(said, "ticket"), is_import=False)
        digest = _text(said, "name")
        await self.tell(ticket, "export.finished", {"sha256": digest})
        self._tickets.drop(ticket)
        return {"finished": digest, "journal": self._services.journal is not None}

    def bucket(self, fields: Fields) -> Document:
        """A bucket's settings. Raises: TicketUnknown, BucketNotThere."""
        _, opened = self._opened(fields)
        return {"bucket": bucket_document(self._services, opened)}

    async def tell(
        self, ticket: Ticket, kind: str, body: Mapping[str, Value], bucket: str = ""
    ) -> None:
        """Into the tenant's journal, before anything else happens. Raises: JournalUnavailable."""
        journal = self._services.journal
        if journal is not None:
            said: dict[str, Value] = {"ticket": ticket.shown_id, **body}
            event = Event(self._services.env.now_ms(), kind, Phase.INTENT, said, bucket)
            await journal.record(ticket.tenant.hex(), event)

    async def page(self, fields: Fields) -> AsyncIterator[bytes]:
        """Frames of the next versions of a bucket, the last of them with `next`.

        Raises: TicketUnknown, BucketNotThere, ExportInputInvalid, JournalUnavailable; in the
            middle what reading raises.
        """
        ticket, opened = self._opened(fields)
        with_bodies = fields.get("bodies") == "1"
        cursor = _cursor(fields)
        rows, after = list_rows(self._services, opened.bucket, cursor, PAGE_VERSIONS)
        body: dict[str, Value] = {"versions": len(rows), "bodies": int(with_bodies)}
        await self.tell(ticket, "export.page", body, opened.bucket.name)
        return self._frames(ticket, opened, rows, after, with_bodies)

    async def _frames(
        self,
        ticket: Ticket,
        opened: OpenBucket,
        rows: list[Listed],
        after: Cursor | None,
        with_bodies: bool,
    ) -> AsyncIterator[bytes]:
        waiting: deque[tuple[Listed, asyncio.Task[Read]]] = deque()
        left, held_bytes = iter(rows), 0
        try:
            for listed in left:
                waiting.append((listed, self._reading(ticket, opened, listed, with_bodies)))
                if len(waiting) < AHEAD:
                    continue
                first, task = waiting.popleft()
                frame, size = self._frame(opened, await task, with_bodies)
                held_bytes += size
                yield frame
                if held_bytes >= PAGE_BYTES:
                    after = cursor_behind(self._services, first)
                    break
            else:
                for _, task in waiting:
                    yield self._frame(opened, await task, with_bodies)[0]
        finally:
            for _, task in waiting:
                task.cancel()
            await asyncio.gather(*(task for _, task in waiting), return_exceptions=True)
        yield encode_frame({"next": _cursor_document(after)})

    def _reading(
        self, ticket: Ticket, opened: OpenBucket, listed: Listed, with_bodies: bool
    ) -> asyncio.Task[Read]:
        return asyncio.ensure_future(self._read(ticket, opened, listed, with_bodies))

    async def _read(
        self, ticket: Ticket, opened: OpenBucket, listed: Listed, with_bodies: bool
    ) -> Read:
        bytes_max = INLINE_BYTES_MAX if with_bodies else -1
        try:
            return await small_version(self._services, opened, listed, ticket.keys, bytes_max)
        except VersionReplaced:
            raise
        except StorageError as error:
            if error.kind in PASSING and not isinstance(error, StripeUnreadable):
                raise
            # Its key is destroyed, or too few shards are left: told, and the others go on.
            key = listed.key.decode("utf-8")
            return {"key": key, "unreadable": error.message(), "kind": error.kind.value}

    def _frame(self, opened: OpenBucket, read: Read, with_bodies: bool) -> tuple[bytes, int]:
        """A frame, and how many bytes of bodies the page has by it."""
        if read is None:
            return b"", 0
        if isinstance(read, dict):
            return encode_frame({"version": read, "inline": 0}), 0
        found, content = read
        size = bytes_of(found)
        if content is None:
            return encode_frame({"version": found.document, "inline": 0}), size
        if with_bodies and size:
            self._meter(opened, size)
        document = {"version": found.document, "inline": len(content)}
        return encode_frame(document, content), size

    def body(self, fields: Fields) -> tuple[int, AsyncIterator[Piece]]:
        """So many bytes of a version and its annotations, and how many there will be.

        Raises: TicketUnknown, BucketNotThere, ExportInputInvalid, VersionReplaced; the iterator
            what reading raises.
        """
        ticket, opened = self._opened(fields)
        key, uuid = _key(fields, "key"), fields.get("uuid", "")
        try:
            wanted = ObjectUuid(bytes.fromhex(uuid))
        except ValueError as error:
            raise ExportInputInvalid(reason="uuid is hexadecimal") from error
        found = version_at(self._services, opened, key, _number(fields, "sequence"), wanted)
        offset, length = _number(fields, "offset"), _number(fields, "length")
        if offset + length > bytes_of(found):
            raise VersionReplaced(key=key.decode("utf-8"))
        customer_key = fitting_key(self._services, found.version, ticket.keys)
        self._meter(opened, length)
        return length, stream_bytes(self._services, opened, found, offset, length, customer_key)

    def _meter(self, opened: OpenBucket, out_bytes: int) -> None:
        meter = self._services.meter
        if meter is not None:
            meter.request(opened.bucket.bucket_id, "GetObject", 0, out_bytes)

    def _opened(self, fields: Fields) -> tuple[Ticket, OpenBucket]:
        ticket = self._tickets.find(fields.get("ticket", ""))
        name = fields.get("bucket", "")
        if ticket.buckets and name not in ticket.buckets:
            raise ExportInputInvalid(reason="the ticket is for other buckets")
        return ticket, bucket_of(self._services, ticket.tenant, name)

    def _counted(self, tenant: TenantId, name: str) -> Document:
        bucket = bucket_of(self._services, tenant, name).bucket
        source = self._services.quotas.usage
        entry = None if source is None else source.usage_entries().get(bucket.bucket_id)
        usage = open_usage(entry)
        return {
            "name": name,
            "versions": usage.objects + usage.delete_markers,
            "bytes": usage.stored_bytes,
        }


def customer_keys(said: Mapping[str, Any]) -> list[bytes]:
    """Clients' own keys of a request. Raises: ExportInputInvalid."""
    listed = said.get("customer_keys", [])
    if not isinstance(listed, list) or len(listed) > CUSTOMER_KEYS_MAX:
        raise ExportInputInvalid(reason=f"{CUSTOMER_KEYS_MAX} customer keys at most")
    try:
        keys = [base64.b64decode(one, validate=True) for one in listed]
    except (ValueError, TypeError):
        keys = [b""]
    if any(len(key) != CUSTOMER_KEY_BYTES for key in keys):
        raise ExportInputInvalid(reason="a customer key is 32 bytes, as base64")
    return keys


def _cursor_document(cursor: Cursor | None) -> Document | None:
    if cursor is None:
        return None
    return {"key": cursor.key.decode("utf-8"), "sequence": cursor.sequence}


def _cursor(fields: Fields) -> Cursor | None:
    if not fields.get("after_key"):
        return None
    return Cursor(_key(fields, "after_key"), _number(fields, "after_sequence"))


def _key(fields: Fields, name: str) -> ObjectKey:
    return object_key(fields.get(name, "").encode("utf-8", "surrogateescape"))


def _number(fields: Fields, name: str) -> int:
    text = fields.get(name) or "0"
    if not text.isascii() or not text.isdigit() or len(text) > 20:
        raise ExportInputInvalid(reason=f"{name} is not a whole number")
    return int(text)


def _text(said: Mapping[str, Any], name: str) -> str:
    value = said.get(name, "")
    if not isinstance(value, str):
        raise ExportInputInvalid(reason=f"{name} is not a text")
    return value
