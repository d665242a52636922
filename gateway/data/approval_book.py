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
from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True, kw_only=True)
class BookPage:
    """What a book says: who approves, and which approvals were used."""

    approvers: ApproverSet
    spent: Spent

    def is_spent(self, request: Request, item: str, holder: str = "") -> bool:
        """Whether somebody else than `holder` has used a request for an item."""
        used = self.spent.get((request.nonce, item))
        return used is not None and (not holder or used[0] != holder)

    def spending(self, request: Request, item: str, holder: str, now_ms: int) -> BookPage:
        """The page with one more use. Raises: WarrantRefused: it is full."""
        dropped_ms = now_ms - SPENT_KEPT_MS
        kept = {key: used for key, used in self.spent.items() if used[1] > dropped_ms}
        if len(kept) >= SPENT_MAX:
            raise WarrantRefused(used=len(kept), reason="too many approvals are remembered")
        kept[request.nonce, item] = holder, request.expires_ms
        return BookPage(approvers=self.approvers, spent=kept)


def open_book(content: bytes, sealing_key: bytes, cluster_id: bytes, path: Path) -> BookPage:
    """What the file of a book says. `path`: for the error. Raises: ApprovalBookInvalid."""
    if content[:4] != _MAGIC or len(content) > BOOK_BYTES_MAX:
        raise ApprovalBookInvalid(path=path, file_bytes=len(content))
    try:
        opened = open_secret(sealing_key, _LABEL, enc("approvers", cluster_id), content[4:])
        held = json.loads(opened)
        return BookPage(
            approvers=read_approvers(held["approvers"].encode()),
            spent={(n, i): (holder, ms) for n, i, holder, ms in held["spent"]},
        )
    except (SealInvalid, ApproversInvalid, ValueError, KeyError, TypeError) as error:
        raise ApprovalBookInvalid(path=path, reason="it does not open") from error


def seal_book(page: BookPage, sealing_key: bytes, cluster_id: bytes, salt: bytes) -> bytes:
    """The file of a book."""
    rows = [[nonce, item, holder, ms] for (nonce, item), (holder, ms) in page.spent.items()]
    plain = json.dumps({"approvers": page.approvers.document, "spent": rows}).encode()
    return _MAGIC + seal_secret(sealing_key, _LABEL, enc("approvers", cluster_id), plain, salt)


class ApprovalBook:
    """Approvers and used approvals, in `folder/approvers.sealed`. Any thread may call.

    Args:
        sealing_key: 32 bytes that nothing else is sealed with.

    Raises (on construction): ApprovalBookInvalid.
    """

    def __init__(self, folder: Path, sealing_key: bytes, cluster_id: bytes, env: Env) -> None:
        self._path = folder / APPROVERS_FILE
        self._key = sealing_key
        self._cluster_id = cluster_id
        self._env = env
        self._lock = threading.RLock()
        self._page: BookPage | None = None  # None: nobody was registered
        self._load()

    def __repr__(self) -> str:
        return f"ApprovalBook({self._page and self._page.approvers.version})"

    def approvers(self) -> bytes:
        """The document of the set; b"" where nobody was registered."""
        return b"" if self._page is None else self._page.approvers.document.encode()

    def set_approvers(self, document: bytes, warrant: bytes = b"") -> None:
        """Register a set: the first one freely, each later one with the approvals of the present.

        Raises: ApproversInvalid, WarrantRefused, RequestInvalid.
        """
        with self._lock:
            wanted = read_approvers(document)
            page = self._page
            if page is not None and page.approvers.document.encode() == document:
                return
            if wanted.version != (1 if page is None else page.approvers.version + 1):
                raise ApproversInvalid(version=wanted.version, reason="another one comes next")
            if page is not None:
                item = approvers_item(wanted.digest)
                request = self._verified(item, warrant, page, holder=item)
                page = page.spending(request, item, item, self._env.now_ms())
            self._save(BookPage(approvers=wanted, spent=page.spent if page else {}))

    def verify(self, item: str, warrant: bytes) -> None:
        """Whether an act was approved; where nobody was registered everything is.

        Raises: WarrantRefused, RequestInvalid.
        """
        with self._lock:
            if self._page is not None:
                self._verified(item, warrant, self._page, holder="")

    def spend(self, item: str, warrant: bytes, holder: str) -> None:
        """As verify, and nobody but `holder` can use the approval for this act again.

        Durable when: it returns. Raises: as verify.
        """
        with self._lock:
            page = self._page
            if page is None:
                return
            request = self._verified(item, warrant, page, holder=holder)
            if (request.nonce, item) not in page.spent:
                self._save(page.spending(request, item, holder, self._env.now_ms()))

    def _verified(self, item: str, warrant: bytes, page: BookPage, holder: str) -> Request:
        cluster, now_ms = self._cluster_id.hex(), self._env.now_ms()
        request = verify_warrant(warrant, item, page.approvers, cluster, now_ms)
        if page.is_spent(request, item, holder):
            raise WarrantRefused(item=item, reason="the approvals were used already")
        return request

    def _load(self) -> None:
        try:
            content = self._path.read_bytes()
        except FileNotFoundError:
            return
        except OSError as error:
            raise ApprovalBookInvalid(path=self._path, reason=error.strerror) from error
        self._page = open_book(content, self._key, self._cluster_id, self._path)

    def _save(self, page: BookPage) -> None:
        salt = self._env.random_bytes(SALT_BYTES)
        sealed = seal_book(page, self._key, self._cluster_id, salt)
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        replace_file(self._path, sealed)
        self._page = page


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
