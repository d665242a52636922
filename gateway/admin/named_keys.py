"""Named keys of tenants, for the admin port: which there are, with their epochs, and a new one.

Not for taking one away: what it wraps would be lost; nor for rotating one
(`gateway.admin.key_desk`).
"""

from __future__ import annotations

from gateway.admin.outlook import Document
from gateway.data.named_form import newest_active
from gateway.meta import accounts
from gateway.model.errors import KmsKeyNotFound
from gateway.model.key_states import KeyEpoch, KeyState
from gateway.model.names import TenantId
from gateway.objects.bootstrap import read_root
from gateway.objects.context import Services
from gateway.objects.encryption import checked_key_name
from gateway.objects.named_keys import create_named_key, name_of
from storaged.base.errors import Kind, StorageError


class NoSuchAccessKey(StorageError):
    """There is no such access key."""

    kind = Kind.NOT_FOUND
    hint = "name an access key of the account, or none for the root account"


class KeyNameInvalid(StorageError):
    """No key can have this name."""

    kind = Kind.INVALID
    hint = "1 to 255 letters, digits or :/_.@+=-, not an ARN and not alias/…"


class NamedKeyDesk:
    """Named keys, by an access key of the account that they belong to; "" = the root account."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def names(self, access_key_id: str) -> Document:
        """Names of an account's keys, with their epochs. Raises NoSuchAccessKey."""
        provider = self._services.bucket_keys.provider
        tenant = tenant_of(self._services, access_key_id)
        return {
            "keys": [
                {"name": name, "epochs": epochs_of(provider.named_epochs(tenant, name))}
                for name in provider.named_keys(tenant)
            ]
        }

    async def create(self, name: str, access_key_id: str) -> Document:
        """Make a key; one that is there stays. Raises NoSuchAccessKey, KeyNameInvalid."""
        tenant = tenant_of(self._services, access_key_id)
        try:
            checked = checked_key_name(name)
        except KmsKeyNotFound as error:
            raise KeyNameInvalid(name=name[:64]) from error
        if checked != name:
            raise KeyNameInvalid(name=name[:64])
        await create_named_key(self._services, tenant, name_of(name))
        return self.names(access_key_id)


def tenant_of(services: Services, access_key_id: str) -> TenantId:
    """The account of an access key; "" = the root account. Raises: NoSuchAccessKey."""
    log, records = services.log, services.records
    if not access_key_id:
        root = read_root(log, records)
        if root is not None:
            return root.tenant
    stored = accounts.read_access_key(log, records, access_key_id)
    if stored is None:
        raise NoSuchAccessKey(access_key_id=access_key_id[:64])
    return stored.access_key.tenant


def epochs_of(held: list[KeyEpoch]) -> list[Document]:
    """Epochs of a key as they are told."""
    newest = newest_active(held)
    return [epoch_document(about, newest) for about in held]


def epoch_document(about: KeyEpoch, newest: int) -> Document:
    """One epoch as it is told. `newest`: the one that seals."""
    return {
        "epoch": about.epoch,
        "state": about.state.value,
        "is_retiring": about.state is KeyState.ACTIVE and about.epoch < newest,
        "created_at_ms": about.created_at_ms,
        "changed_at_ms": about.changed_at_ms,
    }
