"""Keys of tenants inside an HSM: a `KeyProvider` over a PKCS#11 token.

Not for PKCS#11 (`gateway.keyd.pkcs11_token`), nor for the form of what is wrapped
(`gateway.keyd.pkcs11_sealing`).

Each epoch of a tenant's key, and each named key, is a key of the token, named by 16 random bytes
that `folder/hsm.sealed` assigns to it. That record is written first: a crash leaves a key that is
in the making or being erased, which the next call of the same kind brings to its end; nothing is
wrapped with a key before the record has it.

What is exported and kept with the data is that record: ids, states and counts, no key. Who has it
without the token opens nothing; who has the token and lost the record imports the copy.

Source: docs/hsm.md.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from gateway.approvals.request import tenant_key_item
from gateway.data.approval_book import ApprovalBook, KeepsApprovers
from gateway.data.cipher import KEY_BYTES
from gateway.data.envelope import (
    NAME_BYTES_MAX,
    KeyChangeRefused,
    NamedKeyMissing,
    SealInvalid,
    TenantKeyDisabled,
    TenantKeyMissing,
)
from gateway.data.keyring_form import TENANT_ID_BYTES, TENANT_KEY, KeyId, SealingRoot
from gateway.keyd.pkcs11_counts import WrapCounts, is_behind
from gateway.keyd.pkcs11_port import (
    KEY_ID_BYTES,
    HsmKeyUnfit,
    HsmPinRefused,
    HsmRefused,
    HsmUnavailable,
    Token,
    TokenKey,
)
from gateway.keyd.pkcs11_record import HeldInToken, Phase, kept, merge, with_buried
from gateway.keyd.pkcs11_record_file import RecordFile
from gateway.keyd.pkcs11_sealing import TokenSealing
from gateway.model.encoding import enc
from gateway.model.key_states import FIRST_EPOCH, REFUSING, KeyEpoch, KeyState, become, may_become
from storaged.base.env import Env
from storaged.base.errors import Kind, StorageError

logger = logging.getLogger(__name__)

_BUCKET, _NAMED = "wrap-bucket", "wrap-named"
_CHECK = bytes(16)


class KeyInUse(StorageError):
    """The record names this key of the token."""

    kind = Kind.CONFLICT
    hint = "it is destroyed by `hexagone keys destroy`"


class Pkcs11Keyring(KeepsApprovers):
    """`KeyProvider` over a token. Any thread may call; calls that need the token wait for it. The
    record is in `folder`, sealed under `root`.

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

    def __repr__(self) -> str:
        return f"Pkcs11Keyring(token={self._token.label}, keys={len(self._file.record)})"

    def create_tenant_key(self, tenant_id: bytes) -> None:
        """Make the tenant's key unless it is there; see the port."""
        self._create((tenant_id, TENANT_KEY, FIRST_EPOCH), KeyState.ACTIVE)

    def create_named_key(self, tenant_id: bytes, name: str) -> None:
        """Make a named key unless it is there; see the port."""
        self.active_epoch(tenant_id)
        encoded = name.encode()
        assert 1 <= len(encoded) <= NAME_BYTES_MAX
        self._create((tenant_id, encoded, FIRST_EPOCH), KeyState.ACTIVE)

    def add_tenant_epoch(self, tenant_id: bytes) -> int:
        """A pending epoch of the tenant's key; see the port."""
        with self._lock:
            held = self._file.epochs.get(tenant_id)
            if not held:
                raise TenantKeyMissing(tenant=tenant_id.hex())
            if held[-1].state is not KeyState.PENDING:
                self._create((tenant_id, TENANT_KEY, held[-1].epoch + 1), KeyState.PENDING)
            return self._file.epochs[tenant_id][-1].epoch

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
        return list(self._file.epochs.get(tenant_id, ()))

    def active_epoch(self, tenant_id: bytes) -> int:
        """The epoch that wraps; see the port."""
        epoch = self._file.active.get(tenant_id)
        if epoch is None:
            raise TenantKeyMissing(tenant=tenant_id.hex())
        return epoch

    def set_tenant_epoch(
        self, tenant_id: bytes, epoch: int, state: KeyState, warrant: bytes = b""
    ) -> None:
        """Change the state of an epoch; see the port. What the token did not erase, because it was
        away, stays DISABLED, and is erased by the same call or at the next start.
        """
        with self._lock:
            key = (tenant_id, TENANT_KEY, epoch)
            held = self._file.record.get(key)
            if held is None or held.phase in (Phase.MAKING, Phase.ERASED):
                raise TenantKeyMissing(tenant=tenant_id.hex(), epoch=epoch)
            is_change = held.phase is Phase.HELD and held.about.state is not state
            if is_change and not may_become(held.about, state):
                raise KeyChangeRefused(was=held.about.state.value, wanted=state.value)
            if state is KeyState.DESTROYED:
                if held.phase is Phase.HELD:
                    self._begin_erasing(key, warrant)
                self.finish_erasing()
                return
            if held.phase is Phase.ERASING:
                raise TenantKeyMissing(tenant=tenant_id.hex(), epoch=epoch)
            if held.about.state is not state:
                self._file.put(key, self._become(held, state))

    def _begin_erasing(self, key: KeyId, warrant: bytes) -> None:
        tenant_id, _, epoch = key
        item = tenant_key_item(tenant_id, epoch)
        self._book.verify(item, warrant)
        going = {key}
        mine = {one: held for one, held in self._file.record.items() if one[0] == tenant_id}
        gone = (Phase.ERASING, Phase.ERASED)
        if all(one == key or one[1] or held.phase in gone for one, held in mine.items()):
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

    # Wrapping

    def wrap_bucket_key(
        self,
        tenant_id: bytes,
        bucket_id: bytes,
        epoch: int,
        key: bytes,
        tenant_epoch: int = FIRST_EPOCH,
    ) -> bytes:
        """Wrap a bucket key under the tenant's key; see the port. Raises, too: WrapLimitReached,
        and as the token.
        """
        assert len(key) == KEY_BYTES
        named = (tenant_id, TENANT_KEY, tenant_epoch)
        held = self._tenant_key(named)
        self._use(named, held)
        context = enc("bucket", tenant_id, bucket_id, epoch)
        return self._sealing.wrap(held.key_id, _BUCKET, context, key)

    def unwrap_bucket_key(
        self,
        tenant_id: bytes,
        bucket_id: bytes,
        epoch: int,
        wrapped: bytes,
        tenant_epoch: int = FIRST_EPOCH,
    ) -> bytes:
        """The bucket key; see the port. Raises, too: as the token."""
        held = self._tenant_key((tenant_id, TENANT_KEY, tenant_epoch))
        context = enc("bucket", tenant_id, bucket_id, epoch)
        return self._sealing.unwrap(held.key_id, _BUCKET, context, wrapped, self._decrypt_of(held))

    def has_named_key(self, tenant_id: bytes, name: str) -> bool:
        """Whether there is a key of that name; see the port."""
        held = self._file.record.get((tenant_id, name.encode(), FIRST_EPOCH))
        return bool(name) and held is not None and held.phase is Phase.HELD

    def named_keys(self, tenant_id: bytes) -> list[str]:
        """Names of the tenant's keys; see the port."""
        return sorted(
            name.decode()
            for (held_by, name, _), held in self._file.record.items()
            if held_by == tenant_id and name and held.phase is Phase.HELD
        )

    def wrap_named(self, tenant_id: bytes, name: str, context: bytes, secret: bytes) -> bytes:
        """Seal a secret under a named key; see the port. Raises, too: as wrap_bucket_key."""
        named = (tenant_id, name.encode(), FIRST_EPOCH)
        held = self._named_key(named)
        bound = enc("named", tenant_id, name, context)
        return self._sealing.wrap_shared(
            held.key_id, _NAMED, bound, secret, lambda: self._use(named, held)
        )

    def unwrap_named(self, tenant_id: bytes, name: str, context: bytes, wrapped: bytes) -> bytes:
        """The secret; see the port. Raises, too: as the token."""
        held = self._named_key((tenant_id, name.encode(), FIRST_EPOCH))
        bound = enc("named", tenant_id, name, context)
        decrypt = self._decrypt_of(held)
        return self._sealing.unwrap_shared(held.key_id, _NAMED, bound, wrapped, decrypt)

    def _tenant_key(self, key: KeyId) -> HeldInToken:
        held = self._file.record.get(key)
        if held is None or held.phase is Phase.MAKING:
            raise TenantKeyMissing(tenant=key[0].hex(), epoch=key[2])
        if held.phase is not Phase.HELD or held.about.state in REFUSING:
            raise TenantKeyDisabled(tenant=key[0].hex(), epoch=key[2])
        return held

    def _named_key(self, key: KeyId) -> HeldInToken:
        held = self._file.record.get(key) if key[1] else None
        if held is None or held.phase is not Phase.HELD:
            raise NamedKeyMissing(tenant=key[0].hex(), name=key[1].decode())
        return held

    def _use(self, key: KeyId, held: HeldInToken) -> None:
        """Count a wrap, durably, and see that the key is the one that it was (K-08)."""
        with self._lock:
            self._counts.use(key)
        self._check(held)

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

    def _decrypt_of(self, held: HeldInToken) -> Callable[[bytes, bytes], bytes]:
        def decrypt(associated: bytes, sealed: bytes) -> bytes:
            try:
                return self._token.decrypt(held.key_id, associated, sealed)
            except HsmRefused as error:
                self._check(held)  # a token that still opens this is not to blame (CRY-09)
                raise SealInvalid(token=self._token.label) from error

        return decrypt

    # The copy that is kept with the data

    def export_sealed(self) -> bytes:
        """Ids, states and counts of all keys, sealed, and none of the keys; see the port."""
        return self._file.sealed(kept(self._file.record))

    def is_whole(self, sealed: bytes) -> bool:
        """Whether a copy has the id of every key, in the same state and with a count that is not
        long past; see the port.
        """
        copy = self._file.opened(sealed)
        return all(
            key in copy
            and copy[key].key_id == held.key_id
            and copy[key].shown.state is held.shown.state
            and not is_behind(copy[key], held)
            for key, held in kept(self._file.record).items()
        )

    def import_sealed(self, sealed: bytes) -> None:
        """Take over what a copy knows; see the port. What it says is destroyed is erased from this
        token as well. The token itself has to be the same, or a replica of it.
        """
        found = self._file.opened(sealed)
        with self._lock:
            before = self._file.record
            merged = self._counts.merged(before, merge(before, found))
            if merged != before:
                self._file.save(merged)
                self._counts.forget_raised(before)
                self._sealing.forget()
        self.try_finish()

    def begin(self) -> None:
        """Log in to the token, and have it erase what it was to erase. A token that is away is only
        told of in the log.

        Raises: HsmUnusable, HsmPinRefused: what is configured is wrong.
        """
        try:
            self._token.ready()
        except HsmUnavailable as error:
            logger.warning("the token is away, keys cannot be used until it is there: %s", error)
            return
        self.try_finish()

    def try_finish(self) -> None:
        """As finish_erasing, but a token that is away is only told of in the log."""
        try:
            self.finish_erasing()
        except (HsmUnavailable, HsmPinRefused) as error:
            logger.warning("keys that were destroyed are not erased from the token yet: %s", error)

    # Orphans

    def orphans_among(self, found: list[TokenKey]) -> list[TokenKey]:
        """Those of the token's keys that the record does not name, or not any more."""
        known = self._named()
        return [key for key in found if key.key_id not in known]

    def unfinished(self) -> list[bytes]:
        """Ids of keys in the making or being erased."""
        cut = (Phase.MAKING, Phase.ERASING)
        return [held.key_id for held in self._file.record.values() if held.phase in cut]

    def erase_orphan(self, key_id: bytes) -> None:
        """Erase a key that the record does not name. Raises: KeyInUse, as the token."""
        with self._lock:
            # Without a record no key is an orphan: each may be one that it has named.
            if not self._file.record or key_id in self._named():
                raise KeyInUse(key_id=key_id.hex())
            self._token.destroy_key(key_id)

    def _named(self) -> set[bytes]:
        held = self._file.record.values()
        return {one.key_id for one in held if one.phase is not Phase.ERASED}
