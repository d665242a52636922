"""Secrets of access keys under their tenant's key, and the signing keys of their days. Pure but for
the provider.

A sealed secret is 1 ‖ epoch of the tenant's key u32 ‖ u16 length ‖ a credential key, wrapped as
bucket keys are ‖ the secret, sealed under the credential key and bound to tenant and access key id.
Each secret has a credential key of its own.

Source: docs/data-layout.md, "Sealed keys"; AWS, "Derive a signing key".
"""

from __future__ import annotations

import hmac
from struct import Struct
from typing import NamedTuple, Protocol, runtime_checkable

from gateway.data.cipher import KEY_BYTES, SALT_BYTES
from gateway.data.envelope import KeyProvider, SealInvalid, open_secret, seal_secret
from gateway.model.encoding import enc
from storaged.base.env import Env
from storaged.base.errors import Kind, StorageError

# In the place of a bucket id: no bucket has it, and no verb of buckets takes it.
CREDENTIALS_ID = b"\xff" * 16
CREDENTIAL_EPOCH = 1
SECRET_BYTES_MAX = 1024

_FORM = 1
_HEAD = Struct(">BIH")
_LABEL = "credential"


class SigningDayRefused(StorageError):
    """No request that is signed for this day can be valid."""

    kind = Kind.DENIED


class Scope(NamedTuple):
    """What a signing key is good for: a day (YYYYMMDD), a region and a service."""

    date: str
    region: str
    service: str


@runtime_checkable
class CredentialKeeper(Protocol):
    """Seals secrets of access keys, and signs with them; opens none for anybody.

    Raises (all): TenantKeyMissing, TenantKeyDisabled, SealInvalid.
    """

    def seal_credential(self, tenant_id: bytes, access_key_id: str, secret: str) -> bytes:
        """A secret as it is stored."""
        ...

    def signing_key(
        self, tenant_id: bytes, access_key_id: str, sealed: bytes, scope: Scope
    ) -> bytes:
        """The 32-byte key that Signature Version 4 signs a day's requests with.

        Raises: SigningDayRefused, too.
        """
        ...

    def sign_v2(self, tenant_id: bytes, access_key_id: str, sealed: bytes, text: bytes) -> bytes:
        """The 20-byte HMAC-SHA1 of a text, as Signature Version 2 has it."""
        ...

    def reseal_credential(self, tenant_id: bytes, access_key_id: str, sealed: bytes) -> bytes:
        """A sealed secret under the newest epoch of the tenant's key; as it is, if it is."""
        ...


def epoch_of(sealed: bytes) -> int:
    """The epoch of the tenant's key that a secret is sealed under. Raises: SealInvalid."""
    if len(sealed) < _HEAD.size or sealed[0] != _FORM:
        raise SealInvalid(label=_LABEL, record_bytes=len(sealed))
    epoch: int = _HEAD.unpack_from(sealed)[1]
    return epoch


def derived_signing_key(secret: str, scope: Scope) -> bytes:
    """The signing key of a clear secret."""
    key = b"AWS4" + secret.encode()
    for step in (*scope, "aws4_request"):
        key = hmac.digest(key, step.encode(), "sha256")
    return key


class HeldCredentials:
    """`CredentialKeeper` over a provider in this process."""

    def __init__(self, provider: KeyProvider, env: Env) -> None:
        self._provider = provider
        self._env = env

    def seal_credential(self, tenant_id: bytes, access_key_id: str, secret: str) -> bytes:
        """See the port."""
        epoch = self._provider.active_epoch(tenant_id)
        key = self._env.random_bytes(KEY_BYTES)
        wrapped = self._provider.wrap_bucket_key(
            tenant_id, CREDENTIALS_ID, CREDENTIAL_EPOCH, key, epoch
        )
        salt = self._env.random_bytes(SALT_BYTES)
        context = _context(tenant_id, access_key_id)
        sealed = seal_secret(key, _LABEL, context, secret.encode(), salt)
        return _HEAD.pack(_FORM, epoch, len(wrapped)) + wrapped + sealed

    def signing_key(
        self, tenant_id: bytes, access_key_id: str, sealed: bytes, scope: Scope
    ) -> bytes:
        """See the port."""
        return derived_signing_key(self._opened(tenant_id, access_key_id, sealed), scope)

    def sign_v2(self, tenant_id: bytes, access_key_id: str, sealed: bytes, text: bytes) -> bytes:
        """See the port."""
        secret = self._opened(tenant_id, access_key_id, sealed)
        return hmac.digest(secret.encode(), text, "sha1")

    def reseal_credential(self, tenant_id: bytes, access_key_id: str, sealed: bytes) -> bytes:
        """See the port."""
        if epoch_of(sealed) == self._provider.active_epoch(tenant_id):
            return sealed
        secret = self._opened(tenant_id, access_key_id, sealed)
        return self.seal_credential(tenant_id, access_key_id, secret)

    def _opened(self, tenant_id: bytes, access_key_id: str, sealed: bytes) -> str:
        epoch = epoch_of(sealed)
        end = _HEAD.size + _HEAD.unpack_from(sealed)[2]
        key = self._provider.unwrap_bucket_key(
            tenant_id, CREDENTIALS_ID, CREDENTIAL_EPOCH, sealed[_HEAD.size : end], epoch
        )
        secret = open_secret(key, _LABEL, _context(tenant_id, access_key_id), sealed[end:])
        return secret.decode()


def _context(tenant_id: bytes, access_key_id: str) -> bytes:
    return enc("credential", tenant_id, access_key_id)
