"""The parts of a proof as bytes that hold nothing twice: what `hexagone journal proof` prints.

Not for judging a proof (`gateway.journal.proofs`): either form has the same parts, and one is made
of the other without loss. The text form, a C2SP tlog-proof, is a third longer, for base64 is, and
names its log once for each signature: with ML-DSA-65 that is 6.5 KB, this is 4.7 KB.

Form: "HXP" ‖ 1 ‖ number u64 ‖ line u32 + bytes ‖ hashes u8 + 32 bytes each ‖ text of the checkpoint
u16 + bytes ‖ signatures u8, each: key name u8 + bytes (none: the origin, which is the first line of
the text) ‖ key id and signature u16 + bytes.

Source: docs/journal.md, "Format".
"""

from __future__ import annotations

from collections.abc import Sequence
from struct import Struct
from typing import NamedTuple

from gateway.journal.notes import KEY_ID_BYTES, SIGNATURES_MAX, NoteInvalid, SignedNote, read_note
from gateway.journal.tree import HASH_BYTES, LEVELS_MAX

MAGIC = b"HXP\x01"
_U8, _U16, _U32, _U64 = Struct(">B"), Struct(">H"), Struct(">I"), Struct(">Q")


class ProofParts(NamedTuple):
    """What a proof is made of; nothing of it is verified.

    Args:
        line: of the event, with its line feed.
        hashes: from the event's sibling on.
        note: the signed checkpoint.
    """

    line: bytes
    seq: int
    hashes: Sequence[bytes]
    note: bytes


def encode_dense(parts: ProofParts) -> bytes:
    """The dense form. Raises: NoteInvalid: the checkpoint is no note."""
    note = read_note(parts.note)
    text = note.text.encode()
    made = [MAGIC, _U64.pack(parts.seq), _U32.pack(len(parts.line)), parts.line]
    made += [_U8.pack(len(parts.hashes)), *parts.hashes, _U16.pack(len(text)), text]
    made.append(_U8.pack(len(note.signatures)))
    for name, signature in note.signatures:
        named = b"" if name == _origin(note.text) else name.encode()
        made += [_U8.pack(len(named)), named, _U16.pack(len(signature)), signature]
    return b"".join(made)


def read_dense(content: bytes) -> ProofParts:
    """The parts of a dense proof. Raises: NoteInvalid: it is none."""
    reader = _Reader(content)
    if reader.take(len(MAGIC)) != MAGIC:
        raise NoteInvalid(reason="no proof of an event")
    seq = reader.number(_U64)
    line = reader.take(reader.number(_U32))
    count = reader.number(_U8)
    if count > LEVELS_MAX:
        raise NoteInvalid(reason="no hashes of a proof")
    hashes = [reader.take(HASH_BYTES) for _ in range(count)]
    text = reader.text(_U16)
    signatures = [_signature(reader, text) for _ in range(reader.number(_U8))]
    if not reader.is_at_end or not text.endswith("\n") or not signatures:
        raise NoteInvalid(reason="no proof of an event")
    if len(signatures) > SIGNATURES_MAX:
        raise NoteInvalid(signatures=len(signatures), most=SIGNATURES_MAX)
    note = SignedNote(text=text, signatures=tuple(signatures)).encode()
    return ProofParts(line, seq, hashes, note)


def _signature(reader: _Reader, text: str) -> tuple[str, bytes]:
    name = reader.text(_U8) or _origin(text)
    signature = reader.take(reader.number(_U16))
    if len(signature) <= KEY_ID_BYTES:
        raise NoteInvalid(reason="an empty signature")
    return name, signature


def _origin(text: str) -> str:
    return text.partition("\n")[0]


class _Reader:
    """Bytes, read from their start. Raises (all): NoteInvalid."""

    __slots__ = ("_at", "_content")

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._at = 0

    @property
    def is_at_end(self) -> bool:
        return self._at == len(self._content)

    def take(self, length: int) -> bytes:
        taken = self._content[self._at : self._at + length]
        if len(taken) != length:
            raise NoteInvalid(reason="the proof is cut short")
        self._at += length
        return taken

    def number(self, form: Struct) -> int:
        return int(form.unpack(self.take(form.size))[0])

    def text(self, form: Struct) -> str:
        try:
            return self.take(self.number(form)).decode()
        except UnicodeDecodeError as error:
            raise NoteInvalid(reason="no UTF-8") from error
