"""An import: the folder of an export, brought to a gateway by its admin port, then compared.

Not for deciding what is in the way: the gateway does, before anything is made. Lots of versions go
by several connections; those of one key one after the other.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from gateway.admin.frames import INLINE_BYTES_MAX, encode_frame
from gateway.cli import export_folder as folder_of
from gateway.cli.client import AdminClient
from gateway.cli.export_folder import BodyReader, Document, ExportDamaged, Progress
from gateway.cli.export_run import bytes_of, check_head
from gateway.cli.frame_reader import buffered, exactly, read_frame
from gateway.model.exported import comparable
from storaged.base.errors import Kind, StorageError

CONNECTIONS = 4
LOT_VERSIONS = 250
LOT_BYTES = 16 * 1024 * 1024
AHEAD = 2 * CONNECTIONS  # lots that are read and not answered yet
TOLD_MAX = 1000  # failures and differences that are told; there may be more
DIGEST_BYTES = 1024 * 1024


class ImportRefused(StorageError):
    """Something is in the way of the import; nothing was made."""

    kind = Kind.CONFLICT


class ImportFailed(StorageError):
    """Versions could not be installed; the import can go on when the cause is gone."""

    kind = Kind.UNAVAILABLE
    hint = "see what is told of each, then run the command again with --resume"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What is to be imported, and how.

    Args:
        tenant: name here; "": as it was.
        renamed: buckets' new names by the old ones.
        read_back: read every body once more from the cluster.
    """

    folder: Path
    tenant: str
    renamed: Mapping[str, str]
    customer_keys: Sequence[str]
    resume: bool
    read_back: bool


@dataclass(slots=True)
class Brought:
    """What became of it."""

    installed: int = 0
    held: int = 0
    without_body: int = 0
    compared: int = 0
    failed: list[Document] = field(default_factory=list)
    failed_untold: int = 0
    differences: list[str] = field(default_factory=list)
    buckets: dict[str, str] = field(default_factory=dict)
    owners: dict[str, str] = field(default_factory=dict)
    tenant: str = ""

    def document(self) -> Document:
        """For programs."""
        return {
            "installed": self.installed,
            "held": self.held,
            "without_body": self.without_body,
            "compared": self.compared,
            "failed": self.failed,
            "failed_untold": self.failed_untold,
            "differences": self.differences,
            "buckets": self.buckets,
            "owners": self.owners,
            "tenant": self.tenant,
        }


class _Sent(NamedTuple):
    """What became of a lot."""

    installed: int
    held: int
    failed: list[Document]
    failed_untold: int
    versions: int
    bytes: int


