"""Exports of the journal: what the admin port tells, as a folder that verifies by itself.

Not for verifying it (`gateway.journal.verify`). A tenant's export holds the tenant's log and the
proof that its checkpoint is anchored in the cluster's log, and nothing of others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from gateway.cli.client import AdminClient, Document
from gateway.journal.chain import CHAIN, encode_keys
from gateway.journal.events import CLUSTER, LOG_NAME
from gateway.journal.notes import read_checkpoint, read_note, read_verifier_key
from gateway.journal.proofs import SUFFIX
from gateway.journal.shelf import LOGS
from gateway.journal.store import CHECKPOINT, EVENTS, SEGMENT_EVENTS, segment_name
from gateway.journal.verify import ANCHORS, COSIGNED, KEYS, MANIFEST, encode_manifest
from storaged.base.errors import Kind, ProtocolError, StorageError

LINES_AT_ONCE = 2000

Progress = Callable[[str, int, int], None]
"""Told of a log: its name, how many events are written, how many there will be."""


class ExportFolderTaken(StorageError):
    """The folder of an export is new or empty."""

    kind = Kind.CONFLICT


def lines_of(client: AdminClient, log: str, first: int, last: int) -> Iterator[bytes]:
    """Lines `first` to `last` (excluded) of a log. Raises: as the client."""
    while first < last:
        query = {"log": log, "first": str(first), "count": str(min(last - first, LINES_AT_ONCE))}
        found = client.journal("GET", "/lines", query)["lines"]
        if not found:
            raise ProtocolError(log=log, reason=f"event {first} is not there")
        for line in found:
            yield line.encode("ascii")
        first += len(found)


def export_journal(
    client: AdminClient, folder: Path, tenant: str, progress: Progress
) -> dict[str, int]:
    """Write an export; events by log. `tenant`: "" for all logs. Raises: as the client, OSError."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ExportFolderTaken(folder=folder)
    signed = client.journal("POST", "/checkpoint", {"log": tenant} if tenant else {})
    notes = {name: text.encode() for name, text in signed["checkpoints"].items()}
    wanted = [name for name in notes if not tenant or name != CLUSTER or tenant == CLUSTER]
    if not all(LOG_NAME.fullmatch(name) for name in wanted):
        raise ProtocolError(reason="logs have other names")
    sizes = {}
    for name in wanted:
        sizes[name] = _write_log(client, folder / LOGS / name, name, notes[name], progress)
    if CLUSTER not in wanted:
        (folder / ANCHORS).mkdir()
        for name in wanted:
            query = {"log": CLUSTER, "seq": str(signed["anchors"][name])}
            proof = client.journal("GET", "/proof", query)["proof"]
            (folder / ANCHORS / f"{name}{SUFFIX}").write_text(proof)
    elif signed["cosigned"]:
        (folder / LOGS / CLUSTER / COSIGNED).write_text(signed["cosigned"])
    status = _status(client)
    if status["chain"]:
        (folder / CHAIN).write_bytes(status["chain"].encode())
    keys = [read_verifier_key(text) for text in status["keys"]]
    (folder / KEYS).write_bytes(encode_keys(keys))
    prefix = keys[0].name.rpartition("/")[0]
    (folder / MANIFEST).write_bytes(encode_manifest(prefix, sizes))
    return sizes


def _status(client: AdminClient) -> Document:
    return client.journal("GET", "", {})


def _write_log(
    client: AdminClient, folder: Path, name: str, note: bytes, progress: Progress
) -> int:
    size = read_checkpoint(read_note(note).text).size
    (folder / EVENTS).mkdir(parents=True)
    (folder / CHECKPOINT).write_bytes(note)
    for first in range(0, size, SEGMENT_EVENTS):
        last = min(first + SEGMENT_EVENTS, size)
        with (folder / EVENTS / segment_name(first)).open("wb") as file:
            file.writelines(lines_of(client, name, first, last))
        progress(name, last, size)
    return size
