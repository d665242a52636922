"""A key service on its way from a sealed file to an HSM: both are open, and each key is used where
it is; what is made from here on is made in the token.

No key goes from the one to the other. A tenant's key gets its next epoch in the token, and what is
under the older ones, in the file, is wrapped anew by rotations, as always. A named key gets a
counterpart of its name in the token: what the one does not open the other does. The older epochs
are destroyed as any others are. When no key is left in the file, the record of the token says which
epochs are gone, that is read back, and the file is removed. Interrupted anywhere, the next start
goes on.

Source: docs/hsm.md, "Moving to one".
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gateway.data.approval_book import KeepsApprovers
from gateway.data.envelope import (
    NAME_BYTES_MAX,
    KeyChangeRefused,
    KeyProvider,
    NamedKeyMissing,
    SealInvalid,
    TenantKeyDisabled,
    TenantKeyMissing,
)
from gateway.data.keyring import TENANTS_FILE, FileKeyring
from gateway.data.named_form import newest_active
from gateway.keyd.pkcs11_keyring import Pkcs11Keyring
from gateway.keyd.pkcs11_record import both_parts, parts_of
from gateway.model.key_states import FIRST_EPOCH, REFUSING, KeyEpoch, KeyState
from storaged.base.durable import sync_directory
from storaged.base.log import Log

TOLD_BYTES_MAX = 512 * 1024  # of one status
NAMES_TOLD_MAX = 100  # of one tenant

_LOG = Log("gateway.keyd")


class MovingKeyring(KeepsApprovers):
    """`KeyProvider` over a sealed file and a token. Any thread may call.

    Args:
        folder: where the file is; `also` are files in it that go with it.
        read_again: the token's keyring, from its folder.
    """

    def __init__(
        self,
        folder: Path,
        old: FileKeyring,
        new: Pkcs11Keyring,
        *,
        also: tuple[str, ...],
        read_again: Callable[[], Pkcs11Keyring],
    ) -> None:
        self._folder = folder
        self._old = old
        self._new = new
        self._also = also
        self._read_again = read_again
        self._lock = threading.RLock()
        self._book = new.book
        old.keep_book(new.book)  # one for both: an approval is used once
        old.is_elsewhere = self._is_moved  # what was destroyed here does not come back by a copy

    def __repr__(self) -> str:
        return f"MovingKeyring({self._old!r}, {self._new!r})"

    def begin(self) -> None:
        """As `Pkcs11Keyring.begin`; and do the rest of a move that is over."""
        self._new.begin()
        self._end_if_empty()

    # Where keys are

    def move_status(self) -> dict[str, Any]:
        """Keys that are in the file still, by tenant: epochs of his key, names of his others, and
        how many of these wait for a counterpart; of as many as TOLD_BYTES_MAX has room for.
        """
        told: dict[str, Any] = {}
        count = size_bytes = 0
        for tenant in self._old.tenants():
            held = self._living_here(tenant)
            if not held:
                continue
            count += 1
            names = self._old.named_keys(tenant)
            waiting = [one for one in names if not self._new.has_named_key(tenant, one)]
            one = {
                "epochs": [about.epoch for about in held],
                "names": (waiting or names)[:NAMES_TOLD_MAX],
                "waiting": len(waiting),
            }
            size_bytes += len(json.dumps(one)) + len(tenant.hex())
            if size_bytes <= TOLD_BYTES_MAX:
                told[tenant.hex()] = one
        return {"from": "file", "tenants": count, "left": told}

    def _living_here(self, tenant_id: bytes) -> list[KeyEpoch]:
        """Of the file, what the token's record does not know better."""
        held = self._living(self._old, tenant_id)
        return [about for about in held if not self._is_moved(tenant_id, about.epoch)]

    def _living(self, keyring: FileKeyring | Pkcs11Keyring, tenant_id: bytes) -> list[KeyEpoch]:
        held = keyring.tenant_epochs(tenant_id)
        return [about for about in held if about.state is not KeyState.DESTROYED]

    def _is_moved(self, tenant_id: bytes, epoch: int) -> bool:
        return any(about.epoch == epoch for about in self._new.tenant_epochs(tenant_id))

    def _keeper(self, tenant_id: bytes, epoch: int) -> KeyProvider:
        return self._new if self._is_moved(tenant_id, epoch) else self._old

    # Making

    def create_tenant_key(self, tenant_id: bytes) -> None:
        """Make the tenant's key, in the token, unless it is there; see the port."""
        with self._lock:
            if not self._old.tenant_epochs(tenant_id):
                self._new.create_tenant_key(tenant_id)

    def create_named_key(self, tenant_id: bytes, name: str) -> None:
        """Make a named key in the token unless it is there; see the port. One of the file gets its
        counterpart by that, of its newest epoch, and seals nothing more.
        """
        self.active_epoch(tenant_id)
        assert 1 <= len(name.encode()) <= NAME_BYTES_MAX
        with self._lock:
            if not newest_active(self._new.named_epochs(tenant_id, name)):
                held = self.named_epochs(tenant_id, name)
                epoch = newest_active(held) or FIRST_EPOCH
                self._new.bring_key(tenant_id, name, epoch, KeyState.ACTIVE)
                if held and held[-1].state is KeyState.PENDING:  # of a rotation that has just begun
                    self._new.bring_key(tenant_id, name, held[-1].epoch, KeyState.PENDING)

    def add_named_epoch(self, tenant_id: bytes, name: str) -> int:
        """A pending epoch of a named key, in the token; see the port."""
        with self._lock:
            if self._new.named_epochs(tenant_id, name):
                return self._new.add_named_epoch(tenant_id, name)
            held = self._old.named_epochs(tenant_id, name)
            if not self._old.has_named_key(tenant_id, name):
                raise NamedKeyMissing(tenant=tenant_id.hex(), name=name)
            if held[-1].state is KeyState.PENDING:
                return held[-1].epoch
            self._new.bring_key(tenant_id, name, held[-1].epoch + 1, KeyState.PENDING)
            return held[-1].epoch + 1

    def add_tenant_epoch(self, tenant_id: bytes) -> int:
        """A pending epoch of the tenant's key, in the token; see the port."""
        with self._lock:
            held = self.tenant_epochs(tenant_id)
            if not held:
                raise TenantKeyMissing(tenant=tenant_id.hex())
            if self._is_moved(tenant_id, held[-1].epoch):
                return self._new.add_tenant_epoch(tenant_id)
            self._new.bring_key(tenant_id, "", held[-1].epoch + 1, KeyState.PENDING)
            return held[-1].epoch + 1

    # States

    def tenant_epochs(self, tenant_id: bytes) -> list[KeyEpoch]:
        """Epochs of the tenant's key; see the port."""
        found = {about.epoch: about for about in self._old.tenant_epochs(tenant_id)}
        found |= {about.epoch: about for about in self._new.tenant_epochs(tenant_id)}
        return [found[epoch] for epoch in sorted(found)]

    def named_epochs(self, tenant_id: bytes, name: str) -> list[KeyEpoch]:
        """Epochs of a named key; see the port. The one of the file that has its counterpart in the
        token is one with it.
        """
        found = {about.epoch: about for about in self._old.named_epochs(tenant_id, name)}
        found |= {about.epoch: about for about in self._new.named_epochs(tenant_id, name)}
        return [found[epoch] for epoch in sorted(found)]

    def set_named_epoch(
        self, tenant_id: bytes, name: str, epoch: int, state: KeyState, warrant: bytes = b""
    ) -> None:
        """Change the state of an epoch of a named key; see the port. One that is in the file goes
        with the file and is not destroyed before.
        """
        with self._lock:
            keepers = [
                keeper
                for keeper in (self._old, self._new)
                for about in keeper.named_epochs(tenant_id, name)
                if about.epoch == epoch and about.state is not KeyState.DESTROYED
            ]
            if not keepers:
                raise NamedKeyMissing(tenant=tenant_id.hex(), name=name, epoch=epoch)
            if state is KeyState.DESTROYED and keepers[0] is self._old:
                raise KeyChangeRefused(
                    wanted=state.value, reason="it goes with the file: `hexagone keys move`"
                )
            for keeper in keepers:
                keeper.set_named_epoch(tenant_id, name, epoch, state, warrant)

    def active_epoch(self, tenant_id: bytes) -> int:
        """The epoch that wraps; see the port."""
        held = self.tenant_epochs(tenant_id)
        active = [about.epoch for about in held if about.state is KeyState.ACTIVE]
        if not active:
            raise TenantKeyMissing(tenant=tenant_id.hex())
        return active[-1]

    def set_tenant_epoch(
        self, tenant_id: bytes, epoch: int, state: KeyState, warrant: bytes = b""
    ) -> None:
        """Change the state of an epoch; see the port. The last one in the file takes the named keys
        along that are there: each has to have its counterpart before.
        """
        with self._lock:
            is_moved = self._is_moved(tenant_id, epoch)
            if state is KeyState.DESTROYED:
                self._refuse_last(tenant_id, epoch, is_moved=is_moved)
            keeper = self._new if is_moved else self._old
            keeper.set_tenant_epoch(tenant_id, epoch, state, warrant)
            if state is KeyState.DESTROYED:
                self._end_if_empty()

    def _refuse_last(self, tenant_id: bytes, epoch: int, *, is_moved: bool) -> None:
        here, there = (self._new, self._old) if is_moved else (self._old, self._new)
        living = self._living(here, tenant_id)
        in_use = [one for one in self._living(there, tenant_id) if one.state not in REFUSING]
        if [about.epoch for about in living] != [epoch] or not in_use:
            return  # others hold the named keys; or the tenant as a whole is being erased
        names = set(here.named_keys(tenant_id)) - set(there.named_keys(tenant_id))
        if names:
            reason = "named keys would go with it: `hexagone keys move` first"
            raise KeyChangeRefused(was=living[0].state.value, names=len(names), reason=reason)

    # Wrapping

    def wrap_bucket_key(
        self,
        tenant_id: bytes,
        bucket_id: bytes,
        epoch: int,
        key: bytes,
        tenant_epoch: int = FIRST_EPOCH,
    ) -> bytes:
        """Wrap a bucket key under the tenant's key; see the port."""
        keeper = self._keeper(tenant_id, tenant_epoch)
        return keeper.wrap_bucket_key(tenant_id, bucket_id, epoch, key, tenant_epoch)

    def unwrap_bucket_key(
        self,
        tenant_id: bytes,
        bucket_id: bytes,
        epoch: int,
        wrapped: bytes,
        tenant_epoch: int = FIRST_EPOCH,
    ) -> bytes:
        """The bucket key; see the port."""
        keeper = self._keeper(tenant_id, tenant_epoch)
        return keeper.unwrap_bucket_key(tenant_id, bucket_id, epoch, wrapped, tenant_epoch)

    def has_named_key(self, tenant_id: bytes, name: str) -> bool:
        """Whether there is a key of that name; see the port."""
        return self._new.has_named_key(tenant_id, name) or self._old.has_named_key(tenant_id, name)

    def named_keys(self, tenant_id: bytes) -> list[str]:
        """Names of the tenant's keys; see the port."""
        return sorted({*self._new.named_keys(tenant_id), *self._old.named_keys(tenant_id)})

    def wrap_named(self, tenant_id: bytes, name: str, context: bytes, secret: bytes) -> bytes:
        """Seal a secret under a named key; see the port."""
        is_new = newest_active(self._new.named_epochs(tenant_id, name))
        keeper = self._new if is_new else self._old
        return keeper.wrap_named(tenant_id, name, context, secret)

    def unwrap_named(self, tenant_id: bytes, name: str, context: bytes, wrapped: bytes) -> bytes:
        """The secret; see the port. The file's key is tried first, for that asks nobody. It refuses
        once all that the file has of the tenant is disabled, as it will when that is destroyed.
        """
        if self._old.has_named_key(tenant_id, name):
            try:
                secret = self._old.unwrap_named(tenant_id, name, context, wrapped)
            except (SealInvalid, NamedKeyMissing):
                if not self._new.has_named_key(tenant_id, name):
                    raise
            else:
                living = self._living(self._old, tenant_id)
                if all(about.state in REFUSING for about in living):
                    epoch = living[-1].epoch if living else 0
                    raise TenantKeyDisabled(tenant=tenant_id.hex(), epoch=epoch)
                return secret
        return self._new.unwrap_named(tenant_id, name, context, wrapped)

    # The copy that is kept with the data

    def export_sealed(self) -> bytes:
        """All keys of the file, sealed, and the token's record; see the port."""
        with self._lock:
            new = self._new.export_sealed()
            if not self._old.tenants():
                return new
            old = self._old.export_sealed()
            return both_parts(old, new)

    def is_whole(self, sealed: bytes) -> bool:
        """Whether a copy has every key as it is here; see the port."""
        old, new = parts_of(sealed)
        is_old = self._old.is_whole(old) if old else not self._old.tenants()
        is_new = self._new.is_whole(new) if new else False
        return is_old and is_new

    def import_sealed(self, sealed: bytes) -> None:
        """Add the keys of a sealed copy; see the port."""
        old, new = parts_of(sealed)
        with self._lock:
            if old:
                self._old.is_whole(old)  # it opens, or nothing is changed
            if new:
                self._new.import_sealed(new)
            if old:
                self._old.import_sealed(old)
            self._end_if_empty()

    # The end

    def _end_if_empty(self) -> None:
        """Once the file has no key: what it knew goes into the token's record, and the file goes.
        Idempotent.
        """
        tenants = self._old.tenants()
        if not tenants or any(self._living_here(tenant) for tenant in tenants):
            return
        gone = {
            tenant: [
                about
                for about in self._old.tenant_epochs(tenant)
                if not self._is_moved(tenant, about.epoch)
            ]
            for tenant in tenants
        }
        self._new.bury(gone)
        again = self._read_again()
        for tenant in tenants:
            if again.tenant_epochs(tenant) != self.tenant_epochs(tenant):
                _LOG.error("the record was read back otherwise", tenant=tenant.hex())
                return
        for name in (*self._also, TENANTS_FILE):
            (self._folder / name).unlink(missing_ok=True)
        sync_directory(self._folder)
        self._old.forget()
        _LOG.warning("all keys are in the token, the file is gone", tenants=len(tenants))
