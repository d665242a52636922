"""Keys that gateways kept, taken over by the key service at its first start.

What a gateway with `[keys] provider = "file"` has in its folder, sealed under the root key, comes
under the key service's own secret, and the gateway's file is removed once all of it is durable here
and was read back. Interrupted anywhere, the next start does the rest. What it was sealed under is
kept, sealed, so that copies of the keyring from before, as a rebuild may find them in the log, can
still be imported through the key service.

Source: docs/key-service.md, "Taking keys over".
"""

from __future__ import annotations

from pathlib import Path

from gateway.config_keys import KeydConfig
from gateway.data.approval_book import APPROVERS_FILE
from gateway.data.cipher import KEY_BYTES, SALT_BYTES
from gateway.data.envelope import SealInvalid, open_secret, seal_secret
from gateway.data.keyring import ROOT_FILE, TENANTS_FILE, FileKeyring, KeyringInvalid, RootKey
from gateway.keyd.secret import KeydSecret
from gateway.model.encoding import enc
from storaged.base.durable import replace_file, sync_directory
from storaged.base.env import Env
from storaged.base.errors import ConfigError
from storaged.base.log import Log

FORMER_FILE = "former.sealed"

_LABEL = "former-keyring"
_APPROVERS_LABEL = "approvers"
_MAGIC_BYTES = 4
_LOG = Log("gateway.keyd")


def adopted_keyring(config: KeydConfig, secret: KeydSecret, env: Env) -> FileKeyring:
    """The keyring of a key service, with what it takes over.

    Raises: ConfigError: the former folder is of another cluster, or does not open.
    """
    if config.former_keys is not None and (config.former_keys / ROOT_FILE).exists():
        root = RootKey.load(config.former_keys)
        if root.cluster_id != secret.cluster_id:
            raise ConfigError(
                key="former_keys", reason="another cluster's", cluster=root.cluster_id.hex()
            )
        _keep_former(config.folder, config.former_keys / TENANTS_FILE, secret, root, env)
        _adopt_approvers(config, secret, root, env)
        keyring = FileKeyring(config.folder, secret, env, former_of(config.folder, secret))
        _adopt_keys(config, keyring, secret, env)
        return keyring
    return FileKeyring(config.folder, secret, env, former_of(config.folder, secret))


def _keep_former(
    folder: Path, former_file: Path, secret: KeydSecret, root: RootKey, env: Env
) -> None:
    """Keep what the keyring was sealed under, where there was one. Idempotent."""
    if (folder / FORMER_FILE).exists() or not former_file.exists():
        return
    former, salt = root.derive("tenant-keyring"), env.random_bytes(SALT_BYTES)
    key, context = secret.derive("former"), enc(_LABEL, secret.cluster_id)
    replace_file(folder / FORMER_FILE, seal_secret(key, _LABEL, context, former, salt))


def former_of(folder: Path, secret: KeydSecret) -> bytes | None:
    """What copies were sealed under before, if there is anything. Raises: KeyringInvalid."""
    path = folder / FORMER_FILE
    try:
        sealed = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise KeyringInvalid(path=path, reason=error.strerror) from error
    key, context = secret.derive("former"), enc(_LABEL, secret.cluster_id)
    try:
        former = open_secret(key, _LABEL, context, sealed)
    except SealInvalid as error:
        raise KeyringInvalid(path=path) from error
    if len(former) != KEY_BYTES:
        raise KeyringInvalid(path=path, file_bytes=len(sealed))
    return former


def _adopt_keys(config: KeydConfig, keyring: FileKeyring, secret: KeydSecret, env: Env) -> None:
    assert config.former_keys is not None
    path = config.former_keys / TENANTS_FILE
    try:
        sealed = path.read_bytes()
    except FileNotFoundError:
        return
    except OSError as error:
        raise KeyringInvalid(path=path, reason=error.strerror) from error
    try:
        keyring.import_sealed(sealed)
    except SealInvalid as error:
        raise KeyringInvalid(path=path) from error
    # Before the only other copy on this machine goes, what was written is read once more.
    written = FileKeyring(config.folder, secret, env)
    if not written.is_whole(keyring.export_sealed()) or not keyring.is_whole(
        written.export_sealed()
    ):
        raise KeyringInvalid(path=config.folder / TENANTS_FILE, reason="not as it was written")
    _remove(path)
    _LOG.warning("keys taken over", path=str(path), keys=repr(written))


def _adopt_approvers(config: KeydConfig, secret: KeydSecret, root: RootKey, env: Env) -> None:
    """The approvers that the gateway's keyring knew, and which approvals were used."""
    assert config.former_keys is not None
    path, to = config.former_keys / APPROVERS_FILE, config.folder / APPROVERS_FILE
    if not path.exists():
        return
    if not to.exists():
        content, context = path.read_bytes(), enc("approvers", secret.cluster_id)
        try:
            plain = open_secret(
                root.derive("approvers"), _APPROVERS_LABEL, context, content[_MAGIC_BYTES:]
            )
        except SealInvalid as error:
            raise ConfigError(key="former_keys", path=path, reason="does not open") from error
        salt = env.random_bytes(SALT_BYTES)
        sealed = seal_secret(secret.derive("approvers"), _APPROVERS_LABEL, context, plain, salt)
        replace_file(to, content[:_MAGIC_BYTES] + sealed)
    _remove(path)


def _remove(path: Path) -> None:
    path.unlink()
    sync_directory(path.parent)
