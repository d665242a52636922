"""The tenant keys in a sealed file: beside the root key, or in the key service's own folder.

Not for bucket keys or DEKs: those are wrapped and live in rows. `tenants.sealed` is described in
`gateway.data.keyring_form`.

Source: docs/data-layout.md, "Keys".
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

from gateway.approvals.request import named_key_item, tenant_key_item
from gateway.data.approval_book import ApprovalBook, KeepsApprovers
from gateway.data.cipher import KEY_BYTES, SALT_BYTES
from gateway.data.envelope import (
    NAME_BYTES_MAX,
    KeyChangeRefused,
    KeyringConflict,
    NamedKeyDisabled,
    NamedKeyMissing,
    SealInvalid,
    TenantKeyDisabled,
    TenantKeyMissing,
    open_secret,
    seal_secret,
)
from gateway.data.keyring_form import (
    TENANT_ID_BYTES,
    TENANT_KEY,
    HeldKey,
    KeyId,
    Keys,
    SealingRoot,
    open_keys,
    seal_keys,
)
from gateway.data.named_form import parted, with_epoch
from gateway.data.root_key import ROOT_FILE as ROOT_FILE
from gateway.data.root_key import RootKey as RootKey
from gateway.data.root_key import RootKeyInvalid as RootKeyInvalid
from gateway.model.encoding import enc
from gateway.model.key_states import (
    FIRST_EPOCH,
    REFUSING,
    KeyEpoch,
    KeyState,
    become,
    is_later,
    may_become,
)
from storaged.base.durable import replace_file
from storaged.base.env import Env
from storaged.base.errors import ConfigError

TENANTS_FILE = "tenants.sealed"
CLOSED_FILE = "former.closed"  # beside the keyring: a copy of today was imported
KEYS_MAX = 100_000  # 4.8 MB of keyring without the names


class KeyringInvalid(ConfigError):
    """The file of tenant keys is not usable."""

    hint = "restore it, or delete it and import the sealed copy from the log"


class FileKeyring(KeepsApprovers):
    """`KeyProvider` over `folder/tenants.sealed`, sealed under `root`. Any thread may call.

    Args:
        former: what copies were sealed under before `root`; they can be imported, and are no whole
            ones.

    Attributes:
        is_elsewhere: whether another provider knows an epoch of a tenant's key.

    Raises (on construction):
        KeyringInvalid: the file is there and does not open under this root key.
    """

    def __init__(
        self, folder: Path, root: SealingRoot, env: Env, former: bytes | None = None
    ) -> None:
        self._path = folder / TENANTS_FILE
        self._env = env
        self._cluster_id = root.cluster_id
        self._sealing_key = root.derive("tenant-keyring")
        self._former = former
        self._closed = folder / CLOSED_FILE
        self._book = ApprovalBook(folder, root.derive("approvers"), root.cluster_id, env)
        self._lock = threading.Lock()
        self.is_elsewhere: Callable[[bytes, int], bool] = lambda tenant, epoch: False
        self._keys: Keys = {}
        self._active: dict[tuple[bytes, bytes], int] = {}  # epoch of each key that wraps
        self._named: set[tuple[bytes, bytes]] = set()  # tenants and names of keys that are there
        try:
            sealed = self._path.read_bytes()
        except FileNotFoundError:
            return
        except OSError as error:
            raise KeyringInvalid(path=self._path, reason=error.strerror) from error
        try:
            self._hold(self._open(sealed))
        except SealInvalid as error:
            raise KeyringInvalid(path=self._path) from error

    def __repr__(self) -> str:
        return f"FileKeyring(keys={len(self._keys)})"

    def create_tenant_key(self, tenant_id: bytes) -> None:
        """Make the tenant's key unless it is there; see the port."""
        self._create(tenant_id, TENANT_KEY)

    def create_named_key(self, tenant_id: bytes, name: str) -> None:
        """Make a named key unless it is there; see the port."""
        self.active_epoch(tenant_id)
        encoded = name.encode()
        assert 1 <= len(encoded) <= NAME_BYTES_MAX
        self._create(tenant_id, encoded)

    def _create(self, tenant_id: bytes, name: bytes) -> None:
        assert len(tenant_id) == TENANT_ID_BYTES
        with self._lock:
            if (tenant_id, name, FIRST_EPOCH) not in self._keys:
                self._add(tenant_id, name, FIRST_EPOCH, KeyState.ACTIVE)

    def _add(self, tenant_id: bytes, name: bytes, epoch: int, state: KeyState) -> None:
        now_ms = self._env.now_ms()
        about = KeyEpoch(epoch=epoch, state=state, created_at_ms=now_ms, changed_at_ms=now_ms)
        held = HeldKey(self._env.random_bytes(KEY_BYTES), about)
        self._save({**self._keys, (tenant_id, name, epoch): held})

    def tenant_epochs(self, tenant_id: bytes) -> list[KeyEpoch]:
        """Epochs of the tenant's key; see the port."""
        return self._epochs(tenant_id, TENANT_KEY)

    def named_epochs(self, tenant_id: bytes, name: str) -> list[KeyEpoch]:
        """Epochs of a named key; see the port."""
        return self._epochs(tenant_id, name.encode()) if name else []

    def _epochs(self, tenant_id: bytes, name: bytes) -> list[KeyEpoch]:
        held = [one.about for key_id, one in self._keys.items() if key_id[:2] == (tenant_id, name)]
        return sorted(held, key=lambda about: about.epoch)

    def tenants(self) -> list[bytes]:
        """Ids of all tenants that it knows, also of those whose keys are destroyed."""
        return sorted({tenant for tenant, _, _ in self._keys})

    def forget(self) -> None:
        """Know no key any longer; the file is the caller's."""
        with self._lock:
            self._hold({})

    def active_epoch(self, tenant_id: bytes) -> int:
        """The epoch that wraps; see the port."""
        epoch = self._active.get((tenant_id, TENANT_KEY))
        if epoch is None:
            raise TenantKeyMissing(tenant=tenant_id.hex())
        return epoch

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
            held = self._epochs(tenant_id, name)
            if not held:
                raise TenantKeyMissing(tenant=tenant_id.hex())
            if held[-1].state is KeyState.PENDING:
                return held[-1].epoch
            self._add(tenant_id, name, held[-1].epoch + 1, KeyState.PENDING)
            return held[-1].epoch + 1

    def set_tenant_epoch(
        self, tenant_id: bytes, epoch: int, state: KeyState, warrant: bytes = b""
    ) -> None:
        """Change the state of an epoch; see the port."""
        item = tenant_key_item(tenant_id, epoch)
        with self._lock:
            if not self._lives((tenant_id, TENANT_KEY, epoch)):
                raise TenantKeyMissing(tenant=tenant_id.hex(), epoch=epoch)
            self._set_state((tenant_id, TENANT_KEY, epoch), state, item, warrant)

    def set_named_epoch(
        self, tenant_id: bytes, name: str, epoch: int, state: KeyState, warrant: bytes = b""
    ) -> None:
        """Change the state of an epoch of a named key; see the port."""
        item = named_key_item(tenant_id, name, epoch)
        with self._lock:
            if not name or not self._lives((tenant_id, name.encode(), epoch)):
                raise NamedKeyMissing(tenant=tenant_id.hex(), name=name, epoch=epoch)
            self._set_state((tenant_id, name.encode(), epoch), state, item, warrant)

    def _lives(self, key_id: KeyId) -> bool:
        held = self._keys.get(key_id)
        return held is not None and held.about.state is not KeyState.DESTROYED

    def _set_state(self, key_id: KeyId, state: KeyState, item: str, warrant: bytes) -> None:
        held, tenant_id = self._keys[key_id], key_id[0]
        if held.about.state is state:
            return
        if not may_become(held.about, state):
            raise KeyChangeRefused(was=held.about.state.value, wanted=state.value)
        if state is KeyState.DESTROYED:
            self._book.verify(item, warrant)
        changed = {**self._keys, key_id: self._become(held, state)}
        if key_id[1] == TENANT_KEY and not any(
            one.key
            for (tenant, name, _), one in changed.items()
            if (tenant, name) == (tenant_id, TENANT_KEY)
        ):  # the last epoch takes the named keys along
            for named in [named for named in changed if named[0] == tenant_id]:
                changed[named] = self._become(changed[named], KeyState.DESTROYED)
        self._save(changed)
        if state is KeyState.DESTROYED:
            self._book.spend(item, warrant, item)

    def _become(self, held: HeldKey, state: KeyState) -> HeldKey:
        if held.about.state is state:
            return held
        about = become(held.about, state, self._env.now_ms())
        return HeldKey(b"" if state is KeyState.DESTROYED else held.key, about)

    def wrap_bucket_key(
        self,
        tenant_id: bytes,
        bucket_id: bytes,
        epoch: int,
        key: bytes,
        tenant_epoch: int = FIRST_EPOCH,
    ) -> bytes:
        """Wrap a bucket key under the tenant's key; see the port."""
        assert len(key) == KEY_BYTES
        context = self._context(tenant_id, bucket_id, epoch)
        salt = self._env.random_bytes(SALT_BYTES)
        return seal_secret(
            self._tenant_key(tenant_id, tenant_epoch), "wrap-bucket", context, key, salt
        )

    def unwrap_bucket_key(
        self,
        tenant_id: bytes,
        bucket_id: bytes,
        epoch: int,
        wrapped: bytes,
        tenant_epoch: int = FIRST_EPOCH,
    ) -> bytes:
        """The bucket key; see the port."""
        context = self._context(tenant_id, bucket_id, epoch)
        return open_secret(
            self._tenant_key(tenant_id, tenant_epoch), "wrap-bucket", context, wrapped
        )

    def has_named_key(self, tenant_id: bytes, name: str) -> bool:
        """Whether there is a key of that name; see the port."""
        return bool(name) and (tenant_id, name.encode()) in self._named

    def named_keys(self, tenant_id: bytes) -> list[str]:
        """Names of the tenant's keys; see the port."""
        return sorted(name.decode() for of, name in self._named if of == tenant_id)

    def wrap_named(self, tenant_id: bytes, name: str, context: bytes, secret: bytes) -> bytes:
        """Seal a secret under a named key; see the port."""
        epoch = self._active.get((tenant_id, name.encode()), FIRST_EPOCH)
        key, salt = self._named_key(tenant_id, name, epoch), self._env.random_bytes(SALT_BYTES)
        return with_epoch(epoch, seal_secret(key, "wrap-named", context, secret, salt))

    def unwrap_named(self, tenant_id: bytes, name: str, context: bytes, wrapped: bytes) -> bytes:
        """The secret; see the port."""
        epoch, sealed = parted(wrapped)
        return open_secret(self._named_key(tenant_id, name, epoch), "wrap-named", context, sealed)

    def export_sealed(self) -> bytes:
        """All keys, sealed; see the port."""
        with self._lock:
            return self._seal(self._keys)

    def is_whole(self, sealed: bytes) -> bool:
        """Whether a copy has every key as it is here; see the port."""
        if self._former is not None and self._opens_formerly(sealed) is not None:
            return False
        copy = self._open(sealed)
        return all(
            key_id in copy
            and copy[key_id].key == held.key
            and copy[key_id].about.state is held.about.state
            for key_id, held in self._keys.items()
        )

    def import_sealed(self, sealed: bytes) -> None:
        """Add the keys of a sealed copy; see the port.

        Who has what copies were sealed under before can make one. So once a copy of today was here,
        those of before bring whole tenants back that are lost, and change none that is known.
        """
        formerly = self._opens_formerly(sealed)
        found = self._open(sealed) if formerly is None else formerly
        with self._lock:
            if self._former is not None and formerly is None and not self._closed.exists():
                replace_file(self._closed, b"")
            elif formerly is not None and self._closed.exists():
                found = self._of_lost_tenants(formerly)
            merged = dict(self._keys)
            for key_id, theirs in self._of_here(found).items():
                ours = merged.setdefault(key_id, theirs)
                if ours.key and theirs.key and ours.key != theirs.key:
                    raise KeyringConflict(tenant=key_id[0].hex())
                if is_later(theirs.about, ours.about):
                    merged[key_id] = theirs
            if merged != self._keys:
                self._save(merged)

    def _of_here(self, found: Keys) -> Keys:
        """Without epochs that are elsewhere, and without the named keys of whose tenant none is."""
        held = {
            (tenant, name, epoch): one
            for (tenant, name, epoch), one in found.items()
            if name != TENANT_KEY or not self.is_elsewhere(tenant, epoch)
        }
        known = {tenant for tenant, name, _ in (*held, *self._keys) if name == TENANT_KEY}
        return {key_id: one for key_id, one in held.items() if key_id[0] in known}

    def _of_lost_tenants(self, found: Keys) -> Keys:
        """Raises: KeyringConflict: a known tenant has a key there that it has not here."""
        known = {tenant for tenant, _, _ in self._keys}
        for tenant in {key_id[0] for key_id in found.keys() - self._keys.keys()} & known:
            raise KeyringConflict(tenant=tenant.hex(), reason="sealed as before, with another key")
        return {key_id: held for key_id, held in found.items() if key_id[0] not in known}

    def _tenant_key(self, tenant_id: bytes, epoch: int) -> bytes:
        held = self._keys.get((tenant_id, TENANT_KEY, epoch))
        if held is None:
            raise TenantKeyMissing(tenant=tenant_id.hex(), epoch=epoch)
        if held.about.state in REFUSING:
            raise TenantKeyDisabled(tenant=tenant_id.hex(), epoch=epoch)
        return held.key

    def _named_key(self, tenant_id: bytes, name: str, epoch: int) -> bytes:
        held = self._keys.get((tenant_id, name.encode(), epoch)) if name else None
        if held is None or not self.has_named_key(tenant_id, name):
            raise NamedKeyMissing(tenant=tenant_id.hex(), name=name, epoch=epoch)
        if held.about.state in REFUSING:
            raise NamedKeyDisabled(tenant=tenant_id.hex(), name=name, epoch=epoch)
        return held.key

    def _context(self, tenant_id: bytes, bucket_id: bytes, epoch: int) -> bytes:
        return enc("bucket", self._cluster_id, tenant_id, bucket_id, epoch)

    def _save(self, keys: Keys) -> None:
        if len(keys) > KEYS_MAX:
            raise KeyringInvalid(path=self._path, keys_max=KEYS_MAX)
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        replace_file(self._path, self._seal(keys))
        self._hold(keys)

    def _hold(self, keys: Keys) -> None:
        self._keys = keys
        self._active = {
            (tenant, name): epoch
            for (tenant, name, epoch), held in sorted(keys.items(), key=lambda item: item[0])
            if held.about.state is KeyState.ACTIVE
        }
        self._named = {key_id[:2] for key_id, held in keys.items() if key_id[1] and held.key}

    def _seal(self, keys: Keys) -> bytes:
        salt = self._env.random_bytes(SALT_BYTES)
        return seal_keys(self._sealing_key, self._cluster_id, keys, salt)

    def _open(self, sealed: bytes) -> Keys:
        return open_keys(self._sealing_key, self._cluster_id, sealed)

    def _opens_formerly(self, sealed: bytes) -> Keys | None:
        if self._former is None:
            return None
        try:
            return open_keys(self._former, self._cluster_id, sealed)
        except SealInvalid:
            return None
