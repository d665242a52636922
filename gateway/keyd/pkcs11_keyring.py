"""Keys of tenants inside an HSM: a `KeyProvider` over a PKCS#11 token.

Not for making keys or changing their states (`gateway.keyd.pkcs11_states`), nor for the form of
what is wrapped (`gateway.keyd.pkcs11_sealing`).

What is exported and kept with the data is that record: ids, states and counts, no key. Who has it
without the token opens nothing; who has the token and lost the record imports the copy.

Source: docs/hsm.md.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from gateway.data.cipher import KEY_BYTES
from gateway.data.envelope import (
    NamedKeyDisabled,
    NamedKeyMissing,
    SealInvalid,
    TenantKeyDisabled,
    TenantKeyMissing,
)
from gateway.data.keyring_form import TENANT_KEY, KeyId
from gateway.data.named_form import parted, with_epoch
from gateway.keyd.pkcs11_counts import is_behind
from gateway.keyd.pkcs11_port import HsmPinRefused, HsmRefused, HsmUnavailable, TokenKey
from gateway.keyd.pkcs11_record import HeldInToken, Phase, kept, merge
from gateway.keyd.pkcs11_states import TokenKeys
from gateway.model.encoding import enc
from gateway.model.key_states import FIRST_EPOCH, REFUSING
from storaged.base.errors import Kind, StorageError

logger = logging.getLogger(__name__)

_BUCKET, _NAMED = "wrap-bucket", "wrap-named"


class KeyInUse(StorageError):
    """The record names this key of the token."""

    kind = Kind.CONFLICT
    hint = "it is destroyed by `hexagone keys destroy`"


class Pkcs11Keyring(TokenKeys):
    """`KeyProvider` over a token; see `TokenKeys`. Any thread may call."""

    def __repr__(self) -> str:
        return f"Pkcs11Keyring(token={self._token.label}, keys={len(self._file.record)})"

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

    def wrap_named(self, tenant_id: bytes, name: str, context: bytes, secret: bytes) -> bytes:
        """Seal a secret under a named key; see the port. Raises, too: as wrap_bucket_key."""
        epoch = self._file.active.get((tenant_id, name.encode()), FIRST_EPOCH)
        named = (tenant_id, name.encode(), epoch)
        held = self._named_key(named)
        bound = enc("named", tenant_id, name, context)
        wrapped = self._sealing.wrap_shared(
            held.key_id, _NAMED, bound, secret, lambda: self._use(named, held)
        )
        return with_epoch(epoch, wrapped)

    def unwrap_named(self, tenant_id: bytes, name: str, context: bytes, wrapped: bytes) -> bytes:
        """The secret; see the port. Raises, too: as the token."""
        epoch, sealed = parted(wrapped)
        held = self._named_key((tenant_id, name.encode(), epoch))
        bound = enc("named", tenant_id, name, context)
        decrypt = self._decrypt_of(held)
        return self._sealing.unwrap_shared(held.key_id, _NAMED, bound, sealed, decrypt)

    def _tenant_key(self, key: KeyId) -> HeldInToken:
        held = self._file.record.get(key)
        if held is None or held.phase is Phase.MAKING:
            raise TenantKeyMissing(tenant=key[0].hex(), epoch=key[2])
        if held.phase is not Phase.HELD or held.about.state in REFUSING:
            raise TenantKeyDisabled(tenant=key[0].hex(), epoch=key[2])
        return held

    def _named_key(self, key: KeyId) -> HeldInToken:
        tenant_id, name, epoch = key
        held = self._file.record.get(key) if name else None
        is_there = held is not None and held.phase is not Phase.MAKING
        if held is None or not is_there or key[:2] not in self._file.named:
            raise NamedKeyMissing(tenant=tenant_id.hex(), name=name.decode(), epoch=epoch)
        if held.phase is not Phase.HELD or held.about.state in REFUSING:
            raise NamedKeyDisabled(tenant=tenant_id.hex(), name=name.decode(), epoch=epoch)
        return held

    def _use(self, key: KeyId, held: HeldInToken) -> None:
        """Count a wrap, durably, and see that the key is the one that it was (K-08)."""
        with self._lock:
            self._counts.use(key)
        self._check(held)

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
