"""An export, page by page: what the admin port tells, as a folder that a stranger can read.

Not for what the files mean (`gateway.cli.export_folder`). A page is whole on the drive before the
next mark is written; large bodies of a page come by several connections. A page of which a version
was replaced meanwhile is asked for again.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import md5, sha256
from io import BufferedReader
from pathlib import Path
from queue import SimpleQueue

from gateway.cli import export_folder as folder_of
from gateway.cli.client import AdminClient, AdminRefused
from gateway.cli.export_folder import (
    Document,
    ExportFolderInvalid,
    Mark,
    PackNumbers,
    PackWriter,
    Progress,
)
from gateway.cli.frame_reader import READ_BYTES, buffered, exactly, read_frame
from gateway.cli.journal_export import export_journal
from gateway.model.errors import InvalidBucketName
from gateway.model.names import bucket_name
from storaged.base.errors import ProtocolError

CONNECTIONS = 4
TRIES_MAX = 5
EVENTS_LOOKED_AT = 200
NOT_FOUND = 404
FINISHED = "export.finished"


class PageStale(ProtocolError):
    """A version of the page was replaced while its bytes were read."""


@dataclass(slots=True)
class _Page:
    """What was read of a page."""

    records: list[Document] = field(default_factory=list)
    left_out: list[Document] = field(default_factory=list)
    cursor: Document | None = None
    waiting: list[Future[None]] = field(default_factory=list)
    plain_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What is to be exported, and where to."""

    folder: Path
    tenant: str
    buckets: Sequence[str]
    customer_keys: Sequence[str]
    resume: bool


