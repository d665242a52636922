"""A witness: sees that a log only grows, and puts its name under what it has seen.

It keeps one thing of each log: the last checkpoint it has cosigned. Two checkpoints of one log that
do not follow from each other are never both cosigned by it, so who asks for its cosignature cannot
show one history to one reader and another to the next, nor go back to an older one.

Source: C2SP tlog-witness, tlog-cosignature. Requests and answers are theirs; how they travel is
not part of this module.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from gateway.journal import tree
from gateway.journal.notes import (
    NOTE_BYTES_MAX,
    Checkpoint,
    NoteInvalid,
    SignerKey,
    VerifierKey,
    cosignature_line,
    open_checkpoint,
)
from gateway.journal.proofs import decode_hashes
from storaged.base.errors import Kind, StorageError

REQUEST_BYTES_MAX = NOTE_BYTES_MAX + 64 * 64
_OLD = re.compile(r"old (0|[1-9][0-9]{0,18})")


class WitnessRefused(StorageError):
    """The witness does not cosign this checkpoint."""

    kind = Kind.CONFLICT


@dataclass(frozen=True, slots=True, kw_only=True)
class WitnessRequest:
    """What a log asks: that the checkpoint follows from its own at `old`."""

    old: int
    hashes: tuple[bytes, ...]
    note: bytes


def read_request(content: bytes) -> WitnessRequest:
    """A request from its bytes. Raises: NoteInvalid."""
    if len(content) > REQUEST_BYTES_MAX:
        raise NoteInvalid(request_bytes=len(content), most=REQUEST_BYTES_MAX)
    head, gap, note = content.partition(b"\n\n")
    try:
        lines = head.decode().split("\n")
    except UnicodeDecodeError as error:
        raise NoteInvalid(reason="no UTF-8") from error
    old = _OLD.fullmatch(lines[0])
    if not gap or old is None:
        raise NoteInvalid(reason="no request to a witness")
    return WitnessRequest(old=int(old[1]), hashes=tuple(decode_hashes(lines[1:])), note=note)


def judge(
    request: WitnessRequest, seen: Checkpoint | None, keys: Sequence[VerifierKey]
) -> Checkpoint:
    """The checkpoint that may be cosigned, and has to be kept before it is.

    Args:
        seen: the last one cosigned of this log, None before the first.
        keys: of the log.

    Raises:
        NoteInvalid: not signed by the log.
        WitnessRefused: it does not follow from what was seen.
    """
    checkpoint = open_checkpoint(request.note, keys)
    if checkpoint.origin != keys[0].name:
        raise WitnessRefused(reason=f"{checkpoint.origin} is not known here")
    known = 0 if seen is None else seen.size
    if request.old != known or checkpoint.size < known:
        raise WitnessRefused(reason=f"size {known} was seen last", asked=request.old)
    old_root = tree.EMPTY_ROOT if seen is None else seen.root
    try:
        tree.check_consistency(
            old=known,
            old_root=old_root,
            size=checkpoint.size,
            root=checkpoint.root,
            proof=request.hashes,
        )
    except tree.ProofInvalid as error:
        raise WitnessRefused(reason=f"another history than at size {known}") from error
    return checkpoint


def cosign(
    request: WitnessRequest, checkpoint: Checkpoint, *, key: SignerKey, name: str, at_s: int
) -> bytes:
    """The checkpoint's note with the witness's line under it."""
    return request.note + cosignature_line(key, name, checkpoint.text, at_s).encode()
