"""Sealing of small secrets, wrapped DEKs among them, and the port of who keeps keys of tenants.

Not for bodies or rows.

Record = suite u8 = 1 ‖ salt 24 ‖ commitment 32 ‖ ciphertext and tag. okm = HKDF-Expand-SHA512(key,
enc(label, context, salt), 76) = AES-256 key 32 ‖ nonce 12 ‖ commitment 32; associated data =
enc("aad", suite, label, context). The commitment is compared, in constant time, before anything is
opened.

Invariants: D4 (each salt makes a key of its own), D5.
Source: docs/data-layout.md, "Sealed keys"; NIST SP 800-38D.
"""

from __future__ import annotations

import hmac
from typing import Protocol, runtime_checkable

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from gateway.data.cipher import COMMITMENT_BYTES, KEY_BYTES, SALT_BYTES, expand
from gateway.limits import TAG_BYTES
from gateway.model.encoding import enc_start, encoded
from gateway.model.key_states import FIRST_EPOCH, KeyEpoch, KeyState
from storaged.base.errors import Kind, StorageError

SUITE = 1
_HEAD_BYTES = 1 + SALT_BYTES + COMMITMENT_BYTES
WRAPPED_BYTES = _HEAD_BYTES + KEY_BYTES + TAG_BYTES
DEK_LABEL = "wrap-dek"  # a DEK alone under its bucket's key
INNER_LABEL = "wrap-wrapped-dek"  # one that another key wraps below that
NAME_BYTES_MAX = 255  # of a named key


class SealInvalid(StorageError):
    """A sealed key does not open: wrong key, wrong context, or changed bytes."""

    kind = Kind.CORRUPT


class TenantKeyMissing(StorageError):
    """The keyring has no key of this tenant."""

    kind = Kind.UNAVAILABLE
    hint = "import the sealed keyring copy of this cluster"


class TenantKeyDisabled(StorageError):
    """This epoch of the tenant's key was disabled or destroyed."""

    kind = Kind.DENIED
    hint = "`hexagone keys list` shows the epochs, `hexagone keys enable` enables one again"


class KeyBudgetSpent(StorageError):
    """The key service gives no more of this for now: a budget is spent."""

    kind = Kind.UNAVAILABLE
    hint = "who asks for so many keys? budgets are in keyd.toml, docs/key-service.md says of each"


class KeyChangeRefused(StorageError):
    """No epoch of a key goes from the one state to the other."""

    kind = Kind.CONFLICT
    hint = "disable it first, to destroy it; enable it, to use it: `hexagone keys list`"


class NamedKeyMissing(StorageError):
    """The keyring has no key of this name for the tenant."""

    kind = Kind.NOT_FOUND


class NamedKeyDisabled(TenantKeyDisabled):
    """This epoch of the named key was disabled or destroyed."""


class NamedKeyDestroyed(NamedKeyDisabled):
    """This epoch of the named key was destroyed."""

    hint = "what is left under it is lost"


class KeyringConflict(StorageError):
    """The sealed copy holds another key for a tenant that the keyring knows."""

    kind = Kind.CONFLICT
    hint = "this copy belongs to another cluster: nothing was changed"


def _derive(key: bytes, label: str, context: bytes, salt: bytes) -> tuple[AESGCM, bytes, bytes]:
    okm = expand(key, enc_start(label, 2) + encoded(context) + encoded(salt))
    return AESGCM(okm[:32]), okm[32:44], okm[44:76]


def _associated(label: str, context: bytes) -> bytes:
    return enc_start("aad", 3, SUITE, label) + encoded(context)


def seal_secret(key: bytes, label: str, context: bytes, secret: bytes, salt: bytes) -> bytes:
    """Seal a secret.

    Args:
        key: 32 uniform bytes. label: what the secret is. context: what it belongs to, an `enc`.
        salt: 24 random bytes, never used again with this key.

    Returns:
        The record, 73 bytes longer than `secret`.
    """
    assert len(key) == KEY_BYTES and len(salt) == SALT_BYTES
    aead, nonce, commitment = _derive(key, label, context, salt)
    sealed = aead.encrypt(nonce, secret, _associated(label, context))
    return b"%c%b%b%b" % (SUITE, salt, commitment, sealed)