class Importer:
    """One import. `plan`, then `run`."""

    def __init__(self, client: AdminClient, wanted: Wanted) -> None:
        self._client = client
        self._wanted = wanted
        self._folder = wanted.folder
        self._head = folder_of.read_json(wanted.folder / folder_of.HEAD)
        check_head(wanted.folder, self._head)
        if not (wanted.folder / folder_of.SUMMARY).exists():
            raise ExportDamaged(folder=wanted.folder, reason="it is not whole: no summary.json")
        self.summary = folder_of.read_json(wanted.folder / folder_of.SUMMARY)
        self._names = [wanted.renamed.get(one, one) for one in self._head["buckets"]]
        self._ticket = ""
        self.brought = Brought(buckets=dict(zip(self._head["buckets"], self._names, strict=True)))

    def plan(self) -> Document:
        """What would be done and what is in the way; nothing is made.

        Raises: ExportDamaged, ExportFolderInvalid, as the client.
        """
        _, digest = folder_of.file_digest(self._folder / folder_of.FILES)
        if digest != self.summary.get("files_sha256"):
            raise ExportDamaged(folder=self._folder, reason="files.jsonl was changed")
        unknown = self._wanted.renamed.keys() - set(self._head["buckets"])
        if unknown:
            raise ImportRefused(reason=f"the export has no bucket {min(unknown)!r}")
        if len(set(self._names)) != len(self._names):
            raise ImportRefused(reason="two buckets would have one name")
        said = {
            "tenant": self._wanted.tenant or self._head["tenant"],
            "name": digest,
            "customer_keys": list(self._wanted.customer_keys),
        }
        begun = self._client.transfer("POST", "import/begin", {}, _json(said))
        self._ticket = begun["ticket"]
        told = {
            "export": self._head["export"],
            "account": folder_of.read_json(self._folder / folder_of.ACCOUNT),
            "buckets": [self._bucket_document(index) for index in range(len(self._names))],
            "renamed": dict(self._wanted.renamed),
        }
        return self._ask("plan", {}, told)

    def run(self, progress: Progress) -> Brought:
        """Bring everything and compare it. Raises: ImportRefused, ImportFailed, ExportDamaged, as
        the client.
        """
        made = self._ask("account", {})
        self.brought.owners = made["owners"]
        self.brought.tenant = made["tenant"]["name"]
        with ThreadPoolExecutor(CONNECTIONS) as pool:
            for index, name in enumerate(self._names):
                self._ask("bucket", {"bucket": name})
                self._bring(pool, index, name, progress)
        if self.brought.failed:
            return self.brought
        for index, name in enumerate(self._names):
            self._compare(index, name)
        if self.brought.differences:
            return self.brought
        for name in self._names:
            self._ask("settle", {"bucket": name})
        self._client.transfer("POST", "import/finish", {}, _json({"ticket": self._ticket}))
        return self.brought

    def _ask(self, what: str, fields: Mapping[str, str], told: Document | None = None) -> Document:
        fields = {"ticket": self._ticket, **fields}
        body = b"{}" if told is None else _json(told)
        return self._client.transfer("POST", f"import/stream/{what}", fields, body)

    def _bucket_document(self, index: int) -> Document:
        path = self._folder / folder_of.bucket_folder(index) / folder_of.BUCKET
        return {**folder_of.read_json(path), "name": self._names[index]}

    def _records(self, index: int) -> Iterator[Document]:
        """Records that can be installed."""
        path = self._folder / folder_of.bucket_folder(index) / folder_of.VERSIONS
        for record in folder_of.read_lines(path):
            if record.get("delete_marker") or "body" in record:
                yield record

    def _bring(self, pool: ThreadPoolExecutor, index: int, name: str, progress: Progress) -> None:
        waiting: deque[Future[_Sent]] = deque()
        last_key = ""
        last: Future[_Sent] | None = None
        try:
            for lot in self._lots(index):
                # Versions of one key come one after the other.
                after = last if lot[0]["key"] == last_key else None
                last_key = lot[-1]["key"]
                last = pool.submit(self._send_lot, name, lot, after)
                waiting.append(last)
                if len(waiting) >= AHEAD:
                    self._count(name, waiting.popleft().result(), progress)
            while waiting:
                self._count(name, waiting.popleft().result(), progress)
        finally:
            for one in waiting:
                one.cancel()

    def _lots(self, index: int) -> Iterator[list[Document]]:
        lot: list[Document] = []
        lot_bytes = 0
        for record in self._records(index):
            size = 0 if record.get("delete_marker") else bytes_of(record)
            is_large = size > INLINE_BYTES_MAX
            if lot and (is_large or len(lot) >= LOT_VERSIONS or lot_bytes + size > LOT_BYTES):
                yield lot
                lot, lot_bytes = [], 0
            lot.append(record)
            lot_bytes += size
            if is_large:
                yield lot
                lot, lot_bytes = [], 0
        if lot:
            yield lot

    def _count(self, name: str, sent: _Sent, progress: Progress) -> None:
        brought = self.brought
        brought.installed += sent.installed
        brought.held += sent.held
        room = TOLD_MAX - len(brought.failed)
        brought.failed += [{"bucket": name, **one} for one in sent.failed[:room]]
        brought.failed_untold += sent.failed_untold + max(0, len(sent.failed) - room)
        progress(sent.versions, sent.bytes)

    def _send_lot(self, name: str, lot: list[Document], after: Future[_Sent] | None) -> _Sent:
        if after is not None:
            after.result()
        wanted, held = lot, 0
        if self._wanted.resume:
            told = {"versions": [_without_body(record) for record in lot]}
            missing = self._ask("missing", {"bucket": name}, told)["missing"]
            wanted = [lot[at] for at in missing]
            held = len(lot) - len(wanted)
        answer: Document = {"installed": 0, "held": 0, "failed": [], "failed_untold": 0}
        if wanted:
            fields = {"ticket": self._ticket, "bucket": name}
            with self._client.streamed(
                "POST", "import/stream/versions", fields, self._frames(wanted)
            ) as response:
                answer = json.loads(response.read())
        return _Sent(
            answer["installed"],
            held + answer["held"],
            answer["failed"],
            answer["failed_untold"],
            len(lot),
            sum(int(record.get("bytes", 0)) for record in lot),
        )

    def _frames(self, lot: list[Document]) -> Iterator[bytes]:
        """What is sent of a lot. Raises: ExportDamaged."""
        reader = BodyReader(self._folder)
        try:
            for record in lot:
                size = 0 if record.get("delete_marker") else bytes_of(record)
                yield encode_frame({"version": _without_body(record), "inline": size})
                if not record.get("delete_marker"):
                    yield from _checked(reader, record, record["key"])
                    for one in record.get("annotations", ()):
                        yield from _checked(reader, one, record["key"])
        finally:
            reader.close()

    def _compare(self, index: int, name: str) -> None:
        """Hold what the cluster has against what was brought."""
        there, owners = self._listed(name), self.brought.owners
        for record in self._records(index):
            self.brought.compared += 1
            found = next(there, None)
            if found is None:
                self._differs(name, record, "it is not there")
                continue
            listed, digest = found
            if comparable(listed, {}) != comparable(_without_body(record), owners):
                self._differs(name, record, f"it is {_difference(listed, record, owners)}")
            elif self._wanted.read_back and digest != record.get("sha256", digest):
                self._differs(name, record, "its bytes are others")
        if next(there, None) is not None:
            self.brought.differences.append(f"s3://{name} has versions that were not brought")

    def _differs(self, name: str, record: Document, what: str) -> None:
        if len(self.brought.differences) < TOLD_MAX:
            version = record["version_id"]
            text = f"s3://{name}/{record['key']} (version {version}): {what}"
            self.brought.differences.append(text)

    def _listed(self, name: str) -> Iterator[tuple[Document, str]]:
        """Versions of a bucket of the cluster, in order, and the SHA-256 of their bytes, if bodies
        are to be read.
        """
        fields = {"ticket": self._ticket, "bucket": name}
        if self._wanted.read_back:
            fields["bodies"] = "1"
        cursor: Document | None = {}
        while cursor is not None:
            if cursor:
                fields["after_key"] = cursor["key"]
                fields["after_sequence"] = str(cursor["sequence"])
            page: list[tuple[Document, str]] = []
            with self._client.streamed("GET", "export/page", fields) as answer:
                response = buffered(answer)
                while "next" not in (frame := read_frame(response)):
                    record = frame["version"]
                    content = exactly(response, frame["inline"])
                    page.append((record, self._digest(name, record, content)))
                cursor = frame["next"]
            yield from page

    def _digest(self, name: str, record: Document, content: bytes) -> str:
        """SHA-256 of a version of the cluster, "" where it is not read."""
        if not self._wanted.read_back or "bytes" not in record:
            return ""
        digest, length = sha256(), int(record["bytes"])
        if content or not length:
            return sha256(content[:length]).hexdigest()
        fields = {
            "ticket": self._ticket,
            "bucket": name,
            "key": record["key"],
            "sequence": str(record["sequence"]),
            "uuid": record.get("uuid", ""),
            "offset": "0",
            "length": str(length),
        }
        with self._client.streamed("GET", "export/body", fields) as answer:
            response = buffered(answer)
            while length:
                piece = exactly(response, min(length, DIGEST_BYTES))
                digest.update(piece)
                length -= len(piece)
        return digest.hexdigest()


def _checked(reader: BodyReader, told: Document, key: str) -> Iterator[bytes]:
    """Bytes of a version or an annotation, which break off where they are not what was written.

    Raises: ExportDamaged.
    """
    digest = sha256()
    for piece in reader.pieces(told["body"]):
        digest.update(piece)
        yield piece
    if digest.hexdigest() != told["sha256"]:
        raise ExportDamaged(key=key, reason="its bytes were changed")


def _without_body(record: Document) -> Document:
    """A record without what only the folder knows."""
    kept = {name: value for name, value in record.items() if name != "body"}
    if "annotations" in kept:
        kept["annotations"] = [
            {name: value for name, value in one.items() if name != "body"}
            for one in kept["annotations"]
        ]
    return kept


def _difference(listed: Document, record: Document, owners: Mapping[str, str]) -> str:
    """The fields that differ."""
    here, there = comparable(listed, {}), comparable(_without_body(record), owners)
    names = sorted(name for name in here.keys() | there.keys() if here.get(name) != there.get(name))
    return f"another {', '.join(names)}"


def _json(document: Document) -> bytes:
    return json.dumps(document).encode("ascii")
