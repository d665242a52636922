"""What `hexagone keys recovery request` and `restore` do: what approvers are asked, and keys that
are written back once custodians and approvers have agreed.

Not for asking people (`gateway.cli.recovery_restore_cli`), nor for judging what comes back
(`gateway.recovery.restore`) or who has approved it (`gateway.recovery.consent`).
"""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from gateway.approvals.request import Request, request_id
from gateway.approvals.warrant import Approval, read_approval
from gateway.cli.approval_files import APPROVAL, REQUEST
from gateway.cli.client import GatewayNotRunning
from gateway.cli.recovery_acts import COMMAND, Place, about, backup_of, set_fields
from gateway.recovery import consent
from gateway.recovery.backup import ALSO, SERVICE, Manifest, read_manifest
from gateway.recovery.consent import Book, Consent, Plan, RestoreNotApproved
from gateway.recovery.folder import remember
from gateway.recovery.later import reach_of, read_later
from gateway.recovery.restore import (
    Opened,
    check_current,
    named,
    open_with,
    settled,
    would_come_back,
)
from gateway.recovery.shares import Share
from gateway.recovery.writing import place_in, write_back
from storaged.base.errors import Kind, StorageError


class GatewayRunning(StorageError):
    """A gateway is running on these keys."""

    kind = Kind.CONFLICT
    hint = "stop it, restore, and start it again; --dry-run wants nothing stopped"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What is to be restored, and where: the same for who asks and for who restores.

    Args:
        also: where other things than keys belong, by name.
        bring_back: destroyed keys that come back, as TENANT/EPOCH.
    """

    place: Place
    content: bytes
    bring_back: frozenset[str]
    also: Mapping[str, Path]

    @property
    def where(self) -> Mapping[str, Path]:
        """Places outside of the keys folder, by name."""
        return {SERVICE: self.place.service, **self.also}

    def place_of(self, name: str) -> Path:
        """Where a file of the backup belongs. Raises: BackupInvalid."""
        return place_in(self.place.keys, name, self.where)

    def plan(self) -> Plan:
        """It in terms of approvers. Raises: BackupInvalid."""
        outside = _outside(read_manifest(self.content))
        return consent.plan_of(
            self.content,
            machine=platform.node(),
            into={"keys": self.place.keys, **{name: self.place_of(name) for name in outside}},
            bring_back=self.bring_back,
            journal=0 if self.place.journal is None else reach_of(self.place.journal),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Signed:
    """The text of a request, and approvals of it."""

    text: str
    approvals: tuple[Approval, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """What a restore has done, or would do.

    Args:
        left: destroyed keys that were left out.
        needed: how many of whom have to approve it; empty where no approvers are registered.
    """

    opened: Opened
    written: list[Path]
    left: list[str]
    needed: list[str]
    consent: Consent | None


def told(found: Restored) -> dict[str, object]:
    """What is told of a restore."""
    answer = about(found.opened)
    answer |= {"written": [str(path) for path in found.written], "left_out": found.left}
    if found.consent is not None:
        answer |= {
            "request": found.consent.request.request_id,
            "approved_by": list(found.consent.approved_by),
        }
    elif found.needed:
        answer["approvals_needed"] = found.needed
    return answer


def request(wish: Wish, requester: str) -> tuple[Plan, Request]:
    """What approvers are asked about a restore. Raises: BackupInvalid, RequestInvalid."""
    plan = wish.plan()
    return plan, consent.ask(plan, requester or f"uid-{os.getuid()}", wish.place.env)


def read_signed(text: Path | None, approvals: Sequence[Path]) -> Signed | None:
    """Request and approvals from files; None: no file was named.

    Raises: RestoreNotApproved, FileUnusable.
    """
    if text is None and not approvals:
        return None
    if text is None:
        raise RestoreNotApproved(reason="the text that was signed is wanted too: --request")
    asked = REQUEST.text(text)
    return Signed(text=asked, approvals=tuple(_approval(path, asked) for path in approvals))


def _approval(path: Path, text: str) -> Approval:
    held = APPROVAL.document(path)
    of = held.pop("request", None)
    if of is None:
        raise APPROVAL.unusable(path, "it names no request")
    if of != request_id(text):
        raise RestoreNotApproved(file=path, reason="it approves another request")
    with APPROVAL.of(path):
        return read_approval(held)


def check_asked(content: bytes, signed: Signed | None) -> None:
    """Before custodians are troubled. Raises: RestoreNotApproved, BackupInvalid."""
    if signed is None and consent.has_approvers(read_manifest(content)):
        raise RestoreNotApproved(reason="approvers are registered in this backup")


def restore(
    wish: Wish,
    shares: Sequence[Share],
    signed: Signed | None,
    *,
    newer: Sequence[Path],
    without_destroyed: bool,
    dry_run: bool,
    passphrase: bytes | None,
) -> Restored:
    """Write a backup back into the keys folder; nothing is written before all is judged.

    Raises: GatewayRunning, KeyWouldComeBack, WrongShareSet, RestoreNotApproved, ApproversClosed,
    FolderTaken; as `open_with`.
    """
    place, bring_back = wish.place, wish.bring_back
    if not dry_run:
        _check_stopped(place)
    opened = open_with(wish.content, shares)
    check_current(opened, place.keys)
    manifests = [read_manifest(backup_of(path)) for path in newer]
    back = would_come_back(opened, place.keys, place.journal, manifests)
    holding = settled(
        opened, back, without_destroyed=without_destroyed, bring_back=bring_back, env=place.env
    )
    books = consent.books_of(opened.holding, wish.place_of, passphrase)
    agreed = None
    if books and (signed is not None or not dry_run):
        agreed = _agreed(wish, signed, books)
        holding = consent.with_use(holding, books, agreed, wish.plan(), place.env)
    written: list[Path] = []
    if not dry_run:
        _remember(wish, opened, agreed)
        merged = {book.name for book in books}
        written = write_back(place.keys, holding, place.env, wish.where, merged)
    return Restored(
        opened=opened,
        written=written,
        left=sorted(named(key) for key in back if named(key) not in bring_back),
        needed=consent.needed(books),
        consent=agreed,
    )


def _agreed(wish: Wish, signed: Signed | None, books: Sequence[Book]) -> Consent:
    if signed is None:
        raise RestoreNotApproved(needed="; ".join(consent.needed(books)))
    journal = wish.place.journal
    used = set() if journal is None else read_later(journal).approved
    plan, now_ms = wish.plan(), wish.place.env.now_ms()
    return consent.consent(plan, signed.text, signed.approvals, books, used=used, now_ms=now_ms)


def _remember(wish: Wish, opened: Opened, agreed: Consent | None) -> None:
    """The act for the journal of the cluster that comes back: a value there has 256 characters at
    the most, so each approval and each key that comes back is a line of its own.
    """
    place = wish.place
    fields: dict[str, str | int] = {
        **set_fields(opened.manifest.record),
        "number": opened.manifest.number,
        "used": ",".join(map(str, opened.used)),
        "uid": os.getuid(),
    }
    if wish.bring_back:
        fields["brought_back"] = ",".join(sorted(wish.bring_back))
    asked: dict[str, str | int] = {}
    if agreed is not None:
        asked["request"] = agreed.request.request_id
        fields |= {"requester": agreed.request.requester, "approvals": len(agreed.approved_by)}
    remember(place.keys, COMMAND + "restore", {**fields, **asked}, place.env)
    for name in () if agreed is None else agreed.approved_by:
        remember(place.keys, COMMAND + "approved", {**asked, "by": name}, place.env)
    for key in sorted(wish.bring_back):
        remember(place.keys, COMMAND + "bring-back", {**asked, "key": key}, place.env)


def _outside(manifest: Manifest) -> list[str]:
    """Names of what a backup has from outside of the keys folder, as also/NAME."""
    names = (name.split("/") for name, _ in manifest.files)
    return sorted({"/".join(parts[:2]) for parts in names if parts[0] == ALSO and parts[1:]})


def _check_stopped(place: Place) -> None:
    """Nobody works with the keys that are to be written. Raises: GatewayRunning."""
    try:
        used = place.client.recovery("GET", "", {}).get("keys")
    except GatewayNotRunning:
        return
    if not used or Path(str(used)).resolve() == place.keys.resolve():
        raise GatewayRunning(keys=place.keys)