def open_secret(key: bytes, label: str, context: bytes, record: bytes) -> bytes:
    """Open what `seal_secret` made.

    Raises:
        SealInvalid: nothing is revealed about why.
    """
    if len(record) < _HEAD_BYTES + TAG_BYTES or record[0] != SUITE:
        raise SealInvalid(label=label, record_bytes=len(record))
    salt = bytes(record[1 : 1 + SALT_BYTES])
    aead, nonce, commitment = _derive(key, label, context, salt)
    if not hmac.compare_digest(commitment, record[1 + SALT_BYTES : _HEAD_BYTES]):
        raise SealInvalid(label=label)
    try:
        return aead.decrypt(nonce, record[_HEAD_BYTES:], _associated(label, context))
    except InvalidTag as error:
        raise SealInvalid(label=label) from error


def wrap_dek(bucket_key: bytes, context: bytes, dek: bytes, salt: bytes) -> bytes:
    """Wrap a 32-byte DEK under a bucket key.

    Args:
        context: cluster, tenant, bucket, epoch, object key and uuid, as an `enc`.

    Returns:
        WRAPPED_BYTES bytes.
    """
    assert len(dek) == KEY_BYTES
    return seal_secret(bucket_key, DEK_LABEL, context, dek, salt)


def unwrap_dek(bucket_key: bytes, context: bytes, wrapped: bytes) -> bytes:
    """The DEK. Raises SealInvalid."""
    return checked_dek(open_secret(bucket_key, DEK_LABEL, context, wrapped))


def checked_dek(dek: bytes) -> bytes:
    """What was opened, if it is a DEK. Raises SealInvalid."""
    if len(dek) != KEY_BYTES:
        raise SealInvalid(label=DEK_LABEL, secret_bytes=len(dek))
    return dek


