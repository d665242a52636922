"""Who may approve what cannot be taken back: named people with an Ed25519 key each, and how many
of them have to.

Not for verifying an approval (`gateway.approvals.warrant`). Pure: the document is text in one form
only, so that its hash names it.

Source: docs/erasure.md, "Approvals".
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from hashlib import sha256

from storaged.base.errors import Kind, StorageError

APPROVERS_MAX = 16
THRESHOLD_MIN = 2
PUBLIC_BYTES = 32
DOCUMENT_BYTES_MAX = 4096
NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")

_HEAD = "hexagone approvers v1"
_NUMBER = re.compile(r"[1-9][0-9]{0,8}")
_KIND = "ed25519:"


class ApproversInvalid(StorageError):
    """The set of approvers is not usable."""

    kind = Kind.INVALID
    hint = "two approvals at least, each approver with a name and a key of his own"


@dataclass(frozen=True, slots=True, kw_only=True)
class Approver:
    """Somebody who may approve. `public`: 32 bytes of an Ed25519 key."""

    name: str
    public: bytes

    @property
    def text(self) -> str:
        """As it is handed over: NAME ed25519:BASE64."""
        return f"{self.name} {_KIND}{base64.b64encode(self.public).decode()}"


def read_approver(text: str) -> Approver:
    """An approver from its text. Raises: ApproversInvalid."""
    name, _, key = text.strip().partition(" ")
    if not NAME.fullmatch(name) or not key.startswith(_KIND):
        raise ApproversInvalid(reason="NAME ed25519:KEY is wanted, as `approver keygen` prints it")
    try:
        public = base64.b64decode(key.removeprefix(_KIND), validate=True)
    except (ValueError, binascii.Error) as error:
        raise ApproversInvalid(approver=name, reason="the key is no base64") from error
    if len(public) != PUBLIC_BYTES:
        raise ApproversInvalid(approver=name, key_bytes=len(public))
    return Approver(name=name, public=public)


@dataclass(frozen=True, slots=True, kw_only=True)
class ApproverSet:
    """All who may approve; `threshold` of them have to. `version`: 1 is the first set.

    Raises (on construction): ApproversInvalid.
    """

    version: int
    threshold: int
    approvers: tuple[Approver, ...]

    def __post_init__(self) -> None:
        count = len(self.approvers)
        if count > APPROVERS_MAX:
            raise ApproversInvalid(approvers=count, most=APPROVERS_MAX)
        if not THRESHOLD_MIN <= self.threshold <= count:
            raise ApproversInvalid(threshold=self.threshold, least=THRESHOLD_MIN, approvers=count)
        names = {one.name for one in self.approvers}
        keys = {one.public for one in self.approvers}
        if len(names) != count or len(keys) != count:
            raise ApproversInvalid(reason="a name or a key is there twice")

    @property
    def document(self) -> str:
        """The set as text, in its one form."""
        ordered = sorted(self.approvers, key=lambda one: one.name)
        lines = (_HEAD, f"version: {self.version}", f"threshold: {self.threshold}")
        return "".join(f"{line}\n" for line in (*lines, *(f"approver: {a.text}" for a in ordered)))

    @property
    def digest(self) -> str:
        """SHA-256 of the document, as hex: what a request to change to it names."""
        return sha256(self.document.encode()).hexdigest()

    def find(self, name: str) -> Approver | None:
        """The approver of a name."""
        return next((one for one in self.approvers if one.name == name), None)


def read_approvers(document: bytes) -> ApproverSet:
    """A set from its document. Raises: ApproversInvalid."""
    if len(document) > DOCUMENT_BYTES_MAX:
        raise ApproversInvalid(document_bytes=len(document), most=DOCUMENT_BYTES_MAX)
    try:
        lines = document.decode("ascii").split("\n")
    except UnicodeDecodeError as error:
        raise ApproversInvalid(reason="no plain text") from error
    if len(lines) < 4 or lines[0] != _HEAD:
        raise ApproversInvalid(reason="no set of approvers")
    found = ApproverSet(
        version=_number(lines[1], "version: "),
        threshold=_number(lines[2], "threshold: "),
        approvers=tuple(read_approver(line.removeprefix("approver: ")) for line in lines[3:-1]),
    )
    if found.document.encode() != document:
        raise ApproversInvalid(reason="not in its one form")
    return found


def _number(line: str, before: str) -> int:
    text = line.removeprefix(before)
    if not line.startswith(before) or not _NUMBER.fullmatch(text):
        raise ApproversInvalid(reason=f"{before.strip()} is wanted")
    return int(text)
