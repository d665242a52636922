"""What the admin port tells of the journal.

Not for what of the admin port is in the journal (`gateway.admin.act_recording`), nor for verifying:
that is done where the gateway's word does not count (`gateway.journal.verify`).
"""

from __future__ import annotations

from contextlib import suppress
from itertools import islice
from pathlib import Path

from gateway.admin.outlook import Document
from gateway.journal import tree
from gateway.journal.chain import encode_chain
from gateway.journal.events import CLUSTER, LOG_NAME
from gateway.journal.journal import Journal
from gateway.journal.notes import (
    Checkpoint,
    NoteInvalid,
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
from gateway.objects.context import Services
from storaged.base.durable import replace_file
from storaged.base.errors import Kind, StorageError

LINES_AT_ONCE = 2000
NAMES_MAX = 10_000
TENANTS_AT_ONCE = 1000


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

        Raises: JournalInputInvalid, JournalUnavailable.
        """
        keys = self._keys()
        try:
            checkpoint = open_checkpoint(note, keys)
        except NoteInvalid as error:
            raise JournalInputInvalid(
                reason="no checkpoint that this cluster has signed"
            ) from error
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