class KeyProvider(Protocol):
    """Keeps the keys of tenants, among them named ones, and wraps keys with them; none leaves it in
    the clear.

    Calls take microseconds for a file keyring; those that create a key sync a file. Any thread may
    call.
    """

    def create_tenant_key(self, tenant_id: bytes) -> None:
        """Make the tenant's key.

        Idempotent: by tenant id. Durable when: it returns. Cancelled: cannot be. Concurrent: any
            number.
        """
        ...

    def tenant_epochs(self, tenant_id: bytes) -> list[KeyEpoch]:
        """Epochs of the tenant's key, destroyed ones too, the oldest first; [] without a key."""
        ...

    def active_epoch(self, tenant_id: bytes) -> int:
        """The epoch of the tenant's key that bucket keys are wrapped under: the newest that is
        ACTIVE. Raises: TenantKeyMissing.
        """
        ...

    def add_tenant_epoch(self, tenant_id: bytes) -> int:
        """Make another epoch of the tenant's key, which is PENDING, and say its number.

        Raises: TenantKeyMissing: there is no key yet.
        Idempotent: while the newest one is PENDING, that is the answer. Durable when: it returns.
            Cancelled: cannot be. Concurrent: any number.
        """
        ...

    def set_tenant_epoch(
        self, tenant_id: bytes, epoch: int, state: KeyState, warrant: bytes = b""
    ) -> None:
        """Change the state of an epoch; DESTROYED erases the key, and with a tenant's last epoch
        its named keys. Only changes that `may_become` allows are made, and nothing is DESTROYED
        without the approvals of the approvers whom the provider knows, if any.

        Args:
            warrant: for DESTROYED: what `gateway.approvals.warrant` encodes, verified here
                against the item `tenant_key_item(tenant_id, epoch)`.

        Raises: TenantKeyMissing: there is no such epoch, or it was destroyed; KeyChangeRefused;
            WarrantRefused.
        Idempotent: yes. Durable when: it returns. Cancelled: cannot be. Concurrent: any number.
        """
        ...

    def wrap_bucket_key(
        self,
        tenant_id: bytes,
        bucket_id: bytes,
        epoch: int,
        key: bytes,
        tenant_epoch: int = FIRST_EPOCH,
    ) -> bytes:
        """Wrap a 32-byte bucket key under an epoch of the tenant's key.

        Raises: TenantKeyMissing, TenantKeyDisabled.
        Idempotent: no, each answer differs; all unwrap. Concurrent: any number.
        """
        ...

    def unwrap_bucket_key(
        self,
        tenant_id: bytes,
        bucket_id: bytes,
        epoch: int,
        wrapped: bytes,
        tenant_epoch: int = FIRST_EPOCH,
    ) -> bytes:
        """The bucket key.

        Raises: TenantKeyMissing; TenantKeyDisabled; SealInvalid: wrapped for another tenant, bucket
            or epoch, or changed.
        Idempotent: yes. Concurrent: any number.
        """
        ...

    def create_named_key(self, tenant_id: bytes, name: str) -> None:
        """Make a key of the tenant that clients choose by its name, 1 to NAME_BYTES_MAX bytes.

        Raises: TenantKeyMissing.
        Idempotent: by tenant id and name. Durable when: it returns. Cancelled: cannot be.
            Concurrent: any number.
        """
        ...

    def has_named_key(self, tenant_id: bytes, name: str) -> bool:
        """Whether the tenant has a key of that name."""
        ...

    def named_keys(self, tenant_id: bytes) -> list[str]:
        """Names of the tenant's keys, in order."""
        ...

    def named_epochs(self, tenant_id: bytes, name: str) -> list[KeyEpoch]:
        """Epochs of a named key, as `tenant_epochs`; [] without a key of that name."""
        ...

    def add_named_epoch(self, tenant_id: bytes, name: str) -> int:
        """Make another epoch of a named key, as `add_tenant_epoch`. Raises: NamedKeyMissing."""
        ...

    def set_named_epoch(
        self, tenant_id: bytes, name: str, epoch: int, state: KeyState, warrant: bytes = b""
    ) -> None:
        """Change the state of an epoch of a named key, as `set_tenant_epoch`.

        Args:
            warrant: for DESTROYED: for the item `named_key_item(tenant_id, name, epoch)`.

        Raises: NamedKeyMissing: there is no such epoch, or it was destroyed; KeyChangeRefused;
            WarrantRefused.
        """
        ...

    def wrap_named(self, tenant_id: bytes, name: str, context: bytes, secret: bytes) -> bytes:
        """Seal a secret under the newest epoch of a named key that is ACTIVE; what comes of that
        says which it is (`gateway.data.named_form`). `context`: what it belongs to, an `enc`.

        Raises: NamedKeyMissing.
        Idempotent: no, each answer differs; all unwrap. Concurrent: any number.
        """
        ...

    def unwrap_named(self, tenant_id: bytes, name: str, context: bytes, wrapped: bytes) -> bytes:
        """The secret.

        Raises: NamedKeyMissing; NamedKeyDisabled; SealInvalid: sealed under another key or
            context, or changed.
        Idempotent: yes. Concurrent: any number.
        """
        ...

    def export_sealed(self) -> bytes:
        """All keys, sealed under the root key: what is kept as a row beside the data."""
        ...

    def is_whole(self, sealed: bytes) -> bool:
        """Whether a sealed copy has every key of this keyring, in the same state, and
        needs not be made anew for another reason. Raises: SealInvalid.
        """
        ...

    def import_sealed(self, sealed: bytes) -> None:
        """Add the keys of a sealed copy; of two states of one key the later holds.

        Raises: SealInvalid: another root key sealed it; KeyringConflict: a tenant has another key
            here.
        Idempotent: yes. Durable when: it returns. Concurrent: any number.
        """
        ...


@runtime_checkable
class WarrantKeeper(Protocol):
    """A key provider that knows approvers: it verifies what they have approved by itself. Any
    thread may call; `gateway.data.approval_book` is what providers have for it.
    """

    def approvers(self) -> bytes:
        """The document of the set of approvers; b"" where nobody was registered."""
        ...

    def set_approvers(self, document: bytes, warrant: bytes = b"") -> None:
        """Register a set of approvers: the first one freely, a later one with a warrant of the
        present set.

        Raises: ApproversInvalid, WarrantRefused, RequestInvalid.
        Idempotent: yes. Durable when: it returns.
        """
        ...

    def spend_warrant(self, item: str, warrant: bytes, holder: str) -> None:
        """Whether an act that the provider does not carry out itself was approved; from then on
        nobody but `holder` can use these approvals for it. Where nobody was registered all is.

        Raises: WarrantRefused, RequestInvalid.
        Idempotent: for one holder. Durable when: it returns.
        """
        ...
