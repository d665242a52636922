"""Verify a journal, or an export of one, with nothing but its folder and the public keys.

Not for a running gateway's word: no key but public ones, no network, no other file. Everything that
is wrong becomes a finding; what is only worth knowing, a notice.

Found are: a changed, removed, added or moved event; a log cut short, or missing; another history
under the same keys (a fork), as soon as one checkpoint of the first is known: by an anchor in the
cluster's log, by a witness, or because somebody kept it (`against`). Not found is what no
checkpoint was ever signed over: the last seconds of a live journal.

Source: docs/journal.md.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

from gateway.journal import tree
from gateway.journal.chain import (
    ANNOUNCED,
    CHAIN,
    CHAIN_BYTES_MAX,
    KEYS_BYTES_MAX,
    Chain,
    encode_keys,
    keys_digest,
    open_kept,
    read_chain,
)
from gateway.journal.events import (
    CLUSTER,
    LINE_BYTES_MAX,
    LOG_NAME,
    EntryInvalid,
    check_line,
    read_line,
)
from gateway.journal.forgetting import ErasedBodies
from gateway.journal.notes import (
    NOTE_BYTES_MAX,
    NoteInvalid,
    VerifierKey,
    check_cosignature,
    open_checkpoint,
    read_note,
)
from gateway.journal.proofs import PROOF_BYTES_MAX, SUFFIX, open_proof
from gateway.journal.shelf import ANCHOR, LOCK, LOGS
from gateway.journal.store import CHECKPOINT, EVENTS, HASHES, segments_of
from storaged.base.errors import StorageError

MANIFEST, KEYS, ANCHORS, COSIGNED = "manifest.json", "journal.pub", "anchors", "cosigned"
FORMAT = "hexagone-journal-export/1"
FINDINGS_MAX = 100
CLOCK_BACK_MS = 60_000
MANIFEST_BYTES_MAX = 64 << 20
_ROOT = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class LogSummary:
    """What was verified of one log."""

    name: str
    events: int
    signed: int
    root: str
    first_ms: int
    last_ms: int


@dataclass(slots=True)
class Report:
    """What verification has found; nothing is wrong where `findings` is empty."""

    findings: list[str] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)
    logs: list[LogSummary] = field(default_factory=list)

    def find(self, text: str) -> None:
        if len(self.findings) < FINDINGS_MAX:
            self.findings.append(text)


def encode_manifest(prefix: str, sizes: dict[str, int]) -> bytes:
    """The manifest of an export: which logs, and how many events of each."""
    logs = {name: {"events": sizes[name]} for name in sorted(sizes)}
    document = {"format": FORMAT, "journal": prefix, "logs": logs}
    return json.dumps(document, indent=1).encode() + b"\n"


def verify_folder(
    folder: Path,
    keys: Sequence[VerifierKey],
    *,
    witnesses: Sequence[VerifierKey] = (),
    against: Sequence[bytes] = (),
) -> Report:
    """Verify a journal's folder or an export.

    Args:
        keys: what every checkpoint must be signed with, or keys that have announced those, by
            the chain that the folder brings along.
        witnesses: each must have cosigned the cluster's log.
        against: checkpoints that somebody has kept; the logs must still begin with them.
    """
    return _Verification(folder, keys, witnesses).run(against)


class _Verification:
    def __init__(
        self, folder: Path, keys: Sequence[VerifierKey], witnesses: Sequence[VerifierKey]
    ) -> None:
        self.folder = folder
        self.chain = self.whole = Chain(tuple(keys))
        self.keys = keys
        self.witnesses = witnesses
        self.prefix = keys[0].name.removesuffix(f"/{CLUSTER}")
        self.report = Report()
        self.is_export = (folder / MANIFEST).exists()
        # By log: (size, root, where that comes from), to be compared with the events.
        self.points: dict[str, list[tuple[int, bytes, str]]] = {}
        self.known_keys: set[str] = set()
        self.announced_keys: dict[str, int] = {}  # by digest: the event in the cluster's log

    def run(self, against: Sequence[bytes]) -> Report:
        names = self._names()
        self._follow_chain()
        for note in against:
            self._remember(note, "a checkpoint that was kept")
        for name in names:
            try:
                self._verify_log(name)
            except OSError as error:
                self.report.find(f"log {name}: cannot be read: {error.strerror}")
        if CLUSTER in names:
            for name in sorted(self.points.keys() - set(names)):
                self.report.find(f"log {name} is missing; it was anchored or signed before")
        elif not self.is_export:
            self.report.find("the cluster's log is missing")
        if CLUSTER in names:
            self._verify_announced()
        self._verify_anchors(names)
        if self.is_export:
            self._verify_manifest(names)
        elif (self.folder / KEYS).exists():
            self.report.find(f"{MANIFEST} is missing")
        self._look_for_strangers(names)
        return self.report

    def _names(self) -> list[str]:
        logs = self.folder / LOGS
        found = sorted(path.name for path in logs.iterdir()) if logs.is_dir() else []
        for name in found:
            if not LOG_NAME.fullmatch(name):
                self.report.find(f"{LOGS}/{name} is no log")
        if not (names := [name for name in found if LOG_NAME.fullmatch(name)]):
            self.report.find("there are no logs")
        return sorted(names, key=lambda name: (name != CLUSTER, name))

    def _follow_chain(self) -> None:
        """From the keys that were given to those that sign."""
        try:
            content = _content(self.folder / CHAIN, CHAIN_BYTES_MAX)
        except FileNotFoundError:
            return
        try:
            self.whole = read_chain(content)
            self.chain = self.whole.since(self.keys)
        except NoteInvalid as error:
            self.report.find(f"{CHAIN}: {error.message()}")
            return
        self.keys = self.chain.last
        self.known_keys = {keys_digest(keys) for keys in self.whole.generations}
        for number, handover in enumerate(self.chain.handovers(), 2):
            whence = f"the handover to key {number}"
            self.points.setdefault(CLUSTER, []).append((handover.size, handover.root, whence))
        if self.chain.links:
            self.report.notices.append(f"the key was changed {len(self.chain.links)} time(s)")

    def _verify_announced(self) -> None:
        """What handovers say stands in the cluster's log as well."""
        for link, handover in zip(self.chain.links, self.chain.handovers(), strict=True):
            digest = keys_digest(link.keys)
            seq = self.announced_keys.get(digest, -1)
            if not 0 <= seq < handover.size:
                self.report.find(f"{CHAIN}: no event of the cluster's log announces {digest[:16]}…")
        for digest, seq in self.announced_keys.items():
            if digest not in self.known_keys:
                text = f"event {seq} announces a key that did not follow: {digest[:16]}…"
                self.report.notices.append(text)

    def _remember(self, content: bytes, whence: str) -> None:
        """Keep a signed checkpoint to hold the events against."""
        try:
            checkpoint, of_before = open_kept(content, self.chain, self.whole)
        except NoteInvalid as error:
            self.report.find(f"{whence}: {error.message()}")
            return
        if of_before:
            self.report.notices.append(f"{whence} was signed with keys of before those given")
        prefix, _, name = checkpoint.origin.rpartition("/")
        if prefix != self.prefix or not LOG_NAME.fullmatch(name):
            self.report.find(f"{whence}: of another journal, {checkpoint.origin}")
            return
        self.points.setdefault(name, []).append((checkpoint.size, checkpoint.root, whence))

    def _verify_log(self, name: str) -> None:
        folder, signed = self.folder / LOGS / name, 0
        try:
            note = _content(folder / CHECKPOINT, NOTE_BYTES_MAX)
            checkpoint = open_checkpoint(note, self.keys)
            if checkpoint.origin != f"{self.prefix}/{name}":
                raise NoteInvalid(reason=f"the checkpoint is of {checkpoint.origin}")
            signed = checkpoint.size
            self.points.setdefault(name, []).append((signed, checkpoint.root, "the checkpoint"))
        except NoteInvalid as error:
            self.report.find(f"log {name}: checkpoint: {error.message()}")
        except FileNotFoundError:
            self.report.find(f"log {name}: there is no checkpoint")
        if name == CLUSTER:
            self._verify_cosigned(folder)
        reader = _LogReader(name, folder, signed, self)
        reader.read()
        reader.erased.judge(name, self.report.find, self.report.notices.append)
        edge = reader.edge
        for size, _, whence in self.points.get(name, ()):
            if size > edge.size:
                text = f"{whence} has {size} events, {edge.size} are there"
                self.report.find(f"log {name}, cut short: {text}")
        if self.is_export and edge.size > signed:
            self.report.find(f"log {name}: {edge.size - signed} events are signed by nobody")
        elif edge.size > signed:
            self.report.notices.append(f"log {name}: {edge.size - signed} events not signed yet")
        self.report.logs.append(
            LogSummary(
                name=name,
                events=edge.size,
                signed=signed,
                root=edge.root().hex(),
                first_ms=reader.first_ms,
                last_ms=reader.last_ms,
            )
        )

    def _verify_cosigned(self, folder: Path) -> None:
        try:
            content = _content(folder / COSIGNED, NOTE_BYTES_MAX)
        except FileNotFoundError:
            for witness in self.witnesses:
                self.report.find(f"not cosigned by {witness.name}")
            return
        self._remember(content, "the cosigned checkpoint")
        for witness in self.witnesses:
            try:
                at_s = check_cosignature(read_note(content), witness)
                self.report.notices.append(f"seen by {witness.name} at {at_s} s UTC")
            except NoteInvalid as error:
                self.report.find(f"the cosigned checkpoint: {error.message()}")

    def anchored(self, line: bytes, seq: int) -> None:
        """Learn what an anchor says about another log. Raises: EntryInvalid."""
        body = read_line(line, seq).body
        origin, size, root = body.get("origin"), body.get("size"), body.get("root")
        prefix, _, name = str(origin).rpartition("/")
        is_root = isinstance(root, str) and _ROOT.fullmatch(root) is not None
        if prefix != self.prefix or not isinstance(size, int) or not is_root:
            raise EntryInvalid(seq=seq, reason="an anchor of another form")
        whence = f"the anchor in event {seq} of the cluster's log"
        self.points.setdefault(name, []).append((size, bytes.fromhex(str(root)), whence))

    def _verify_anchors(self, names: Sequence[str]) -> None:
        """Where the cluster's log is not there, each log brings the proof of its anchor."""
        for name in names:
            path = self.folder / ANCHORS / f"{name}{SUFFIX}"
            if CLUSTER in names or not self.is_export:
                continue
            try:
                proven = open_proof(_content(path, PROOF_BYTES_MAX), self.keys)
                body = proven.entry.body
                stated = (body.get("origin"), body.get("size"), body.get("root"))
                if proven.entry.type != ANCHOR or proven.checkpoint.origin != self.keys[0].name:
                    raise NoteInvalid(reason="no anchor in the cluster's log")
                log = next((log for log in self.report.logs if log.name == name), None)
                if log is None or stated != (f"{self.prefix}/{name}", log.signed, log.root):
                    raise NoteInvalid(reason="the anchor is of another state of the log")
                size = proven.checkpoint.size
                self.report.notices.append(f"log {name} is anchored among {size} cluster events")
            except FileNotFoundError:
                self.report.find(f"log {name}: the proof of its anchor is missing")
            except StorageError as error:
                self.report.find(f"log {name}: anchor: {error.message()}")

    def _verify_manifest(self, names: Sequence[str]) -> None:
        sizes = {log.name: log.events for log in self.report.logs}
        content = _content(self.folder / MANIFEST, MANIFEST_BYTES_MAX)
        if content != encode_manifest(self.prefix, sizes):
            self.report.find(f"{MANIFEST} does not list what is there")
        try:
            if _content(self.folder / KEYS, KEYS_BYTES_MAX) != encode_keys(self.keys):
                self.report.find(f"{KEYS} holds other keys than the ones given")
        except FileNotFoundError:
            self.report.find(f"{KEYS} is missing")

    def _look_for_strangers(self, names: Sequence[str]) -> None:
        """Files that belong to no journal."""
        known = {MANIFEST, KEYS, CHAIN} if self.is_export else {LOCK, CHAIN}
        for name in names:
            log = f"{LOGS}/{name}"
            known |= {f"{log}/{CHECKPOINT}", f"{ANCHORS}/{name}{SUFFIX}", f"{log}/{COSIGNED}"}
            known |= {f"{log}/{HASHES}"} if not self.is_export else set()
            known |= {f"{log}/{EVENTS}/{path.name}" for _, path in segments_of(self.folder / log)}
        for parent, _, files in os.walk(self.folder):
            for file in files:
                relative = (Path(parent) / file).relative_to(self.folder).as_posix()
                if relative not in known and self.is_export:
                    self.report.find(f"{relative} belongs to no journal")
                elif relative not in known:
                    self.report.notices.append(f"{relative} is no part of a log")


