"""Job `enrolments`: carries the CA's register of certificates into the cluster's journal, a line an
event, as copies of it come back with the spool of renewals.

Not for deciding who is a node: certificates say so, and the CA has issued them. The CA serves
nobody, so its register is a file, each line chained to the one before; an event has the digest of
its line and the register's head, so that register and journal can be held against each other. A
line is told once, wherever a process dies. A copy that is not what was told before is told as that,
and nothing of it.

Source: docs/residency.md, "Enrolment of a node"; docs/journal.md. Requirement: S-01.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, NamedTuple

from gateway.commit.change import Change
from gateway.journal.events import CLUSTER, Event, Phase, Value
from gateway.journal.journal import Journal
from gateway.journal.shelf import LOGS
from gateway.journal.store import JournalUnavailable, read_lines
from gateway.meta import keyspace
from gateway.meta.documents import open_document, seal_document
from gateway.meta.kv import Batch, RowCorrupt, Write
from gateway.objects.context import Services
from storaged.base.errors import Kind, StorageError
from storaged.base.jobs import Progress

ENROLMENT, CHANGED = "node.enrolment", "node.register-changed"  # types of the events
SUCCEEDS = "succeeds"  # the first line of a CA that takes another one's place
ROW = keyspace.cluster_row("register-told")
LOOK_S = 60.0
LINES_AT_ONCE = 500
SEARCHED_EVENTS = 100_000  # of the journal, before lines that are new are told: some 30 MB
# What of a line an event has, beside its number and digest.
SAID = (
    "what",
    "node",
    "datacenter",
    "country",
    "operator",
    "by",
    "certificate_sha256",
    "key_sha256",
    "from_sha256",
    "ca_sha256",
    "former_sha256",
    "former_head",
)


class RegisterLine(NamedTuple):
    """A line of the register and its SHA-256, as hex."""

    entry: Mapping[str, Any]
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """How far the journal was told.

    Args:
        lines: so many of the register.
        first, head: digests of the first and of the last of them, "" for none.
        journal_size: events of the journal before this one are in this row; later ones may not be.
        refused: head of the copy that did not go on from there, and was told as that; "" for none.
    """

    lines: int = 0
    first: str = ""
    head: str = ""
    journal_size: int = 0
    refused: str = ""


class Enrolments:
    """See the module.

    Args:
        read: the copy of the register; no line where there is none. None: nobody brings one.
    """

    name = "enrolments"

    def __init__(
        self, services: Services, read: Callable[[], Sequence[RegisterLine]] | None
    ) -> None:
        self._services = services
        self._read = read
        self._told = 0
        self._said = ""

    def progress(self) -> Progress:
        """Lines that were told since the start."""
        return Progress(done=self._told, total=0, unit="lines", detail=self._said)

    async def step(self) -> float:
        """Tell what is new. Raises: as the log."""
        journal, env = self._services.journal, self._services.env
        if journal is None or self._read is None:
            return LOOK_S
        self._said = ""
        try:
            told = await self._held(journal)
            try:
                lines = await env.offload(self._read)
            except StorageError as error:
                if error.kind is not Kind.CORRUPT:
                    raise
                await self._refuse(journal, told, error.message()[:64], 0)
                return LOOK_S
            if lines:
                await self._tell(journal, told, lines)
            else:
                await self._catch_up(journal, told)
        except JournalUnavailable as error:
            self._said = f"the journal takes no events: {error.message()}"
        except OSError as error:
            self._said = f"the copy of the register cannot be read: {error.strerror}"
        return LOOK_S

    async def _tell(self, journal: Journal, told: Told, lines: Sequence[RegisterLine]) -> None:
        is_next = len(lines) >= told.lines and (
            not told.lines or lines[told.lines - 1].digest == told.head
        )
        first, what = lines[0].digest, lines[0].entry.get("what")
        if not is_next and what == SUCCEEDS and first != told.first:
            is_next, told = True, replace(told, lines=0)  # the register of the CA that came after
        if not is_next:
            await self._refuse(journal, told, lines[-1].digest, len(lines))
            return
        if told.lines == len(lines):
            await self._catch_up(journal, told)
        while told.lines < len(lines):
            part = lines[told.lines : told.lines + LINES_AT_ONCE]
            known = await _known(journal, told.journal_size)
            for line in part:
                if f'"line_sha256":"{line.digest}"' not in known:  # it is also the head of others
                    await journal.record(CLUSTER, self._event(line, lines))
                    self._told += 1
            size = await journal.size(CLUSTER)
            count, head = told.lines + len(part), part[-1].digest
            told = Told(lines=count, first=first, head=head, journal_size=size)
            await self._keep(told)

    async def _catch_up(self, journal: Journal, told: Told) -> None:
        """While nothing is new, let the journal not grow too far from where a search begins."""
        size = await journal.size(CLUSTER)
        if size - told.journal_size > SEARCHED_EVENTS:
            await self._keep(replace(told, journal_size=size))

    async def _refuse(self, journal: Journal, told: Told, head: str, count: int) -> None:
        """Tell, once, that a copy is not the register that was told, as far as it was."""
        self._said = "the register is not what the journal was told: compare it with the CA's"
        if told.refused == head:
            return
        body: dict[str, Value] = {
            "told_lines": told.lines,
            "told_head": told.head,
            "lines": count,
            "head": head,
        }
        await journal.record(CLUSTER, self._note(CHANGED, body))
        await self._keep(replace(told, refused=head))

    def _event(self, line: RegisterLine, lines: Sequence[RegisterLine]) -> Event:
        said = {name: line.entry.get(name) for name in SAID}
        body: dict[str, Value] = {
            name: value for name, value in said.items() if isinstance(value, str | int) and value
        }
        body["line"] = int(line.entry["number"])
        body["line_sha256"] = line.digest
        at_ms = line.entry.get("at_ms")
        body["registered_at_ms"] = at_ms if isinstance(at_ms, int) else 0
        body["head_line"], body["head"] = len(lines), lines[-1].digest
        return self._note(ENROLMENT, body)

    def _note(self, kind: str, body: Mapping[str, Value]) -> Event:
        return Event(self._services.env.now_ms(), kind, Phase.NOTE, body)

    async def _held(self, journal: Journal) -> Told:
        """How far the journal was told. Raises: RowCorrupt, JournalUnavailable, as the log."""
        services = self._services
        value = services.log.read((ROW,))[0]
        if value is None:
            told = Told(journal_size=await journal.size(CLUSTER))
            await self._keep(told)
            return told
        try:
            return Told(**open_document(services.records, ROW, value))
        except TypeError as error:
            raise RowCorrupt(row_key=ROW.hex(), part="structure") from error

    async def _keep(self, told: Told) -> None:
        services = self._services
        value = seal_document(services.records, services.nonces, ROW, asdict(told))
        batch = Batch(
            partition=keyspace.CLUSTER_PARTITION,
            request_id=services.env.random_bytes(16),
            checks=(),
            writes=(Write(ROW, value),),
        )
        await services.log.commit_change(Change(batch=batch))


async def _known(journal: Journal, first: int) -> str:
    """Events about the register, from one on: what a process has told that died before it could
    write that down. Raises: JournalUnavailable.
    """
    count = await journal.size(CLUSTER) - first
    folder, kind = journal.folder / LOGS / CLUSTER, f'"type":"{ENROLMENT}"'.encode()

    def read() -> str:
        lines = read_lines(folder, first, count) if count > 0 else ()
        return b"".join(line for line in lines if kind in line).decode("ascii")

    return await journal.env.offload(read)
