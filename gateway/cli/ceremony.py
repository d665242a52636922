"""The transcript of a key ceremony: who was there, what was done, in which order.

Not for doing it (`gateway.cli.recovery_cli`). Each line holds the SHA-256 of the line before it;
the digest of the last one goes into the journal, so that the paper that the witnesses have signed,
the file and the journal say the same. No share and no key is in it. Requirement: K-17.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

from gateway.journal.events import LOG_NAME, EntryInvalid, read_line
from gateway.journal.shelf import LOGS
from gateway.journal.store import segments_of
from gateway.terminal.user_files import FileKind
from storaged.base.durable import replace_file
from storaged.base.env import Env
from storaged.base.errors import Kind, StorageError

TRANSCRIPT_BYTES_MAX = 1 << 20
TRANSCRIPT = FileKind(
    bytes_max=TRANSCRIPT_BYTES_MAX,
    hint="`hexagone keys recovery ceremony … --transcript FILE` writes it",
)
FORM = "hexagone-ceremony/1"
EVENT = "recovery.ceremony"
_FIRST = "0" * 64


class TranscriptBroken(StorageError):
    """The transcript is not as it was written."""

    kind = Kind.CORRUPT
    hint = "compare its digest with the one that the witnesses have signed, and with the journal"


class Transcript:
    """Lines as they are added; `head` names all of them."""

    def __init__(self, env: Env) -> None:
        self._env = env
        self._lines: list[bytes] = []
        self.head = _FIRST

    def add(self, what: str, about: Mapping[str, object]) -> None:
        """Another step."""
        line = {
            "form": FORM,
            "number": len(self._lines) + 1,
            "at_ms": self._env.now_ms(),
            "what": what,
            "about": dict(about),
            "previous": self.head,
        }
        encoded = json.dumps(line, sort_keys=True).encode("ascii")
        self._lines.append(encoded)
        self.head = sha256(encoded).hexdigest()

    def write(self, path: Path) -> None:
        """Keep it, durably. Raises: OSError."""
        replace_file(path, b"".join(line + b"\n" for line in self._lines), mode=0o644)


def read_transcript(path: Path) -> tuple[list[dict[str, Any]], str]:
    """The steps and the digest of the last one. Raises: TranscriptBroken, FileUnusable."""
    content = TRANSCRIPT.read(path)
    *lines, rest = content.split(b"\n")
    previous, steps = _FIRST, []
    if rest or not lines:
        raise TranscriptBroken(reason="cut short")
    for number, line in enumerate(lines, 1):
        try:
            step = json.loads(line)
            is_next = step["number"] == number and step["previous"] == previous
            is_ours = step["form"] == FORM and isinstance(step["what"], str)
        except (KeyError, TypeError, ValueError, RecursionError) as error:
            raise TranscriptBroken(line=number) from error
        if not is_next or not is_ours:
            raise TranscriptBroken(line=number)
        previous = sha256(line).hexdigest()
        steps.append(step)
    return steps, previous


def is_in_journal(journal: Path, head: str) -> bool:
    """Whether a journal, or an export of one, has the digest of a transcript. Raises: OSError."""
    wanted = head.encode("ascii")
    logs = journal / LOGS
    for folder in sorted(logs.iterdir()) if logs.is_dir() else []:
        if not LOG_NAME.fullmatch(folder.name):
            continue
        for first, path in segments_of(folder):
            with path.open("rb") as file:
                for seq, line in enumerate(file, first):
                    if wanted in line and _tells(line, seq, head):
                        return True
    return False


def _tells(line: bytes, seq: int, head: str) -> bool:
    try:
        entry = read_line(line, seq)
    except EntryInvalid:
        return False
    return entry.type.endswith(EVENT) and entry.body.get("transcript") == head