class _LogReader:
    """Reads all lines of a log once, in order."""

    def __init__(self, name: str, folder: Path, signed: int, whole: _Verification) -> None:
        self.edge = tree.Edge()
        self.first_ms = self.last_ms = 0
        self.erased = ErasedBodies()
        self._name = name
        self._folder = folder
        self._signed = signed
        self._whole = whole
        self._report = whole.report

    def read(self) -> None:
        """Add every line to the tree and compare roots on the way. Raises: OSError."""
        points: dict[int, list[tuple[bytes, str]]] = {}
        for size, root, whence in self._whole.points.get(self._name, ()):
            points.setdefault(size, []).append((root, whence))
        self._compare(points)
        for first, path in segments_of(self._folder):
            if first != self.edge.size:
                text = f"segment {path.name} begins elsewhere than at event {self.edge.size}"
                self._report.find(f"log {self._name}: {text}")
                return
            with path.open("rb") as file:
                while line := file.readline(LINE_BYTES_MAX + 1):
                    if not self._take(line):
                        return
                    if self.edge.size in points:
                        self._compare(points)

    def _take(self, line: bytes) -> bool:
        """Whether reading can go on."""
        seq = self.edge.size
        try:
            leaf = check_line(line, seq)
            self.erased.take(line, seq)
            self._look(line, seq)
        except EntryInvalid as error:
            if seq >= self._signed and not self._whole.is_export:
                self._report.notices.append(f"log {self._name}, a torn end: {error.message()}")
                return False
            self._report.find(f"log {self._name}: {error.message()}")
            header = line.partition(b" ")[2].partition(b"\t")[0]
            if f'"seq":{seq},'.encode() not in header:
                return False  # what follows is another event's place
            leaf = sha256(b"\x00" + header).digest()
        self.edge.append(leaf)
        return True

    def _look(self, line: bytes, seq: int) -> None:
        at = line.index(b'"at_ms":', 0, 80) + 8
        at_ms = int(line[at : line.index(b",", at)])
        if at_ms + CLOCK_BACK_MS < self.last_ms:
            self._report.notices.append(f"log {self._name}: before event {seq} the clock went back")
        self.first_ms = self.first_ms or at_ms
        self.last_ms = at_ms
        if self._name == CLUSTER and b'"type":"journal.anchor"' in line:
            self._whole.anchored(line, seq)
        if self._name == CLUSTER and f'"type":"{ANNOUNCED}"'.encode() in line:
            digest = str(read_line(line, seq).body.get("keys_sha256"))
            self._whole.announced_keys[digest] = seq

    def _compare(self, points: dict[int, list[tuple[bytes, str]]]) -> None:
        for root, whence in points.get(self.edge.size, ()):
            if root != self.edge.root():
                text = f"the first {self.edge.size} events are not those of {whence}"
                self._report.find(f"log {self._name}: {text}")


def _content(path: Path, most: int) -> bytes:
    with path.open("rb") as file:
        return file.read(most + 1)
