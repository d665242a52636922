"""Whether an export is what was written: every file, and every body once more by its record.

Asks no gateway. Who is able to change the folder can change `files.jsonl` as well: that its digest
is the one that the tenant's journal has is told by the proof beside it, which `hexagone journal
verify` checks with public keys that came by another way.

Source: docs/export-format.md, "Verifying".
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import md5, sha256
from pathlib import Path

from gateway.cli import export_folder as folder_of
from gateway.cli.export_folder import BodyReader, Document, ExportDamaged, Progress
from gateway.cli.export_run import check_head
from gateway.journal.notes import VerifierKey
from gateway.journal.proofs import open_proof

PROBLEMS_MAX = 1000  # that are told; there may be more
_MD5 = re.compile(r"[0-9a-f]{32}")


@dataclass(slots=True)
class Verified:
    """What was found."""

    problems: list[str] = field(default_factory=list)
    files: int = 0
    versions: int = 0
    bytes: int = 0
    left_out: int = 0

    def document(self) -> Document:
        """For programs."""
        return {
            "intact": not self.problems,
            "problems": self.problems,
            "files": self.files,
            "versions": self.versions,
            "bytes": self.bytes,
            "left_out": self.left_out,
        }


def verify_export(folder: Path, progress: Progress, keys: Sequence[VerifierKey] = ()) -> Verified:
    """Look at everything. `keys`: of the journal, to judge its proof.

    Raises: ExportFolderInvalid, ExportFolderFailed, NoteInvalid, EntryInvalid, ProofInvalid;
        ExportDamaged: it is too broken to go on.
    """
    found = Verified()
    head = folder_of.read_json(folder / folder_of.HEAD)
    check_head(folder, head)
    if not (folder / folder_of.SUMMARY).exists():
        raise ExportDamaged(folder=folder, reason="it is not whole: no summary.json")
    summary = folder_of.read_json(folder / folder_of.SUMMARY)
    for problem in _wrong_files(folder, summary, found, keys):
        _tell(found, problem)
    reader = BodyReader(folder)
    try:
        for index, name in enumerate(head["buckets"]):
            _check_bucket(folder, index, name, reader, found, progress)
    finally:
        reader.close()
    found.left_out = sum(1 for _ in folder_of.read_lines(folder / folder_of.LEFT_OUT))
    return found


def _tell(found: Verified, problem: str) -> None:
    if len(found.problems) < PROBLEMS_MAX:
        found.problems.append(problem)


def _wrong_files(
    folder: Path, summary: Document, found: Verified, keys: Sequence[VerifierKey]
) -> Iterator[str]:
    _, digest = folder_of.file_digest(folder / folder_of.FILES)
    if digest != summary.get("files_sha256"):
        yield "files.jsonl is not the one that summary.json names"
    proof = folder / folder_of.PROOF
    if proof.exists() and not _proves(proof.read_bytes(), digest, keys):
        yield "the proof of the journal is of another export"
    if keys and not proof.exists():
        yield "there is no proof of the journal"
    named = set[str]()
    for one in folder_of.read_lines(folder / folder_of.FILES):
        path = str(one["path"])
        named.add(path)
        if path.startswith("/") or ".." in path.split("/") or (folder / path).is_symlink():
            yield f"{path} is not of the export"
            continue
        if not (folder / path).is_file():
            yield f"{path} is missing"
            continue
        length, digest = folder_of.file_digest(folder / path)
        found.files += 1
        if (length, digest) != (one["bytes"], one["sha256"]):
            yield f"{path} was changed"
    for path in folder_of.paths_of(folder):
        if path not in named:
            yield f"{path} is not of the export"


def _proves(proof: bytes, digest: str, keys: Sequence[VerifierKey]) -> bool:
    """Whether the event of a proof names a digest; with keys, whether it was signed as well.

    Raises: NoteInvalid, EntryInvalid, ProofInvalid.
    """
    if keys:
        return open_proof(proof, keys).entry.body.get("sha256") == digest
    extra = next((one for one in proof.split(b"\n") if one.startswith(b"extra ")), b"")
    return digest.encode() in base64.b64decode(extra.removeprefix(b"extra "))


def _check_bucket(
    folder: Path, index: int, name: str, reader: BodyReader, found: Verified, progress: Progress
) -> None:
    for record in folder_of.read_lines(
        folder / folder_of.bucket_folder(index) / folder_of.VERSIONS
    ):
        problem = _wrong_body(reader, record)
        found.versions += 1
        found.bytes += int(record.get("bytes", 0))
        progress(1, int(record.get("bytes", 0)))
        if problem:
            version = record["version_id"]
            _tell(found, f"s3://{name}/{record['key']} (version {version}): {problem}")


def _wrong_body(reader: BodyReader, record: Document) -> str:
    """What is wrong with the bytes of a version; "" if nothing is."""
    if record.get("delete_marker") or record.get("sealed_by_client"):
        return ""
    simple = not record.get("parts") and "encryption" not in record
    try:
        problem = _wrong(reader, record, record["etag"] if simple else "")
        for one in record.get("annotations", ()):
            problem = problem or _wrong(reader, one, one["etag"])
    except ExportDamaged as error:
        return error.message()
    except (KeyError, TypeError, ValueError):
        return "the record is not usable"
    return problem


def _wrong(reader: BodyReader, told: Document, etag: str) -> str:
    digest, other, length = sha256(), md5(usedforsecurity=False), 0
    is_md5 = _MD5.fullmatch(etag) is not None
    for piece in reader.pieces(told["body"]):
        digest.update(piece)
        length += len(piece)
        if is_md5:
            other.update(piece)
    if length != told["bytes"]:
        return "it has another length"
    if digest.hexdigest() != told["sha256"]:
        return "its bytes were changed"
    if is_md5 and other.hexdigest() != etag:
        return "its ETag is not the MD5 of its bytes"
    return ""
