"""The current objects of an export as files named by their keys, for programs that know folders.

Not everything: versions that are not current, metadata, tags and rights stay in the export. A key
that no file can be named by, or whose file would stand where a folder has to be, is told and left.

Source: docs/export.md, "Into another store".
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

from gateway.cli import export_folder as folder_of
from gateway.cli.export_folder import BodyReader, Document, ExportDamaged, Progress
from gateway.cli.export_run import check_head

NAME_BYTES_MAX = 255
PATH_BYTES_MAX = 3500
NANOSECONDS = 1_000_000


def write_plain(folder: Path, out: Path, progress: Progress) -> Iterator[tuple[str, str, str]]:
    """Write the files; (bucket, key, reason) of what is left.

    Raises: ExportFolderFailed, ExportFolderInvalid, ExportDamaged.
    """
    head = folder_of.read_json(folder / folder_of.HEAD)
    check_head(folder, head)
    reader = BodyReader(folder)
    try:
        for index, bucket in enumerate(head["buckets"]):
            folder_of.make_folder(out / bucket)
            path = folder / folder_of.bucket_folder(index) / folder_of.VERSIONS
            for record in folder_of.read_lines(path):
                if not record["current"] or record.get("delete_marker"):
                    continue
                reason = _write(reader, out / bucket, record)
                progress(1, int(record["bytes"]))
                if reason:
                    yield bucket, record["key"], reason
    finally:
        reader.close()


def unusable_key(key: str) -> str:
    """Why no file can have the name of a key; "" if one can."""
    parts = key.split("/")
    if any(part in ("", ".", "..") for part in parts):
        return "an empty name, . or .. in its path"
    if any(len(part.encode()) > NAME_BYTES_MAX for part in parts):
        return f"a name of more than {NAME_BYTES_MAX} bytes"
    if len(key.encode()) > PATH_BYTES_MAX:
        return "too long"
    if any(ord(character) < 32 or character in '\\:*?"<>|' for character in key):
        return "characters that not every file system takes"
    return ""


def _write(reader: BodyReader, root: Path, record: Document) -> str:
    """Write one file; why not, or ""."""
    if "body" not in record:
        return "sealed by a key of the client"
    reason = unusable_key(record["key"])
    if reason:
        return reason
    path = root / record["key"]
    if path.is_symlink() or path.parent.resolve() != root.resolve() / Path(record["key"]).parent:
        return "a link is where it would be"
    try:
        path.parent.mkdir(mode=folder_of.FOLDER_OWNER_ONLY, parents=True, exist_ok=True)
        is_taken = path.is_dir()
    except (FileExistsError, NotADirectoryError):
        is_taken = True
    if is_taken:
        return "a file and a folder of one name"
    digest = sha256()
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
    with folder_of.on_disk(path):
        descriptor = os.open(path, flags, folder_of.OWNER_ONLY)
        with os.fdopen(descriptor, "wb") as file:
            for piece in reader.pieces(record["body"]):
                digest.update(piece)
                file.write(piece)
        at_ns = int(record["modified_at_ms"]) * NANOSECONDS
        os.utime(path, ns=(at_ns, at_ns))
    if digest.hexdigest() != record["sha256"]:
        raise ExportDamaged(key=record["key"], reason="its bytes were changed")
    return ""
