"""What approvers say to a restore: what they are asked, and whether they have said yes.

Not for opening a backup, which custodians do. Where approvers are registered in a backup, their
signatures are wanted as well: under a text that names the backup, what it is restored into, and
each destroyed key that comes back. It is this program that wants them. Whoever has a quorum of
shares and writes a program of his own needs nobody's approval (docs/recovery.md).

Who approves is said by the book in the backup, or by the one that is still there if that is newer.
An approved request is used once: the book that is written back says so, and the journal.

Requirements: K-12, C8. Source: docs/recovery.md, "Approvals".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path

from gateway.approvals.approvers import ApproverSet
from gateway.approvals.request import NONCE_BYTES, Act, Request, day, name_check, read_request
from gateway.approvals.warrant import (
    Approval,
    WarrantRefused,
    encode_warrant,
    verify_warrant,
)
from gateway.data.approval_book import (
    APPROVERS_FILE,
    BOOK_BYTES_MAX,
    ApprovalBookInvalid,
    BookPage,
    open_book,
    seal_book,
)
from gateway.data.cipher import SALT_BYTES
from gateway.data.keyring import ROOT_FILE
from gateway.model.encoding import enc
from gateway.recovery.backup import (
    PASSPHRASE,
    PLACES,
    SERVICE_FILE,
    Holding,
    Manifest,
    read_manifest,
)
from gateway.recovery.writing import FolderTaken
from storaged.base.env import Env
from storaged.base.errors import Kind, StorageError

LIFETIME_MS = 7 * 86_400_000
_USED = "the approvals were used already"
_HOLDER = "restore"
_JOURNAL = "journal/"


class RestoreNotApproved(StorageError):
    """This restore was not approved by as many as have to."""

    kind = Kind.DENIED
    hint = (
        "`hexagone keys recovery request` with the same options writes what approvers sign; then "
        "restore with --request and an --approval of each"
    )


class ApproversClosed(StorageError):
    """Who approves cannot be read in this backup."""

    kind = Kind.DENIED
    hint = "--keyd-passphrase FILE: what the key service's secret is sealed under"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A restore, as approvers are asked about it.

    Args:
        digest: SHA-256 of the whole backup, as hex.
        machine: name of the machine.
        into: (what, where on the machine): the keys folder, and other places.
        bring_back: destroyed keys that come back, as TENANT/EPOCH.
        journal: how many events the journal has that tells what was destroyed since; 0: there is
            none.
    """

    manifest: Manifest
    digest: str
    machine: str
    into: tuple[tuple[str, Path], ...]
    bring_back: frozenset[str]
    journal: int

    @property
    def backup_item(self) -> str:
        """What allows to restore this backup."""
        return f"backup/{self.digest}"

    @property
    def items(self) -> tuple[str, ...]:
        """Everything that has to be approved, and nothing else may be."""
        places = (part for name, path in self.into for part in (name, str(path)))
        into = sha256(enc("restore-into", self.machine, *places)).hexdigest()
        back = (f"bring-back/{key}" for key in sorted(self.bring_back))
        journal = f"journal/{self.journal}" if self.journal else "without/journal"
        return self.backup_item, f"into/{into}", journal, *back

    @property
    def name(self) -> str:
        """What an approver types who was told of the restore."""
        return f"backup/{self.manifest.number}"

    @property
    def about(self) -> str:
        """What he reads."""
        made, living = day(self.manifest.made_at_ms), len(self.manifest.living)
        into = ", ".join(f"{name} into {path}" for name, path in self.into)
        told = (
            f"a journal of {self.journal} events or more tells" if self.journal else "nobody tells"
        )
        return (
            f"backup {self.manifest.number} of {made} with {living} keys of tenants, on "
            f"{self.machine}: {into}; {told} which were destroyed since"
        )

    def at_least(self, request: Request) -> Plan:
        """The plan of a request that was made when the journal had fewer events."""
        names = [one.removeprefix(_JOURNAL) for one in request.permits if one.startswith(_JOURNAL)]
        had = next((int(name) for name in names if name.isdigit() and len(name) < 19), 0)
        return replace(self, journal=had) if 0 < had <= self.journal else self


def plan_of(
    content: bytes,
    *,
    machine: str,
    into: Mapping[str, Path],
    bring_back: frozenset[str],
    journal: int,
) -> Plan:
    """What restoring a backup means. Raises: BackupInvalid."""
    return Plan(
        manifest=read_manifest(content),
        digest=sha256(content).hexdigest(),
        machine=machine,
        into=tuple(sorted((name, path.absolute()) for name, path in into.items())),
        bring_back=bring_back,
        journal=journal,
    )


def has_approvers(manifest: Manifest) -> bool:
    """Whether approvers were registered when a backup was made."""
    names = {name for name, _ in manifest.files}
    return any(place + APPROVERS_FILE in names for place in PLACES)


