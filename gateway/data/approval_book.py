"""The approvers that a key provider knows, and which approvals it has seen used: a sealed file
beside its keys.

Not for what an approval is (`gateway.approvals`). The file is sealed under a key derived from the
root key, so nobody without that can add an approver. A provider of any kind has a book and asks it
before it destroys a key.

"HXA" ‖ 1 ‖ a sealed JSON object: {"approvers": document, "spent": [[nonce, item, holder, expires
ms], …]}. What was used is dropped a day after it has expired.

Source: docs/data-layout.md, "Approvers".
"""

from __future__ import annotations

import json
import threading
from pathlib import Path

from gateway.approvals.approvers import ApproverSet, ApproversInvalid, read_approvers
from gateway.approvals.request import Request, approvers_item
from gateway.approvals.warrant import WarrantRefused, verify_warrant
from gateway.data.cipher import SALT_BYTES
from gateway.data.envelope import SealInvalid, open_secret, seal_secret
from gateway.model.encoding import enc
from storaged.base.durable import replace_file
from storaged.base.env import Env
from storaged.base.errors import ConfigError

APPROVERS_FILE = "approvers.sealed"
SPENT_MAX = 100_000
BOOK_BYTES_MAX = 64 * 1024 * 1024
SPENT_KEPT_MS = 86_400_000

_MAGIC = b"HXA\x01"
_LABEL = "approvers"

Spent = dict[tuple[str, str], tuple[str, int]]
"""(nonce, item) → (who used it, when the request expires)."""


class ApprovalBookInvalid(ConfigError):
    """The file of approvers is not usable."""

    hint = "restore it from a backup of the keys folder: nothing is destroyed without it"


class ApprovalBook:
    """Approvers and used approvals, in `folder/approvers.sealed`. Any thread may call.

    Args:
        sealing_key: 32 bytes that nothing else is sealed with.

    Raises (on construction): ApprovalBookInvalid.
    """

    def __init__(self, folder: Path, sealing_key: bytes, cluster_id: bytes, env: Env) -> None:
        self._path = folder / APPROVERS_FILE
        self._key = sealing_key
        self._cluster = cluster_id.hex()
        self._context = enc("approvers", cluster_id)
        self._env = env
        self._lock = threading.RLock()
        self._approvers: ApproverSet | None = None
        self._spent: Spent = {}
        self._load()

    def __repr__(self) -> str:
        return f"ApprovalBook({self._approvers and self._approvers.version})"

    def approvers(self) -> bytes:
        """The document of the set; b"" where nobody was registered."""
        return b"" if self._approvers is None else self._approvers.document.encode()

    def set_approvers(self, document: bytes, warrant: bytes = b"") -> None:
        """Register a set: the first one freely, each later one with the approvals of the present.

        Raises: ApproversInvalid, WarrantRefused, RequestInvalid.
        """
        with self._lock:
            wanted = read_approvers(document)
            before = self._approvers
            if before is not None and before.document.encode() == document:
                return
            if wanted.version != (1 if before is None else before.version + 1):
                raise ApproversInvalid(version=wanted.version, reason="another one comes next")
            spent = self._spent
            if before is not None:
                item = approvers_item(wanted.digest)
                request = self._verified(item, warrant, before, holder=item)
                spent = self._with(request, item, item)
            self._save(wanted, spent)

    def verify(self, item: str, warrant: bytes) -> None:
        """Whether an act was approved; where nobody was registered everything is.

        Raises: WarrantRefused, RequestInvalid.
        """
        with self._lock:
            if self._approvers is not None:
                self._verified(item, warrant, self._approvers, holder="")

    def spend(self, item: str, warrant: bytes, holder: str) -> None:
        """As verify, and nobody but `holder` can use the approval for this act again.

        Durable when: it returns. Raises: as verify.
        """
        with self._lock:
            if self._approvers is None:
                return
            request = self._verified(item, warrant, self._approvers, holder=holder)
            if (request.nonce, item) not in self._spent:
                self._save(self._approvers, self._with(request, item, holder))

    def _verified(self, item: str, warrant: bytes, approvers: ApproverSet, holder: str) -> Request:
        request = verify_warrant(warrant, item, approvers, self._cluster, self._env.now_ms())
        used = self._spent.get((request.nonce, item))
        if used is not None and (not holder or used[0] != holder):
            raise WarrantRefused(item=item, reason="the approvals were used already")
        return request

    def _with(self, request: Request, item: str, holder: str) -> Spent:
        dropped_ms = self._env.now_ms() - SPENT_KEPT_MS
        kept = {key: used for key, used in self._spent.items() if used[1] > dropped_ms}
        if len(kept) >= SPENT_MAX:
            raise WarrantRefused(used=len(kept), reason="too many approvals are remembered")
        return {**kept, (request.nonce, item): (holder, request.expires_ms)}

    def _load(self) -> None:
        try:
            content = self._path.read_bytes()
        except FileNotFoundError:
            return
        except OSError as error:
            raise ApprovalBookInvalid(path=self._path, reason=error.strerror) from error
        if content[:4] != _MAGIC or len(content) > BOOK_BYTES_MAX:
            raise ApprovalBookInvalid(path=self._path, file_bytes=len(content))
        try:
            held = json.loads(open_secret(self._key, _LABEL, self._context, content[4:]))
            self._approvers = read_approvers(held["approvers"].encode())
            self._spent = {(n, i): (holder, ms) for n, i, holder, ms in held["spent"]}
        except (SealInvalid, ApproversInvalid, ValueError, KeyError, TypeError) as error:
            raise ApprovalBookInvalid(path=self._path, reason="it does not open") from error

    def _save(self, approvers: ApproverSet, spent: Spent) -> None:
        rows = [[nonce, item, holder, ms] for (nonce, item), (holder, ms) in spent.items()]
        plain = json.dumps({"approvers": approvers.document, "spent": rows}).encode()
        salt = self._env.random_bytes(SALT_BYTES)
        sealed = seal_secret(self._key, _LABEL, self._context, plain, salt)
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        replace_file(self._path, _MAGIC + sealed)
        self._approvers, self._spent = approvers, spent


class KeepsApprovers:
    """What a provider with a book does as a `WarrantKeeper`."""

    _book: ApprovalBook

    @property
    def book(self) -> ApprovalBook:
        """The book itself."""
        return self._book

    def keep_book(self, book: ApprovalBook) -> None:
        """Use the book of another provider of the same folder from here on."""
        self._book = book

    def approvers(self) -> bytes:
        """The document of the set of approvers; see the port."""
        return self._book.approvers()

    def set_approvers(self, document: bytes, warrant: bytes = b"") -> None:
        """Register a set of approvers; see the port."""
        self._book.set_approvers(document, warrant)

    def spend_warrant(self, item: str, warrant: bytes, holder: str) -> None:
        """Use approvals for an act of somebody else; see the port."""
        self._book.spend(item, warrant, holder)
