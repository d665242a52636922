"""Keys that a PKCS#11 token keeps, and their epochs: makes them, changes their states, erases them.

Not for what they wrap (`gateway.keyd.pkcs11_keyring`), nor for PKCS#11
(`gateway.keyd.pkcs11_token`).

Each epoch of a tenant's key, and of each named key, is a key of the token, named by 16 random bytes
that `folder/hsm.sealed` assigns to it. That record is written first: a crash leaves a key that is
in the making or being erased, which the next call of the same kind brings to its end; nothing is
wrapped with a key before the record has it.

Source: docs/hsm.md.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from gateway.approvals.request import named_key_item, tenant_key_item
from gateway.data.approval_book import ApprovalBook, KeepsApprovers
from gateway.data.envelope import (
    NAME_BYTES_MAX,
    KeyChangeRefused,
    NamedKeyMissing,
    TenantKeyMissing,
)
from gateway.data.keyring_form import TENANT_ID_BYTES, TENANT_KEY, KeyId, SealingRoot
from gateway.keyd.pkcs11_counts import WrapCounts
from gateway.keyd.pkcs11_port import KEY_ID_BYTES, HsmKeyUnfit, HsmRefused, Token
from gateway.keyd.pkcs11_record import HeldInToken, Phase, with_buried
from gateway.keyd.pkcs11_record_file import RecordFile
from gateway.keyd.pkcs11_sealing import TokenSealing
from gateway.model.encoding import enc
from gateway.model.key_states import FIRST_EPOCH, KeyEpoch, KeyState, become, may_become
from storaged.base.env import Env

_CHECK = bytes(16)


class TokenKeys(KeepsApprovers):
    """What of a `KeyProvider` makes keys of a token and changes them. Any thread may call; calls
    that need the token wait for it. The record is in `folder`, sealed under `root`.

    Raises (on construction): KeyringInvalid: the record does not open.
    """

    def __init__(self, folder: Path, root: SealingRoot, token: Token, env: Env) -> None:
        self._cluster_id = root.cluster_id
        self._book = ApprovalBook(folder, root.derive("approvers"), root.cluster_id, env)
        self._token = token
        self._env = env
        self._sealing = TokenSealing(token, root.cluster_id, env)
        self._lock = threading.RLock()
        self._file = RecordFile(folder, root, env)
        self._counts = WrapCounts(self._file)

    def create_tenant_key(self, tenant_id: bytes) -> None:
        """Make the tenant's key unless it is there; see the port."""
        self._create((tenant_id, TENANT_KEY, FIRST_EPOCH), KeyState.ACTIVE)

    def create_named_key(self, tenant_id: bytes, name: str) -> None:
        """Make a named key unless it is there; see the port."""
        self.active_epoch(tenant_id)
        encoded = name.encode()
        assert 1 <= len(encoded) <= NAME_BYTES_MAX
        with self._lock:
            if not self._file.epochs.get((tenant_id, encoded)):
                self._create((tenant_id, encoded, FIRST_EPOCH), KeyState.ACTIVE)

    def add_tenant_epoch(self, tenant_id: bytes) -> int:
        """A pending epoch of the tenant's key; see the port."""
        return self._add_epoch(tenant_id, TENANT_KEY)

    def add_named_epoch(self, tenant_id: bytes, name: str) -> int:
        """A pending epoch of a named key; see the port."""
        if not self.has_named_key(tenant_id, name):
            raise NamedKeyMissing(tenant=tenant_id.hex(), name=name)
        return self._add_epoch(tenant_id, name.encode())

    def _add_epoch(self, tenant_id: bytes, name: bytes) -> int:
        with self._lock:
            held = self._file.epochs.get((tenant_id, name))
            if not held:
                raise TenantKeyMissing(tenant=tenant_id.hex())
            if held[-1].state is not KeyState.PENDING:
                self._create((tenant_id, name, held[-1].epoch + 1), KeyState.PENDING)
            return self._file.epochs[tenant_id, name][-1].epoch

    def bring_key(self, tenant_id: bytes, name: str, epoch: int, state: KeyState) -> None:
        """Make one key unless it is there, whatever else there is of the tenant. `name` "": his."""
        self._create((tenant_id, name.encode(), epoch), state)

    def bury(self, gone: Mapping[bytes, Sequence[KeyEpoch]]) -> None:
        """Know destroyed epochs, by tenant, that were elsewhere. Durable; idempotent."""
        with self._lock:
            self._file.save(with_buried(self._file.record, gone))

    def _create(self, key: KeyId, state: KeyState) -> None:
        tenant_id, name, epoch = key
        assert len(tenant_id) == TENANT_ID_BYTES
        with self._lock:
            held = self._file.record.get(key)
            if held is not None and held.phase is not Phase.MAKING:
                return
            now_ms = self._env.now_ms()
            if held is None:
                about = KeyEpoch(
                    epoch=epoch, state=state, created_at_ms=now_ms, changed_at_ms=now_ms
                )
                key_id = self._env.random_bytes(KEY_ID_BYTES)
                held = HeldInToken(key_id=key_id, about=about, phase=Phase.MAKING)
                self._file.put(key, held)
            what = f"named/{epoch}" if name else f"tenant/{epoch}"
            self._token.ensure_key(held.key_id, f"{self.label_prefix}{tenant_id.hex()}/{what}")
            associated = self._check_context(held.key_id)
            check = self._token.encrypt(held.key_id, associated, _CHECK)
            held = replace(held, phase=Phase.HELD, check=check, wraps=1)
            self._check(held)
            self._file.put(key, held)

    @property
    def label_prefix(self) -> str:
        """How the labels of this cluster's keys begin in a token."""
        return f"hexagone/{self._cluster_id[:4].hex()}/"

    # States

    def tenant_epochs(self, tenant_id: bytes) -> list[KeyEpoch]:
        """Epochs of the tenant's key; see the port."""
        return list(self._file.epochs.get((tenant_id, TENANT_KEY), ()))

    def named_epochs(self, tenant_id: bytes, name: str) -> list[KeyEpoch]:
        """Epochs of a named key; see the port."""
        return list(self._file.epochs.get((tenant_id, name.encode()), ())) if name else []

    def active_epoch(self, tenant_id: bytes) -> int:
        """The epoch that wraps; see the port."""
        epoch = self._file.active.get((tenant_id, TENANT_KEY))
        if epoch is None:
            raise TenantKeyMissing(tenant=tenant_id.hex())
        return epoch

    def has_named_key(self, tenant_id: bytes, name: str) -> bool:
        """Whether there is a key of that name; see the port."""
        return bool(name) and (tenant_id, name.encode()) in self._file.named

    def named_keys(self, tenant_id: bytes) -> list[str]:
        """Names of the tenant's keys; see the port."""
        return sorted(name.decode() for of, name in self._file.named if of == tenant_id)

    def set_tenant_epoch(
        self, tenant_id: bytes, epoch: int, state: KeyState, warrant: bytes = b""
    ) -> None:
        """Change the state of an epoch; see the port. What the token did not erase, because it was
        away, stays DISABLED, and is erased by the same call or at the next start.
        """
        item = tenant_key_item(tenant_id, epoch)
        with self._lock:
            if not self._set_state((tenant_id, TENANT_KEY, epoch), state, item, warrant):
                raise TenantKeyMissing(tenant=tenant_id.hex(), epoch=epoch)

    def set_named_epoch(
        self, tenant_id: bytes, name: str, epoch: int, state: KeyState, warrant: bytes = b""
    ) -> None:
        """Change the state of an epoch of a named key; as `set_tenant_epoch`."""
        item = named_key_item(tenant_id, name, epoch)
        with self._lock:
            key = (tenant_id, name.encode(), epoch)
            if not name or not self._set_state(key, state, item, warrant):
                raise NamedKeyMissing(tenant=tenant_id.hex(), name=name, epoch=epoch)

    def _set_state(self, key: KeyId, state: KeyState, item: str, warrant: bytes) -> bool:
        """Whether there is such a key, which is in that state then."""
        held = self._file.record.get(key)
        if held is None or held.phase in (Phase.MAKING, Phase.ERASED):
            return False
        is_change = held.phase is Phase.HELD and held.about.state is not state
        if is_change and not may_become(held.about, state):
            raise KeyChangeRefused(was=held.about.state.value, wanted=state.value)
        if state is KeyState.DESTROYED:
            if held.phase is Phase.HELD:
                self._begin_erasing(key, item, warrant)
            self.finish_erasing()
            return True
        if held.phase is Phase.ERASING:
            return False
        if held.about.state is not state:
            self._file.put(key, self._become(held, state))
        return True

    def _begin_erasing(self, key: KeyId, item: str, warrant: bytes) -> None:
        self._book.verify(item, warrant)
        going, tenant_id = {key}, key[0]
        mine = {one: held for one, held in self._file.record.items() if one[0] == tenant_id}
        gone = (Phase.ERASING, Phase.ERASED)
        is_last = all(one == key or one[1] or held.phase in gone for one, held in mine.items())
        if is_last and key[1] == TENANT_KEY:
            going |= mine.keys()  # the last epoch takes the named keys along
        changed = {
            one: replace(held, phase=Phase.ERASING)
            for one, held in mine.items()
            if one in going and held.phase not in gone
        }
        self._file.save({**self._file.record, **changed})
        self._sealing.forget()
        self._book.spend(item, warrant, item)

    def finish_erasing(self) -> None:
        """Have the token erase what is to be erased.

        Raises: HsmUnavailable, HsmPinRefused: it is erased by the next call, and refused until.
        """
        with self._lock:
            for key, held in list(self._file.record.items()):
                if held.phase is Phase.ERASING:
                    self._token.destroy_key(held.key_id)
                    if held.about.state is not KeyState.DESTROYED:
                        held = self._become(held, KeyState.DESTROYED)
                    self._file.put(key, replace(held, phase=Phase.ERASED))

    def _become(self, held: HeldInToken, state: KeyState) -> HeldInToken:
        about = become(held.about, state, self._env.now_ms())
        return replace(held, about=about)

    # The key is the one that it was

    def _check(self, held: HeldInToken) -> None:
        """Raises: HsmKeyUnfit: the token has another key of this id, or works no more."""
        associated = self._check_context(held.key_id)
        for is_last in (False, True):
            try:
                if self._token.decrypt(held.key_id, associated, held.check) == _CHECK:
                    return
            except HsmRefused:
                if not is_last:
                    self._token.lost()
        raise HsmKeyUnfit(token=self._token.label, key_id=held.key_id.hex(), reason="another key")

    def _check_context(self, key_id: bytes) -> bytes:
        return enc("hsm/check", self._cluster_id, key_id)
