"""A tenant's data on its way in, for the admin port.

Not for files (`gateway.cli.import_run` reads them). The journal has the beginning and the end of
an import, and an event for each lot of versions.

Source: docs/export.md, "Bringing a tenant".
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from gateway.admin.access_documents import tenant_document
from gateway.admin.export_desk import ExportDesk, ExportInputInvalid, customer_keys
from gateway.admin.frames import INLINE_BYTES_MAX, Document
from gateway.admin.tickets import Ticket, Tickets
from gateway.journal.events import CLUSTER, Event, Phase, Value
from gateway.meta.accounts import Tenant
from gateway.model.bucket import Bucket
from gateway.model.exported import Incoming, incoming_of
from gateway.model.names import BucketId, TenantId
from gateway.objects import tenancy
from gateway.objects.body import Buffer
from gateway.objects.context import Services
from gateway.objects.exporting import bucket_of
from gateway.objects.importing import Installer, Outcome, customer_keys_by_md5
from gateway.objects.tenancy import NoSuchIdentity
from gateway.objects.tenant_import import (
    Arrival,
    ImportConflict,
    make_bucket,
    make_tenant,
    mark_of,
    outlook,
    owners_of,
    settle_bucket,
)
from storaged.base.errors import ProtocolError, StorageError

AT_ONCE = 32  # small versions that are being installed; so at most 32 MiB of bodies
VERSIONS_MAX = 1000  # of one lot
FAILED_TOLD_MAX = 1000  # of one request, with their reasons; what is more is counted
DIGEST_CHARACTERS = 64


class Stream(Protocol):
    """Frames that come in."""

    async def frame(self) -> Document | None:
        """The object of the next frame; None: that was the last. Raises: ProtocolError."""
        ...

    async def read(self, bytes_max: int) -> Buffer:
        """Some of the content of the frame; b"" when the stream ends."""
        ...


class _Counted:
    """So many bytes of a stream, of which what nobody wanted is passed over."""

    def __init__(self, stream: Stream, length: int) -> None:
        self._stream = stream
        self._left = length

    async def read(self, bytes_max: int) -> Buffer:
        """See `importing.Source`. Raises: ProtocolError."""
        if not self._left:
            return b""
        piece = await self._stream.read(min(bytes_max, self._left))
        if not piece:
            raise ProtocolError(reason="the stream ended in the middle of a version")
        self._left -= len(piece)
        return piece

    async def drain(self) -> None:
        """Read what is left."""
        while await self.read(1 << 18):
            continue


class _Held:
    """Bytes in memory, as a source."""

    def __init__(self, content: bytes) -> None:
        self._content = memoryview(content)

    async def read(self, bytes_max: int) -> Buffer:
        """See `importing.Source`."""
        piece, self._content = self._content[:bytes_max], self._content[bytes_max:]
        return piece


class ImportDesk:
    """What an import asks, one step after the other."""

    def __init__(self, services: Services, tickets: Tickets, exports: ExportDesk) -> None:
        self._services = services
        self._tickets = tickets
        self._exports = exports
        self._arrivals: dict[str, Arrival] = {}
        self._filling: dict[str, dict[str, BucketId]] = {}  # by ticket, then by name

    async def begin(self, said: Mapping[str, Any], who: str) -> Document:
        """A ticket. Raises: ExportInputInvalid, TicketsExhausted, JournalUnavailable."""
        named, digest = said.get("tenant"), said.get("name")
        if not isinstance(named, str) or not isinstance(digest, str) or not named:
            raise ExportInputInvalid(reason="tenant and name are needed")
        tenant = self._tenant(named)
        ticket = self._tickets.issue(
            TenantId(b"") if tenant is None else tenant.tenant_id,
            named,
            is_import=True,
            keys=customer_keys(said),
            who=who,
        )
        self._arrivals = {
            text: one for text, one in self._arrivals.items() if self._tickets.is_held(text)
        }
        self._filling = {
            text: one for text, one in self._filling.items() if self._tickets.is_held(text)
        }
        body: dict[str, Value] = {"who": who, "sha256": digest[:DIGEST_CHARACTERS]}
        await self._tell(ticket, "import.begun", body)
        return {"ticket": ticket.text, "import": ticket.shown_id}

    async def plan(self, text: str, told: Mapping[str, Any]) -> Document:
        """What would be done. Raises: TicketUnknown, ImportInvalid, ExportInputInvalid."""
        ticket = self._ticket(text)
        try:
            arrival = Arrival(
                export=told["export"],
                tenant=ticket.tenant_name,
                account=told["account"],
                buckets=told["buckets"],
                renamed=told["renamed"],
            )
        except KeyError as error:
            raise ExportInputInvalid(reason=f"{error} is missing") from error
        found = outlook(self._services, arrival)
        self._arrivals[ticket.text] = arrival
        return found.document()

    async def account(self, text: str) -> Document:
        """Make the tenant and whoever is in it. Raises: as make_tenant."""
        ticket, arrival = self._planned(text)
        tenant = await make_tenant(self._services, arrival)
        ticket.tenant = tenant.tenant_id
        await self._tell(ticket, "import.account", {"users": len(arrival.account["users"])})
        return {
            "tenant": tenant_document(tenant),
            "owners": owners_of(arrival, tenant),
        }

    async def bucket(self, text: str, name: str) -> Document:
        """Make a bucket, or go on with it. Raises: as make_bucket."""
        ticket, arrival = self._planned(text)
        await self._tell(ticket, "import.bucket", {}, name)
        tenant = self._known(ticket)
        made = await make_bucket(self._services, tenant, arrival, _named(arrival, name))
        self._filling.setdefault(ticket.text, {})[name] = made
        return {"bucket": name}

    async def settle(self, text: str, name: str) -> Document:
        """All objects of a bucket are there. Raises: as settle_bucket."""
        ticket, arrival = self._planned(text)
        await self._tell(ticket, "import.settled", {}, name)
        document, filled = _named(arrival, name), self._bound(ticket, name)
        tenant = self._known(ticket)
        await settle_bucket(self._services, tenant, arrival, document, filled, is_over=False)
        return {"bucket": name}

    async def finish(self, said: Mapping[str, Any]) -> Document:
        """All buckets are there. Raises: as settle_bucket."""
        ticket, arrival = self._planned(str(said.get("ticket", "")))
        tenant = self._known(ticket)
        for document in arrival.buckets:
            filled = self._bound(ticket, document["name"])
            await settle_bucket(self._services, tenant, arrival, document, filled, is_over=True)
        await self._tell(ticket, "import.finished", {"buckets": len(arrival.buckets)})
        self._tickets.drop(ticket)
        self._arrivals.pop(ticket.text, None)
        self._filling.pop(ticket.text, None)
        return {"buckets": len(arrival.buckets)}

    async def missing(self, text: str, name: str, told: Mapping[str, Any]) -> Document:
        """Which of some versions are not there, by their places. Raises: RecordInvalid,
        VersionConflict, BucketNotThere, ImportConflict.
        """
        ticket, arrival = self._planned(text)
        listed = told.get("versions")
        if not isinstance(listed, list) or len(listed) > VERSIONS_MAX:
            raise ExportInputInvalid(reason=f"versions are a list of {VERSIONS_MAX} at most")
        owners = owners_of(arrival, self._known(ticket))
        bucket = self._filled(ticket, arrival, name)
        wanted = [incoming_of(one, owners) for one in listed]
        lacking = {id(one) for one in self._installer(ticket, bucket).missing(wanted)}
        return {"missing": [at for at, one in enumerate(wanted) if id(one) in lacking]}

    async def versions(self, text: str, name: str, stream: Stream) -> Document:
        """Install what comes. What fails is told, and the others go on.

        Raises: TicketUnknown, BucketNotThere, ImportConflict, ProtocolError, JournalUnavailable.
        """
        ticket, arrival = self._planned(text)
        owners = owners_of(arrival, self._known(ticket))
        bucket = self._filled(ticket, arrival, name)
        await self._tell(ticket, "import.versions", {}, name)
        lot = _Lot(self._installer(ticket, bucket))
        in_bytes = 0
        try:
            while (frame := await stream.frame()) is not None:
                incoming = incoming_of(frame.get("version", {}), owners)
                length = _length(frame, incoming)
                in_bytes += length
                await lot.add(incoming, stream, length)
            return await lot.done()
        finally:
            await lot.cancel()
            if self._services.meter is not None:
                self._services.meter.request(bucket.bucket_id, "PutObject", in_bytes, 0)

    def _filled(self, ticket: Ticket, arrival: Arrival, name: str) -> Bucket:
        """The bucket that this import has made, or goes on with: no other takes versions, nor one
        that took its name meanwhile.

        Raises: ExportInputInvalid, BucketNotThere, ImportConflict.
        """
        _named(arrival, name)
        bucket = bucket_of(self._services, ticket.tenant, name).bucket
        is_marked = mark_of(self._services, bucket) == arrival.export
        if not is_marked or bucket.bucket_id != self._bound(ticket, name):
            raise ImportConflict(bucket=name[:64])
        return bucket

    def _bound(self, ticket: Ticket, name: str) -> BucketId:
        """The id of the bucket that this import fills. Raises: ExportInputInvalid."""
        found = self._filling.get(ticket.text, {}).get(name)
        if found is None:
            raise ExportInputInvalid(reason="first bring the bucket")
        return found

    def _installer(self, ticket: Ticket, bucket: Bucket) -> Installer:
        keys = customer_keys_by_md5(ticket.keys)
        return Installer(self._services, ticket.tenant, bucket, keys)

    def _ticket(self, text: str) -> Ticket:
        return self._tickets.find(text, is_import=True)

    def _planned(self, text: str) -> tuple[Ticket, Arrival]:
        ticket = self._ticket(text)
        arrival = self._arrivals.get(ticket.text)
        if arrival is None:
            raise ExportInputInvalid(reason="first say what is brought")
        return ticket, arrival

    def _known(self, ticket: Ticket) -> Tenant:
        """The tenant, which is there by this step. Raises: ExportInputInvalid, NoSuchIdentity."""
        if not ticket.tenant:
            raise ExportInputInvalid(reason="first bring the account")
        return tenancy.find_tenant(self._services, ticket.tenant.hex())

    def _tenant(self, named: str) -> Tenant | None:
        try:
            return tenancy.find_tenant(self._services, named)
        except NoSuchIdentity:
            return None

    async def _tell(
        self, ticket: Ticket, kind: str, body: Mapping[str, Value], bucket: str = ""
    ) -> None:
        """Into the tenant's journal; the cluster's, while there is no tenant."""
        if ticket.tenant:
            await self._exports.tell(ticket, kind, body, bucket)
        elif self._services.journal is not None:
            said: dict[str, Value] = {"ticket": ticket.shown_id, **body}
            event = Event(self._services.env.now_ms(), kind, Phase.INTENT, said, bucket)
            await self._services.journal.record(CLUSTER, event)


class _Lot:
    """Versions of one request: small ones at once, those of a key one after the other."""

    def __init__(self, installer: Installer) -> None:
        self._installer = installer
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._tasks: set[asyncio.Task[None]] = set()
        self._last_of: dict[bytes, asyncio.Task[None]] = {}
        self._counts = dict.fromkeys(Outcome, 0)
        self._failed: list[Document] = []
        self._untold = 0

    async def add(self, incoming: Incoming, stream: Stream, length: int) -> None:
        """Install the next one. Raises: ProtocolError."""
        source = _Counted(stream, length)
        before = self._last_of.get(incoming.key)
        if length > INLINE_BYTES_MAX:
            await _ended(before)
            await self._install(incoming, source)
            await source.drain()
            return
        pieces = []
        while piece := await source.read(INLINE_BYTES_MAX):
            pieces.append(bytes(piece))
        await self._slots.acquire()
        held = _Held(b"".join(pieces))
        task = asyncio.ensure_future(self._install_after(before, incoming, held))
        self._tasks.add(task)
        self._last_of[incoming.key] = task
        task.add_done_callback(lambda done: self._over(incoming.key, done))

    def _over(self, key: bytes, task: asyncio.Task[None]) -> None:
        self._slots.release()
        self._tasks.discard(task)
        if self._last_of.get(key) is task:
            del self._last_of[key]

    async def _install_after(
        self, before: asyncio.Task[None] | None, incoming: Incoming, held: _Held
    ) -> None:
        await _ended(before)
        await self._install(incoming, held)

    async def _install(self, incoming: Incoming, source: _Held | _Counted) -> None:
        try:
            self._counts[await self._installer.install(incoming, source)] += 1
        except ProtocolError:
            raise
        except StorageError as error:
            if len(self._failed) >= FAILED_TOLD_MAX:
                self._untold += 1
                return
            self._failed.append(
                {
                    "key": incoming.key.decode("utf-8"),
                    "version_id": incoming.version_id.hex(),
                    "error": error.message(),
                    "hint": error.hint,
                    "kind": error.kind.value,
                }
            )

    async def done(self) -> Document:
        """What became of them; of more than FAILED_TOLD_MAX that failed, how many."""
        await asyncio.gather(*self._tasks)
        counts = {outcome.value: count for outcome, count in self._counts.items()}
        return {**counts, "failed": self._failed, "failed_untold": self._untold}

    async def cancel(self) -> None:
        """Leave what is not installed yet. Idempotent."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


async def _ended(before: asyncio.Task[None] | None) -> None:
    if before is not None:
        await asyncio.wait({before})


def _named(arrival: Arrival, name: str) -> Document:
    documents: Sequence[Document] = arrival.buckets
    for document in documents:
        if document["name"] == name:
            return document
    raise ExportInputInvalid(reason="the export has no such bucket")


def _length(frame: Document, incoming: Incoming) -> int:
    """Bytes behind a frame. Raises: ProtocolError."""
    told = incoming.content_bytes + sum(one.plain_bytes for one in incoming.annotations)
    if frame.get("inline") != told:
        raise ProtocolError(reason="a version has another length than its record says")
    return told