class Exporter:
    """One export. `begin`, then `run`."""

    def __init__(self, client: AdminClient, asked: Asked) -> None:
        self._client = client
        self._asked = asked
        self._folder = asked.folder
        self._mark = Mark()
        self._told: Document = {}
        self._head: Document = {}
        self._ticket = ""
        self._writers: list[PackWriter] = []
        self._free: SimpleQueue[PackWriter] = SimpleQueue()

    def begin(self) -> Document:
        """Ask for a ticket, and make the folder or look where to go on; the answer.

        Raises: ExportFolderInvalid, as the client.
        """
        is_new = not (self._folder / folder_of.HEAD).exists()
        if is_new and self._folder.exists() and any(self._folder.iterdir()):
            raise ExportFolderInvalid(folder=self._folder, reason="it is neither new nor an export")
        if not is_new and not self._asked.resume:
            raise ExportFolderInvalid(
                folder=self._folder, reason="an export is there; --resume goes on with it"
            )
        if not is_new:
            self._head = folder_of.read_json(self._folder / folder_of.HEAD)
            check_head(self._folder, self._head)
            if self._head["tenant"] != self._asked.tenant and self._asked.tenant:
                raise ExportFolderInvalid(folder=self._folder, reason="it is of another tenant")
        said = {
            "tenant": self._head.get("tenant") or self._asked.tenant,
            "buckets": ",".join(self._head.get("buckets") or self._asked.buckets),
            "customer_keys": list(self._asked.customer_keys),
        }
        body = json.dumps(said).encode("ascii")
        self._told = self._client.transfer("POST", "export/begin", {}, body)
        self._ticket = self._told["ticket"]
        if is_new:
            self._lay_out()
        else:
            self._mark = folder_of.read_mark(self._folder)
            folder_of.cut_to(self._folder, self._mark)
        return self._told

    @property
    def is_whole(self) -> bool:
        """Whether nothing is left to do of an export that is to go on."""
        return self._asked.resume and (self._folder / folder_of.SUMMARY).exists()

    def summary(self) -> Document:
        """Of an export that is whole. Raises: ExportFolderFailed, ExportDamaged."""
        return folder_of.read_json(self._folder / folder_of.SUMMARY)

    @property
    def done(self) -> tuple[int, int]:
        """Versions and bytes that are whole."""
        counts = self._mark.counts.values()
        return sum(one[0] for one in counts), sum(one[1] for one in counts)

    def _lay_out(self) -> None:
        names = [one["name"] for one in self._told["buckets"]]
        folder_of.make_folder(self._folder / folder_of.BODIES)
        folder_of.write_json(self._folder / folder_of.ACCOUNT, self._told["account"])
        for index, name in enumerate(names):
            place = self._folder / folder_of.bucket_folder(index)
            folder_of.make_folder(place)
            fields = {"ticket": self._ticket, "bucket": name}
            document = self._client.transfer("GET", "export/bucket", fields)["bucket"]
            folder_of.write_json(place / folder_of.BUCKET, document)
        self._head = {
            "format": folder_of.FORMAT,
            "version": folder_of.FORMAT_VERSION,
            "export": self._told["export"],
            "cluster": self._told["cluster"],
            "tenant": self._told["account"]["tenant"]["name"],
            "begun_at_ms": self._told["at_ms"],
            "buckets": names,
            "all_buckets": not self._asked.buckets,
        }
        folder_of.write_json(self._folder / folder_of.HEAD, self._head)

    def run(self, progress: Progress) -> Document:
        """Copy what is not whole yet; the summary. Raises: as the client, ExportFolderFailed."""
        bodies = self._folder / folder_of.BODIES
        last = max((int(path.stem) for path in bodies.glob("*.bin")), default=0)
        numbers = PackNumbers(last)
        self._writers = [PackWriter(bodies, numbers) for _ in range(CONNECTIONS + 1)]
        for writer in self._writers[1:]:
            self._free.put(writer)
        with ThreadPoolExecutor(CONNECTIONS) as pool:
            for index, name in enumerate(self._head["buckets"]):
                if index >= self._mark.bucket:
                    self._bucket(pool, index, name, progress)
        for writer in self._writers:
            writer.close()
        self._commit([], [])
        return self._finish()

    def _bucket(self, pool: ThreadPoolExecutor, index: int, name: str, progress: Progress) -> None:
        has_more = not (self._mark.versions_bytes and self._mark.cursor is None)
        while has_more:
            page = self._page(pool, name)
            count = self._mark.counts.setdefault(name, [0, 0])
            self._mark.counts[name] = [
                count[0] + len(page.records),
                count[1] + page.plain_bytes,
            ]
            self._mark.cursor = page.cursor
            self._commit(page.records, page.left_out)
            progress(len(page.records), page.plain_bytes)
            has_more = page.cursor is not None
        self._mark.bucket, self._mark.cursor, self._mark.versions_bytes = index + 1, None, 0
        self._commit([], [])

    def _commit(self, records: list[Document], left_out: list[Document]) -> None:
        """Everything up to here is on the drive, and then the mark says so."""
        mark = self._mark
        for writer in self._writers:
            writer.sync()
        if records:
            path = self._folder / folder_of.bucket_folder(mark.bucket) / folder_of.VERSIONS
            mark.versions_bytes = folder_of.append_lines(path, _lines(records))
        if left_out:
            path = self._folder / folder_of.LEFT_OUT
            mark.left_out_bytes = folder_of.append_lines(path, _lines(left_out))
        mark.open_packs = {}
        for writer in self._writers:
            mark.open_packs |= writer.open_pack()
            for name, (length, digest) in writer.closed.items():
                mark.close_pack(name, length, digest)
        folder_of.append_lines(self._folder / folder_of.PROGRESS, _lines([mark.document()]))
        mark.fresh_packs = {}

    def _page(self, pool: ThreadPoolExecutor, name: str) -> _Page:
        """The next page, its bodies written. Raises: PageStale, as the client."""
        for tries_left in reversed(range(TRIES_MAX)):
            page = _Page()
            try:
                self._read_page(pool, name, page)
                for one in page.waiting:
                    one.result()
                return page
            except PageStale:
                if not tries_left:
                    raise
            finally:
                for one in page.waiting:
                    one.cancel()
                    with suppress(Exception):
                        one.result()
        raise AssertionError("the last try returns or raises")

    def _read_page(self, pool: ThreadPoolExecutor, name: str, page: _Page) -> None:
        fields = {"ticket": self._ticket, "bucket": name, "bodies": "1"}
        if self._mark.cursor is not None:
            fields["after_key"] = self._mark.cursor["key"]
            fields["after_sequence"] = str(self._mark.cursor["sequence"])
        with self._client.streamed("GET", "export/page", fields) as answer:
            response = buffered(answer)
            while True:
                frame = read_frame(response)
                if "next" in frame:
                    page.cursor = frame["next"]
                    return
                self._take(pool, name, page, frame, response)

    def _take(
        self,
        pool: ThreadPoolExecutor,
        name: str,
        page: _Page,
        frame: Document,
        response: BufferedReader,
    ) -> None:
        record = frame["version"]
        uuid = record.pop("uuid", "")
        reason = record.get("unreadable") or (
            "sealed by a key of the client" if record.get("sealed_by_client") else ""
        )
        if reason:
            told = {"bucket": name, "key": record["key"], "reason": reason}
            page.left_out.append({**told, "version_id": record.get("version_id", "")})
            if "unreadable" in record:
                return
        page.records.append(record)
        if reason or record.get("delete_marker"):
            return
        length = bytes_of(record)
        page.plain_bytes += record["bytes"]
        if frame["inline"] == length:
            _store(self._writers[0], response, record)
        else:
            page.waiting.append(pool.submit(self._fetch, name, record, uuid, length))

    def _fetch(self, name: str, record: Document, uuid: str, length: int) -> None:
        """A body by a connection of its own."""
        fields = {
            "ticket": self._ticket,
            "bucket": name,
            "key": record["key"],
            "sequence": str(record["sequence"]),
            "uuid": uuid,
            "offset": "0",
            "length": str(length),
        }
        writer = self._free.get()
        try:
            with self._client.streamed("GET", "export/body", fields) as answer:
                _store(writer, buffered(answer), record)
        except AdminRefused as error:
            if error.fields.get("status") == NOT_FOUND:
                raise PageStale(key=record["key"]) from error
            raise
        finally:
            self._free.put(writer)

    def _finish(self) -> Document:
        """The journal, the digests of all files, and the word of the tenant's journal on them."""
        tenant = self._told["account"]["tenant"]["tenant_id"]
        journal = self._folder / folder_of.JOURNAL
        if self._told["journal"]:
            if journal.exists():
                shutil.rmtree(journal)
            export_journal(self._client, journal, tenant, lambda log, done, total: None)
        digest, files, held_bytes = self._list_files()
        said = json.dumps({"ticket": self._ticket, "name": digest}).encode("ascii")
        finished = self._client.transfer("POST", "export/finish", {}, said)
        if finished["journal"]:
            self._keep_proof(tenant, digest)
        left_out = sum(1 for _ in folder_of.read_lines(self._folder / folder_of.LEFT_OUT))
        summary: Document = {
            "format": folder_of.FORMAT,
            "version": folder_of.FORMAT_VERSION,
            "export": self._head["export"],
            "files_sha256": digest,
            "files": files,
            "bytes": held_bytes,
            "left_out": left_out,
            "buckets": [
                {"name": name, "versions": count[0], "bytes": count[1]}
                for name, count in sorted(self._mark.counts.items())
            ],
        }
        folder_of.write_json(self._folder / folder_of.SUMMARY, summary)
        (self._folder / folder_of.PROGRESS).unlink(missing_ok=True)
        return summary

    def _list_files(self) -> tuple[str, int, int]:
        """Write `files.jsonl`; its SHA-256, how many files and bytes it names."""
        lines, held_bytes = list[Document](), 0
        for path in folder_of.paths_of(self._folder):
            known = None
            if path.startswith(f"{folder_of.BODIES}/"):
                known = self._mark.closed_packs.get(path.removeprefix(f"{folder_of.BODIES}/"))
            length, digest = known or folder_of.file_digest(self._folder / path)
            held_bytes += length
            lines.append({"path": path, "bytes": length, "sha256": digest})
        raw = _lines(lines)
        folder_of.write_file(self._folder / folder_of.FILES, raw)
        return sha256(raw).hexdigest(), len(lines), held_bytes

    def _keep_proof(self, tenant: str, digest: str) -> None:
        """The proof that the tenant's journal has the digest of this export."""
        status = self._client.journal("GET", "", {})
        size = next((one["events"] for one in status["logs"] if one["log"] == tenant), 0)
        first = max(0, size - EVENTS_LOOKED_AT)
        query = {"log": tenant, "first": str(first), "count": str(2 * EVENTS_LOOKED_AT)}
        lines = self._client.journal("GET", "/lines", query)["lines"]
        for at, line in enumerate(lines):
            if FINISHED in line and digest in line:
                query = {"log": tenant, "seq": str(first + at)}
                proof = self._client.journal("GET", "/proof", query)["proof"]
                folder_of.write_file(self._folder / folder_of.PROOF, proof.encode())


