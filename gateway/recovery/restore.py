"""Bringing keys back from a backup with a quorum of shares: judged first, then written.

Not for asking custodians for shares (`gateway.cli.recovery_cli`). Later state holds: a key that
was destroyed after the backup was made does not come back, unless somebody says so by its name.

Requirements: K-12, C7, C8.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from gateway.data.cipher import SALT_BYTES
from gateway.data.keyring import TENANTS_FILE
from gateway.recovery.backup import (
    Holding,
    KeysInvalid,
    Manifest,
    holding_of,
    open_backup,
    read_manifest,
    without_keys,
)
from gateway.recovery.folder import collect, read_recovery
from gateway.recovery.kept_epochs import KeyOf
from gateway.recovery.later import read_later
from gateway.recovery.shares import Share, WrongShareSet, join_shares
from storaged.base.env import Env
from storaged.base.errors import Kind, StorageError


class KeyWouldComeBack(StorageError):
    """The backup has keys that were destroyed after it was made."""

    kind = Kind.PRECONDITION
    hint = (
        "--without-destroyed restores all others; --bring-back TENANT/EPOCH, for each by its exact "
        "name, is for who has the right to undo an erasure"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A backup that a quorum has opened."""

    manifest: Manifest
    holding: Holding = field(repr=False)
    used: tuple[int, ...]


def open_with(content: bytes, shares: Sequence[Share]) -> Opened:
    """Open a backup with shares.

    Raises: TooFewShares, WrongShareSet, ShareInvalid (named), BackupInvalid, RecipientInvalid.
    """
    record = read_manifest(content).record
    key = join_shares(shares, record)
    manifest, holding = open_backup(content, key)
    used = tuple(sorted({share.place for share in shares}))
    return Opened(manifest=manifest, holding=holding, used=used)


def check_current(opened: Opened, keys: Path) -> None:
    """A folder that knows of a newer set of shares takes no backup of an older one. Raises:
    WrongShareSet, RecordInvalid.
    """
    try:
        current = read_recovery(keys).record
    except StorageError as error:
        if error.kind is Kind.NOT_FOUND:
            return
        raise
    is_same = current.cluster == opened.manifest.record.cluster
    if not is_same or current.set_id != opened.manifest.record.set_id:
        raise WrongShareSet(of_set=opened.manifest.record.set_id.hex(), wanted=current.set_id.hex())


def would_come_back(
    opened: Opened, keys: Path, journal: Path | None, newer: Sequence[Manifest] = ()
) -> set[KeyOf]:
    """Keys of a backup that were destroyed since, as keyring, journal and newer backups tell.

    Raises: WrongShareSet: the journal has a newer backup, for another set of shares.
    """
    destroyed: set[KeyOf] = set()
    unseen: set[KeyOf] = set()
    if journal is not None:
        later = read_later(journal)
        destroyed |= set(later.destroyed)
        if opened.manifest.is_opaque:
            # Nobody sees which keys are in it: what was destroyed after it was made may be.
            made_at_ms = opened.manifest.made_at_ms
            unseen |= {key for key, at_ms in later.destroyed.items() if at_ms >= made_at_ms}
        made_for, own = later.set_id, opened.manifest.record.set_id.hex()
        if later.number > opened.manifest.number and made_for != own:
            raise WrongShareSet(of_set=own, wanted=made_for, since_backup=later.number)
    for manifest in newer:
        if manifest.record.cluster == opened.manifest.record.cluster:
            destroyed |= manifest.destroyed
    here = keys / TENANTS_FILE
    if here.exists():
        # What is here counts if it belongs to this cluster; else writing back refuses it.
        try:
            held = holding_of({**opened.holding.files, TENANTS_FILE: here.read_bytes()})
            destroyed |= held.destroyed
        except KeysInvalid:
            pass
    return (destroyed & opened.holding.living) | unseen


def settled(
    opened: Opened,
    come_back: set[KeyOf],
    *,
    without_destroyed: bool,
    bring_back: frozenset[str],
    env: Env,
) -> Holding:
    """What is to be written. Raises: KeyWouldComeBack."""
    left = {key for key in come_back if named(key) not in bring_back}
    if left and not without_destroyed:
        raise KeyWouldComeBack(keys=", ".join(sorted(map(named, left))))
    if not left:
        return opened.holding
    if left - opened.holding.living:
        raise KeyWouldComeBack(keys=", ".join(sorted(map(named, left))), reason="it is in an HSM")
    return without_keys(opened.holding, left, env.now_ms(), env.random_bytes(SALT_BYTES))


def named(key: KeyOf) -> str:
    """As people write it: TENANT/EPOCH."""
    return f"{key[0]}/{key[1]}"


def differences(opened: Opened, keys: Path) -> list[str]:
    """Names of files that are not in the folder as they are in the backup. Raises: as `collect`."""
    recovery = read_recovery(keys)
    here = collect(keys, recovery.also).files
    names = set(here) | set(opened.holding.files)
    return sorted(name for name in names if here.get(name) != opened.holding.files.get(name))
