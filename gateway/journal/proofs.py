"""A proof that one event is in a log, that stands by itself: as text, or as fewer bytes.

Source: C2SP tlog-proof. The extra data are the event's line. Not for the bytes of the other form
(`gateway.journal.dense_proofs`).
"""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass

from gateway.journal import tree
from gateway.journal.chain import Chain, open_by_any
from gateway.journal.dense_proofs import MAGIC, ProofParts, encode_dense, read_dense
from gateway.journal.events import Entry, read_line
from gateway.journal.notes import (
    Checkpoint,
    NoteInvalid,
    VerifierKey,
    decode_base64,
    open_checkpoint,
)

FORMAT = "c2sp.org/tlog-proof@v1"
PROOF_BYTES_MAX = 512 * 1024
SUFFIX = ".tlog-proof"
_INDEX = re.compile(r"index (0|[1-9][0-9]{0,18})")


@dataclass(frozen=True, slots=True, kw_only=True)
class ProvenEvent:
    """An event and the checkpoint that it was proven under."""

    entry: Entry
    checkpoint: Checkpoint


def encode_hashes(hashes: Sequence[bytes]) -> str:
    """One line of base64 for each hash."""
    return "".join(f"{base64.b64encode(one).decode()}\n" for one in hashes)


def decode_hashes(lines: Sequence[str]) -> list[bytes]:
    """Hashes from their lines. Raises: NoteInvalid."""
    found = [decode_base64(line) for line in lines]
    if len(found) > tree.LEVELS_MAX or any(len(one) != tree.HASH_BYTES for one in found):
        raise NoteInvalid(reason="no hashes of a proof")
    return found


def encode_proof(line: bytes, index: int, hashes: Sequence[bytes], note: bytes) -> bytes:
    """The proof of an event.

    Args:
        line: of the event, with its line feed.
        note: the signed checkpoint that the proof leads to.
    """
    extra = base64.b64encode(line).decode()
    head = f"{FORMAT}\nextra {extra}\nindex {index}\n{encode_hashes(hashes)}\n"
    return head.encode() + note


def dense_proof(text: bytes) -> bytes:
    """The dense form of a proof, either form of which is given. Raises: NoteInvalid."""
    return encode_dense(_parts(text))


def open_proof(content: bytes, keys: Sequence[VerifierKey]) -> ProvenEvent:
    """The event of a proof, if all of it is right; either form is read.

    Raises: NoteInvalid, EntryInvalid, ProofInvalid.
    """
    return _opened(_parts(content), keys)


def open_proof_by(content: bytes, chain: Chain) -> ProvenEvent:
    """The event of a proof that some keys of a chain have signed; see `open_by_any`.

    Raises: NoteInvalid, EntryInvalid, ProofInvalid.
    """
    parts = _parts(content)
    _, at = open_by_any(parts.note, chain)
    return _opened(parts, chain.generations[at])


def _opened(parts: ProofParts, keys: Sequence[VerifierKey]) -> ProvenEvent:
    line, seq, hashes, note = parts
    checkpoint = open_checkpoint(note, keys)
    entry = read_line(line, seq)
    tree.check_inclusion(entry.leaf, seq, checkpoint.size, checkpoint.root, hashes)
    return ProvenEvent(entry=entry, checkpoint=checkpoint)


def _parts(content: bytes) -> ProofParts:
    if len(content) > PROOF_BYTES_MAX:
        raise NoteInvalid(proof_bytes=len(content), most=PROOF_BYTES_MAX)
    if content.startswith(MAGIC):
        return read_dense(content)
    head, gap, note = content.partition(b"\n\n")
    try:
        lines = head.decode().split("\n")
    except UnicodeDecodeError as error:
        raise NoteInvalid(reason="no UTF-8") from error
    index = _INDEX.fullmatch(lines[2]) if len(lines) >= 3 else None
    if not gap or lines[0] != FORMAT or index is None or not lines[1].startswith("extra "):
        raise NoteInvalid(reason="no proof of an event")
    line = decode_base64(lines[1].removeprefix("extra "))
    return ProofParts(line, int(index[1]), decode_hashes(lines[3:]), note)
