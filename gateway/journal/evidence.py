"""Events of one matter found again in their log, with what proves them: for certificates.

Not for verifying (`gateway.journal.certificate`), nor for recording.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import NamedTuple

from gateway.journal import tree
from gateway.journal.events import CLUSTER
from gateway.journal.journal import Journal
from gateway.journal.notes import read_checkpoint, read_note
from gateway.journal.proofs import encode_proof
from gateway.journal.shelf import LOGS
from gateway.journal.store import JournalUnavailable, LogStore, read_lines

LOOKED_AT_MAX = 100_000  # events that others can have recorded meanwhile


class Evidence(NamedTuple):
    """Proofs of events of one log.

    Args:
        events: each with its seq, its line, and its hashes as base64.
        checkpoint: the signed note that all of them lead to.
        anchor: the proof, as text, that this checkpoint is in the cluster's log.
    """

    events: list[dict[str, object]]
    checkpoint: str
    anchor: str


async def find_marked(journal: Journal, log: str, first: int, mark: str) -> int:
    """The number of the event that has a mark, from event `first` on. Raises:
    JournalUnavailable.
    """
    wanted = f'"mark":"{mark}"'.encode()
    folder = journal.folder / LOGS / log

    def look() -> int:
        for at, line in enumerate(read_lines(folder, first, LOOKED_AT_MAX)):
            if wanted in line:
                return first + at
        raise JournalUnavailable(log=log, reason="an event that was recorded is not there")

    return await journal.env.offload(look)


async def gather(journal: Journal, log: str, seqs: Sequence[int]) -> Evidence:
    """Sign the log, and prove events of it. Raises: JournalUnavailable."""
    signed = await journal.checkpoint(sorted({CLUSTER, log}))
    note = signed.notes[log]
    size = read_checkpoint(read_note(note).text).size

    def made(store: LogStore) -> list[dict[str, object]]:
        found: list[dict[str, object]] = []
        for seq in seqs:
            line = b"".join(read_lines(store.folder, seq, 1)).decode()
            hashes = tree.inclusion_proof(seq, size, store.read_hash)
            texts = [base64.b64encode(one).decode() for one in hashes]
            found.append({"seq": seq, "line": line, "hashes": texts})
        return found

    events = await journal.reading(log, made)
    at, cluster = signed.anchors[log], signed.notes[CLUSTER]
    cluster_size = read_checkpoint(read_note(cluster).text).size

    def anchored(store: LogStore) -> bytes:
        line = b"".join(read_lines(store.folder, at, 1))
        hashes = tree.inclusion_proof(at, cluster_size, store.read_hash)
        return encode_proof(line, at, hashes, cluster)

    proof = await journal.reading(CLUSTER, anchored)
    return Evidence(events, note.decode(), proof.decode())