def check_head(folder: Path, head: Document) -> None:
    """Raises: ExportFolderInvalid: no export that this program can read, or one that leads
    elsewhere.
    """
    if head.get("format") != folder_of.FORMAT or head.get("version") != folder_of.FORMAT_VERSION:
        raise ExportFolderInvalid(folder=folder, reason="not an export of this format's version")
    names = head.get("buckets")
    if (
        not isinstance(names, list)
        or not all(isinstance(one, str) for one in names)
        or len(set(names)) != len(names)
    ):
        raise ExportFolderInvalid(folder=folder, reason="its buckets are no list of names")
    for one in names:
        try:
            bucket_name(one)
        except InvalidBucketName as error:  # folders are named by it, so it must not lead elsewhere
            reason = f"{one[:64]!r} is no name of a bucket"
            raise ExportFolderInvalid(folder=folder, reason=reason) from error


def bytes_of(record: Document) -> int:
    """Bytes of a version and of its annotations."""
    return int(record["bytes"]) + sum(int(one["bytes"]) for one in record.get("annotations", ()))


def _store(writer: PackWriter, response: BufferedReader, record: Document) -> None:
    """Write the bytes of a version and of its annotations, and say where they are."""
    digest = sha256()
    record["body"] = _stored(writer, response, int(record["bytes"]), digest.update)
    record["sha256"] = digest.hexdigest()
    for one in record.get("annotations", ()):
        content = exactly(response, int(one["bytes"]))
        if md5(content, usedforsecurity=False).hexdigest() != one["etag"]:
            raise PageStale(key=record["key"])
        one["body"], one["sha256"] = [], sha256(content).hexdigest()
        writer.append(content, one["body"])


def _stored(
    writer: PackWriter, response: BufferedReader, length: int, update: Callable[[bytes], None]
) -> list[folder_of.Extent]:
    extents: list[folder_of.Extent] = []
    left = length
    while left:
        piece = exactly(response, min(left, READ_BYTES))
        left -= len(piece)
        update(piece)
        writer.append(piece, extents)
    return extents


def _lines(documents: Sequence[Document]) -> bytes:
    return b"".join(json.dumps(one).encode("ascii") + b"\n" for one in documents)
