"""Files that whoever verifies a journal brings along: public keys, their chain, checkpoints.

Not for what is right in them (`gateway.journal.chain`, `gateway.journal.notes`), nor for exports.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from gateway.journal.chain import CHAIN_BYTES_MAX, KEYS_BYTES_MAX, Chain, read_chain, read_keys
from gateway.journal.notes import NOTE_BYTES_MAX, VerifierKey, read_note
from gateway.terminal.user_files import FileKind

KEYS = FileKind(
    bytes_max=KEYS_BYTES_MAX,
    hint="`hexagone journal keys > FILE` writes it; get it from the operator by a way of its own",
)
CHAIN = FileKind(bytes_max=CHAIN_BYTES_MAX, hint="`hexagone journal keys --chain > FILE` writes it")
CHECKPOINT = FileKind(
    bytes_max=NOTE_BYTES_MAX, hint="`hexagone journal checkpoint > FILE` writes it"
)


def journal_keys(path: Path) -> list[VerifierKey]:
    """Public keys of a journal. Raises: FileUnusable."""
    with KEYS.of(path):
        return read_keys(KEYS.read(path))


def key_chain(path: Path) -> Chain:
    """The keys that have followed each other. Raises: FileUnusable."""
    with CHAIN.of(path):
        return read_chain(CHAIN.read(path))


def kept_checkpoints(paths: Iterable[Path]) -> list[bytes]:
    """Checkpoints that somebody has kept. Raises: FileUnusable: one of them is none."""
    notes = []
    for path in paths:
        with CHECKPOINT.of(path):
            notes.append(CHECKPOINT.read(path))
            read_note(notes[-1])
    return notes
