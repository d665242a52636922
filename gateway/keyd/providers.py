"""What the key service keeps keys in: a sealed file.

Part of the composition root of `hexagone keyd`: here, and nowhere else, a provider is chosen.
"""

from __future__ import annotations

from gateway.config_keys import KeydConfig, KeydProvider
from gateway.data.envelope import KeyProvider
from gateway.data.keyring import FileKeyring
from gateway.keyd.secret import CLUSTER_ID_BYTES, KeydSecret
from storaged.base.config import check_secret_file
from storaged.base.env import Env
from storaged.base.errors import ConfigError

PASSPHRASE_BYTES_MAX = 4096


def open_key_provider(config: KeydConfig, env: Env) -> KeyProvider:
    """The provider of a key service's configuration, opened.

    Raises: ConfigError: KeydSecretInvalid, KeyringInvalid, or a provider that is not there.
    """
    secret = open_secret_of(config)
    match config.provider:
        case KeydProvider.FILE:
            return FileKeyring(config.folder, secret, env)
        case KeydProvider.PKCS11:
            raise ConfigError(key="provider", reason="not built into this program")


def open_secret_of(config: KeydConfig) -> KeydSecret:
    """The service's own secret. Raises: KeydSecretInvalid, ConfigError."""
    return KeydSecret.load(config.folder, cluster_id_of(config), passphrase_of(config))


def cluster_id_of(config: KeydConfig) -> bytes:
    """Raises: ConfigError."""
    try:
        found = bytes.fromhex(config.cluster_id)
    except ValueError:
        found = b""
    if len(found) != CLUSTER_ID_BYTES:
        raise ConfigError(key="cluster_id", reason="32 hexadecimal digits are wanted")
    return found


def passphrase_of(config: KeydConfig) -> bytes | None:
    """The text of the passphrase's file without its last line's end. Raises: ConfigError."""
    path = config.passphrase
    if path is None:
        return None
    check_secret_file(path, "passphrase")
    try:
        text = path.read_bytes()[: PASSPHRASE_BYTES_MAX + 1].rstrip(b"\r\n")
    except OSError as error:
        raise ConfigError(key="passphrase", path=path, reason=error.strerror) from error
    if not 1 <= len(text) <= PASSPHRASE_BYTES_MAX:
        raise ConfigError(key="passphrase", path=path, reason="empty, or too long")
    return text
