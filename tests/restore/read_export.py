"""Usage: read_export.py FOLDER. A reader of exports, from docs/export-format.md alone.

Prints a line for each version, oldest first within a key, after its bytes were held against their
SHA-256. Standard library only; nothing of Hexagone is imported.
"""

import json
import sys
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

Document = dict[str, Any]


class Wrong(Exception):
    """The export is not what its format says."""


def document(path: Path) -> Document:
    found: Document = json.loads(path.read_bytes())
    return found


def lines(path: Path) -> Iterator[Document]:
    if path.exists():  # a file of no lines is left out
        with path.open("rb") as file:
            for line in file:
                yield json.loads(line)


def digest_of(path: Path) -> tuple[int, str]:
    digest, length = sha256(), 0
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
            length += len(piece)
    return length, digest.hexdigest()


def check_files(folder: Path) -> None:  # "Verifying"
    summary = document(folder / "summary.json")
    if digest_of(folder / "files.jsonl")[1] != summary["files_sha256"]:
        raise Wrong("files.jsonl")
    for one in lines(folder / "files.jsonl"):
        path = folder / one["path"]
        if folder not in path.parents or ".." in path.parts:
            raise Wrong(one["path"])
        if digest_of(path) != (one["bytes"], one["sha256"]):
            raise Wrong(one["path"])


def content(folder: Path, told: Document) -> bytes:  # "Bodies"
    pieces = []
    for name, offset, length in told["body"]:
        with (folder / "bodies" / name).open("rb") as file:
            file.seek(offset)
            pieces.append(file.read(length))
    found = b"".join(pieces)
    if len(found) != told["bytes"] or sha256(found).hexdigest() != told["sha256"]:
        raise Wrong("a body")
    return found


class Bucket:
    """A bucket of an export: `name`, `settings` and its versions."""

    def __init__(self, folder: Path, index: int) -> None:
        self._folder = folder
        self._place = folder / "buckets" / f"{index + 1:04d}"
        self.settings = document(self._place / "bucket.json")
        self.name = str(self.settings["name"])

    def versions(self) -> Iterator[tuple[Document, bytes | None, dict[str, bytes]]]:
        """(record, bytes, annotations) of each, oldest first within a key; bytes are None for a
        delete marker, and where only a key of the client would have opened them.
        """
        of_key: list[Document] = []
        for record in lines(self._place / "versions.jsonl"):
            if of_key and of_key[0]["key"] != record["key"]:
                yield from self._opened(of_key)
                of_key = []
            of_key.append(record)
        yield from self._opened(of_key)

    def _opened(
        self, of_key: list[Document]
    ) -> Iterator[tuple[Document, bytes | None, dict[str, bytes]]]:
        for record in sorted(of_key, key=lambda one: int(one["sequence"])):
            found = content(self._folder, record) if "body" in record else None
            annotations = {
                one["name"]: content(self._folder, one) for one in record.get("annotations", ())
            }
            yield record, found, annotations


def read(folder: Path) -> tuple[Document, Document, list[Bucket]]:
    """The head, the account and the buckets of an export that is whole."""
    head = document(folder / "export.json")
    if (head["format"], head["version"]) != ("hexagone-export", 1):
        raise Wrong("another format")
    check_files(folder)
    buckets = [Bucket(folder, index) for index in range(len(head["buckets"]))]
    return head, document(folder / "account.json"), buckets


def main() -> None:
    for bucket in read(Path(sys.argv[1]))[2]:
        for record, found, annotations in bucket.versions():
            size = "-" if found is None else len(found)
            told = json.dumps([bucket.name, record["key"], record["version_id"]])
            print(told, size, record.get("etag", "delete marker"), len(annotations))


if __name__ == "__main__":
    main()