def ask(plan: Plan, requester: str, env: Env) -> Request:
    """The request for a restore. Raises: RequestInvalid."""
    now_ms, nonce = env.now_ms(), env.random_bytes(NONCE_BYTES).hex()
    return Request(
        act=Act.RESTORE_KEYS,
        cluster=plan.manifest.record.cluster.hex(),
        about=plan.about,
        name_check=name_check(nonce, plan.name),
        objects=0,
        size_bytes=0,
        requester=requester,
        created_ms=now_ms,
        not_before_ms=now_ms,
        expires_ms=now_ms + LIFETIME_MS,
        nonce=nonce,
        permits=plan.items,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Book:
    """Approvers that have to be asked.

    Args:
        name: of their file in the backup.
        is_unfinished: it may have been written by a restore that has died since.
    """

    name: str
    key: bytes = field(repr=False)
    page: BookPage
    is_unfinished: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Consent:
    """A request that was approved."""

    request: Request
    approved_by: tuple[str, ...]


def books_of(
    holding: Holding, place_of: Callable[[str], Path], passphrase: bytes | None = None
) -> list[Book]:
    """The books of a backup, or what is newer of each where it is still there.

    Args:
        place_of: where a file of the backup belongs. passphrase: of the key service's secret.

    Raises: ApproversClosed, ApprovalBookInvalid, FolderTaken, KeysInvalid, OSError.
    """
    if passphrase is not None:
        holding = replace(holding, files={**holding.files, PASSPHRASE: passphrase})
    keys = holding.sealing_keys("approvers")
    found = []
    for place in PLACES:
        name = place + APPROVERS_FILE
        path, content = place_of(name), holding.files.get(name)
        if place not in keys:
            is_closed = place + SERVICE_FILE in holding.files and path.exists()
            if content is not None or is_closed:
                raise ApproversClosed(file=name)
            continue
        pages = []
        if content is not None:
            pages.append(open_book(content, keys[place], holding.cluster, Path(name)))
        if path.exists():
            pages.append(_still_there(path, keys[place], holding.cluster))
        if pages:
            book = Book(
                name=name,
                key=keys[place],
                page=_newest(pages),
                is_unfinished=not place_of(ROOT_FILE).exists(),  # it is written last
            )
            found.append(book)
    return found


def _still_there(path: Path, key: bytes, cluster: bytes) -> BookPage:
    with path.open("rb") as file:
        content = file.read(BOOK_BYTES_MAX + 1)
    try:
        return open_book(content, key, cluster, path)
    except ApprovalBookInvalid as error:
        raise FolderTaken(path=path) from error


def _newest(pages: Sequence[BookPage]) -> BookPage:
    newest = max(pages, key=lambda page: page.approvers.version)
    spent = {key: used for page in pages for key, used in page.spent.items()}
    return replace(newest, spent=spent)


def consent(
    plan: Plan,
    text: str,
    approvals: Sequence[Approval],
    books: Sequence[Book],
    *,
    used: set[str],
    now_ms: int,
) -> Consent:
    """Whether a restore was approved, by the approvers of every book.

    Args:
        text: the request. used: ids of requests that the journal knows to be used.

    Raises: RestoreNotApproved.
    """
    try:
        request = read_request(text)
        plan = plan.at_least(request)
        _check_items(request, plan)
        if request.about != plan.about or not request.is_about(plan.name):
            raise WarrantRefused(reason="its words are about something else")
        warrant = encode_warrant(text, approvals)
        for book in books:
            for item in plan.items:
                cluster = plan.manifest.record.cluster.hex()
                verify_warrant(warrant, item, book.page.approvers, cluster, now_ms)
            holder = _HOLDER if book.is_unfinished else ""
            if book.page.is_spent(request, plan.backup_item, holder):
                raise WarrantRefused(reason=_USED)
        if request.request_id in used:
            raise WarrantRefused(reason=_USED)
    except StorageError as error:
        raise RestoreNotApproved(**error.fields) from error
    return Consent(request=request, approved_by=tuple(sorted(one.name for one in approvals)))


def _check_items(request: Request, plan: Plan) -> None:
    if request.act is not Act.RESTORE_KEYS or plan.backup_item not in request.permits:
        raise WarrantRefused(reason="another backup was approved")
    if plan.items[1] not in request.permits:
        raise WarrantRefused(reason="to restore it into another place was approved")
    if plan.items[2] not in request.permits:
        raise WarrantRefused(reason="it was approved with a journal of more events, or with none")
    if set(request.permits) != set(plan.items):
        raise WarrantRefused(reason="other keys were approved to come back")


def with_use(
    holding: Holding, books: Sequence[Book], consented: Consent, plan: Plan, env: Env
) -> Holding:
    """What is written back, with books that say that the approvals were used.

    Raises: WarrantRefused: a book is full.
    """
    files = dict(holding.files)
    for book in books:
        page = book.page.spending(consented.request, plan.backup_item, _HOLDER, env.now_ms())
        salt = env.random_bytes(SALT_BYTES)
        files[book.name] = seal_book(page, book.key, holding.cluster, salt)
    return replace(holding, files=files)


def needed(books: Sequence[Book]) -> list[str]:
    """For people: how many of whom have to approve."""
    return [_needed(book.page.approvers) for book in books]


def _needed(approvers: ApproverSet) -> str:
    names = ", ".join(sorted(one.name for one in approvers.approvers))
    return f"{approvers.threshold} of {names}"
