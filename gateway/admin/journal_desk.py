"""What the admin port tells of the journal, and what of the admin port is in the journal.

Every request to the admin port that changes something (the table of routes says which do) is
recorded before it takes effect, with who asks, in which role and from where, and refused when it
cannot be; its outcome follows. Who may not is told by `gateway.admin.gate`, before anything is
recorded here. Only fields of the allow-list are recorded with
their values: whatever else a request says may be a secret.

Not for verifying: that is done where the gateway's word does not count (`gateway.journal.verify`).
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from contextlib import suppress
from itertools import islice
from pathlib import Path
from urllib.parse import parse_qsl

from aiohttp import web
from aiohttp.typedefs import Handler

from gateway.admin.gate import ACTOR, ENTRY
from gateway.admin.outlook import Document
from gateway.journal import tree
from gateway.journal.chain import encode_chain
from gateway.journal.events import CLUSTER, LOG_NAME, Event, Phase, Value
from gateway.journal.journal import Journal
from gateway.journal.notes import (
    Checkpoint,
    VerifierKey,
    open_checkpoint,
    read_checkpoint,
    read_note,
)
from gateway.journal.proofs import encode_hashes, encode_proof
from gateway.journal.shelf import LOGS
from gateway.journal.store import CHECKPOINT, JournalUnavailable, LogStore, read_lines
from gateway.journal.verify import COSIGNED
from gateway.meta import accounts
from gateway.meta import buckets as bucket_rows
from gateway.model.names import TenantId
from gateway.model.quota import Subject
from gateway.objects.context import Services
from storaged.base.durable import replace_file
from storaged.base.errors import Kind, StorageError

LINES_AT_ONCE = 2000
NAMES_MAX = 10_000
TENANTS_AT_ONCE = 1000
FIELDS_TAKEN = 20
# Fields of admin requests that are recorded with their values; of the others, the names.
OPEN_FIELDS = frozenset(
    {
        "access_key_id",
        "account",
        "country",
        "datacenter",
        "effect",
        "epoch",
        "group",
        "job",
        "log",
        "mode",
        "month",
        "name",
        "node",
        "number",
        "operator",
        "person",
        "plan",
        "role",
        "roles",
        "set",
        "shares",
        "state",
        "tenant",
        "threshold",
        "transcript",
        "until",
        "user",
        "was",
        "year",
    }
)


class NoSuchLog(StorageError):
    """The journal has no such log."""

    kind = Kind.NOT_FOUND
    hint = "`hexagone journal list` shows the logs; a tenant's is named by its id"


class JournalInputInvalid(StorageError):
    """The request to the journal is not usable."""

    kind = Kind.INVALID


class JournalDesk:
    """The journal, for the admin port."""

    def __init__(self, journal: Journal, services: Services) -> None:
        self._journal = journal
        self._services = services
        self._env = services.env

    async def status(self) -> Document:
        """Which logs there are and whether they take events."""
        journal = self._journal
        chain = journal.keys.chain
        logs: list[Document] = []
        for name in journal.logs():
            signed = self._signed(name)
            size = 0 if signed is None else signed.size
            events = size
            with suppress(JournalUnavailable):
                events = await journal.size(name)
            about: Document = {"log": name, "tenant": self._tenant_name(name)}
            logs.append({**about, "events": events, "signed": size})
        return {
            "folder": str(journal.folder.absolute()),
            "accesses": journal.accesses.value,
            "accesses_required": journal.accesses_required,
            "failure": journal.failure,
            "waiting": journal.waiting,
            "lost": journal.lost,
            "keys": [key.text for key in journal.keys.verifiers()],
            "chain": encode_chain(chain).decode() if chain.links else "",
            "logs": logs,
        }

    async def checkpoint(self, named: str) -> Document:
        """Sign: all logs, or the cluster's and one more. Raises: NoSuchLog, JournalUnavailable."""
        logs = None if not named else sorted({CLUSTER, self.log(named)})
        signed = await self._journal.checkpoint(logs)
        cosigned = self._cosigned()
        return {
            "checkpoints": {name: note.decode() for name, note in signed.notes.items()},
            "anchors": signed.anchors,
            "cosigned": "" if cosigned is None else cosigned.decode(),
        }

    async def rotate_key(self) -> Document:
        """Sign with other keys from here on. Raises: JournalUnavailable."""
        keys = await self._journal.rotate_key()
        return {
            "number": len(keys.chain.generations),
            "keys": [key.text for key in keys.verifiers()],
            "chain": encode_chain(keys.chain).decode(),
        }

    def lines(self, named: str, first: int, count: int) -> Document:
        """Lines of a log, as they are kept."""
        folder = self._folder(self.log(named))
        found = islice(read_lines(folder, first, count), min(count, LINES_AT_ONCE))
        return {"first": first, "lines": [line.decode("ascii", "replace") for line in found]}

    async def proof(self, named: str, seq: int) -> Document:
        """The proof of one event. Raises: NoSuchLog, JournalInputInvalid, JournalUnavailable."""
        log = self.log(named)
        signed = self._signed(log)
        if signed is None or seq >= signed.size:
            await self._journal.checkpoint([log])

        def made(store: LogStore) -> bytes:
            note = store.signed_note()
            size = read_checkpoint(read_note(note).text).size
            line = b"".join(read_lines(store.folder, seq, 1))
            if seq >= size or not line:
                raise JournalInputInvalid(reason=f"{size} events are signed, from 0 on")
            hashes = tree.inclusion_proof(seq, size, store.read_hash)
            return encode_proof(line, seq, hashes, note)

        return {"proof": (await self._journal.reading(log, made)).decode()}

    async def request(self, old: int | None) -> Document:
        """What a witness is asked to cosign, from the size it has seen last (None: from what was
        cosigned last). Raises: JournalInputInvalid, JournalUnavailable.
        """
        await self._journal.checkpoint([CLUSTER])
        cosigned = self._cosigned()
        if old is None:
            old = 0 if cosigned is None else read_checkpoint(read_note(cosigned).text).size

        def made(store: LogStore) -> bytes:
            note = store.signed_note()
            size = read_checkpoint(read_note(note).text).size
            if not 0 <= old <= size:
                raise JournalInputInvalid(reason=f"only {size} events are signed")
            hashes = tree.consistency_proof(old, size, store.read_hash)
            return f"old {old}\n{encode_hashes(hashes)}\n".encode() + note

        return {"request": (await self._journal.reading(CLUSTER, made)).decode()}

    async def cosign(self, note: bytes) -> Document:
        """Keep a checkpoint with what witnesses have put under it.

        Raises: NoteInvalid, JournalInputInvalid, JournalUnavailable.
        """
        keys = self._keys()
        checkpoint = open_checkpoint(note, keys)
        if checkpoint.origin != keys[0].name:
            raise JournalInputInvalid(reason="only the cluster's log is cosigned")
        held = self._cosigned()
        if held is not None and read_checkpoint(read_note(held).text).size > checkpoint.size:
            raise JournalInputInvalid(reason="a later checkpoint was cosigned already")
        root = await self._journal.reading(CLUSTER, lambda store: store.root_at(checkpoint.size))
        if root != checkpoint.root:
            raise JournalInputInvalid(reason="a checkpoint of another history")
        path = self._folder(CLUSTER) / COSIGNED
        await self._env.offload(lambda: replace_file(path, note))
        return {"cosigned": checkpoint.size}

    def hashes(self, named: str, bucket: str, key: str) -> Document:
        """What a bucket's and an object's name are in a log. Raises: NoSuchLog."""
        log = self.log(named)
        names = self._journal.names_of(log)
        return {
            "log": log,
            "bucket": names.bucket(bucket) if bucket else "",
            "key": names.key(bucket, key) if bucket and key else "",
        }

    def names(self) -> Document:
        """The buckets there are, by the hashes of their names."""
        found: dict[str, str] = {}
        services = self._services
        rows = bucket_rows.scan_buckets(services.log, services.records, None, limit=NAMES_MAX)
        for row in rows:
            names = self._journal.names_of(row.bucket.tenant.hex())
            found[names.bucket(row.bucket.name)] = row.bucket.name
        return {"names": found}

    def log(self, named: str) -> str:
        """A log by its own name, or by that of its tenant. Raises: NoSuchLog."""
        name = named if LOG_NAME.fullmatch(named) else self._tenant_log(named)
        if name is None or name not in self._journal.logs():
            raise NoSuchLog(log=named[:64])
        return name

    def _tenant_log(self, named: str) -> str | None:
        """The log of a tenant by its name, its canonical id or an access key of it."""
        services = self._services
        key = None
        if named.isascii() and 0 < len(named) <= 128:
            key = accounts.read_access_key(services.log, services.records, named)
        if key is not None:
            return key.access_key.tenant.hex()
        after: TenantId | None = None
        while found := accounts.scan_tenants(
            services.log, services.records, after, limit=TENANTS_AT_ONCE
        ):
            for stored in found:
                tenant = stored.tenant
                if named in (tenant.name, tenant.owner_id, tenant.tenant_id.hex()):
                    return tenant.tenant_id.hex()
            after = found[-1].tenant.tenant_id
        return None

    def _tenant_name(self, log: str) -> str:
        if log == CLUSTER:
            return ""
        services = self._services
        tenant_id = TenantId(bytes.fromhex(log))
        stored = accounts.read_tenant(services.log, services.records, tenant_id)
        return "" if stored is None else stored.tenant.name

    def _keys(self) -> list[VerifierKey]:
        return self._journal.keys.verifiers()

    def _signed(self, log: str) -> Checkpoint | None:
        try:
            content = (self._folder(log) / CHECKPOINT).read_bytes()
        except FileNotFoundError:
            return None
        return read_checkpoint(read_note(content).text)

    def _cosigned(self) -> bytes | None:
        try:
            return (self._folder(CLUSTER) / COSIGNED).read_bytes()
        except FileNotFoundError:
            return None

    def _folder(self, log: str) -> Path:
        return self._journal.folder / LOGS / log

    # What of the admin port is in the journal.

    @web.middleware
    async def recorded(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Record a request before and after it, if it changes something."""
        if not request[ENTRY].is_recorded:
            return await handler(request)
        said = await _said(request)
        body = self._fields(request, said)
        log = self._event_log(_text(said, "tenant", "account", "access_key_id"))
        kind = "admin." + request.path.removeprefix("/v1/").replace("/", ".")
        about = _text(said, "bucket", *_name_of_bucket(said)), _text(said, "key")
        event = Event(self._env.now_ms(), _type(kind), Phase.INTENT, body, *about)
        await self._journal.record(log, event)
        told = ("request", "who", "acting_as", "from")
        outcome: dict[str, Value] = {name: body[name] for name in told}
        outcome["error"] = "internal error"
        try:
            response = await handler(request)
            del outcome["error"]
            outcome["status"] = response.status
            return response
        except StorageError as error:
            outcome["error"] = type(error).__name__
            raise
        except asyncio.CancelledError:
            outcome["error"] = "the client has gone"
            raise
        finally:
            done = event._replace(at_ms=self._env.now_ms(), phase=Phase.OUTCOME, body=outcome)
            self._journal.note(log, done)

    def _fields(self, request: web.Request, said: Mapping[str, object]) -> dict[str, Value]:
        actor = request[ACTOR]
        body: dict[str, Value] = {
            "request": self._env.random_bytes(8).hex().upper(),
            "who": peer_of(request),
            "acting_as": actor.acting_as(request[ENTRY]),
            "from": actor.origin,
        }
        hidden = []
        for name, value in sorted(said.items()):
            is_open = name in OPEN_FIELDS and name not in _name_of_bucket(said)
            if is_open and isinstance(value, str | int):
                body[name] = value
            else:
                hidden.append(name)
        if hidden:
            body["fields"] = ",".join(hidden)
        return body

    def _event_log(self, tenant: str) -> str:
        return (self._tenant_log(tenant) if tenant else None) or CLUSTER


async def _said(request: web.Request) -> dict[str, object]:
    """The fields of a request, from its query or its body: what could be read in two ways is
    refused, so that nothing else is recorded than what is done. Raises: JournalInputInvalid.
    """
    pairs = parse_qsl(request.rel_url.raw_query_string, keep_blank_values=True)
    said: dict[str, object] = dict(pairs)
    body = await request.read()
    if len(said) != len(pairs) or (said and body):
        raise JournalInputInvalid(reason="a field is there twice, or in the query beside a body")
    try:
        sent = json.loads(body or b"{}")
    except (ValueError, RecursionError):
        return said
    found = sent if isinstance(sent, dict) and sent else said
    if len(found) > FIELDS_TAKEN:
        raise JournalInputInvalid(reason=f"{FIELDS_TAKEN} fields at most can be recorded")
    return {name: value for name, value in found.items() if value != ""}


def _text(said: Mapping[str, object], *names: str) -> str:
    """The first of the fields that is a text."""
    for name in names:
        if isinstance(value := said.get(name), str) and value:
            return value
    return ""


def _name_of_bucket(said: Mapping[str, object]) -> tuple[str, ...]:
    """The field that names a bucket by another word than `bucket`: such a name is hashed too."""
    return ("name",) if said.get("subject") == Subject.BUCKET.value else ()


def _type(kind: str) -> str:
    return "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "_" for c in kind)[:80]


def peer_of(request: web.Request) -> str:
    """Who asks, as events name them."""
    return f"admin:{request[ACTOR].name}"
