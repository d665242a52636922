"""What the key service keeps keys in: a sealed file, or an HSM.

Part of the composition root of `hexagone keyd`: here, and nowhere else, a provider is chosen.
"""

from __future__ import annotations

from gateway.config_keys import KeydConfig, KeydProvider
from gateway.data.envelope import KeyProvider
from gateway.data.keyring import CLOSED_FILE, TENANTS_FILE, FileKeyring
from gateway.keyd.adoption import FORMER_FILE, adopted_keyring, former_of
from gateway.keyd.moving import MovingKeyring
from gateway.keyd.pkcs11_keyring import Pkcs11Keyring
from gateway.keyd.pkcs11_pin import REFUSED_FILE, PinFile
from gateway.keyd.pkcs11_port import Token
from gateway.keyd.pkcs11_record_file import RECORD_FILE
from gateway.keyd.pkcs11_token import Pkcs11Token
from gateway.keyd.secret import CLUSTER_ID_BYTES, KeydSecret
from storaged.base.config import check_secret_file
from storaged.base.env import Env
from storaged.base.errors import ConfigError

PASSPHRASE_BYTES_MAX = 4096


class KeysElsewhere(ConfigError):
    """The keys are in another provider than the configured one."""

    hint = 'docs/hsm.md, "Moving to one", is the way from a file into a token'


def open_key_provider(config: KeydConfig, env: Env) -> KeyProvider:
    """The provider of a key service's configuration, opened.

    Raises: ConfigError: KeydSecretInvalid, KeyringInvalid, or a provider that is not there.
    """
    secret = open_secret_of(config)
    _refuse_other(config)
    match config.provider:
        case KeydProvider.FILE:
            return adopted_keyring(config, secret, env)
        case KeydProvider.PKCS11:
            token = open_token(config, secret, env)
            provider = Pkcs11Keyring(config.folder, secret, token, env)
            if config.from_file:
                return _moving(config, secret, env, token, provider)
            provider.begin()
            return provider


def _moving(
    config: KeydConfig, secret: KeydSecret, env: Env, token: Token, new: Pkcs11Keyring
) -> MovingKeyring:
    """Both the sealed file and the token. Raises: KeyringInvalid, as the token."""
    old = FileKeyring(config.folder, secret, env, former_of(config.folder, secret))
    moving = MovingKeyring(
        config.folder,
        old,
        new,
        also=(FORMER_FILE, CLOSED_FILE),
        read_again=lambda: Pkcs11Keyring(config.folder, secret, token, env),
    )
    moving.begin()
    return moving


def _refuse_other(config: KeydConfig) -> None:
    """Keys stay where they were made, and a provider that has none of them would make others. From
    a file of this folder there is a way into a token. Raises: ConfigError.
    """
    if config.provider is KeydProvider.FILE:
        found, where = [config.folder / RECORD_FILE], "in an HSM"
    else:
        own = [] if config.from_file else [config.folder]
        folders = [*own, *([config.former_keys] if config.former_keys else [])]
        found, where = [folder / TENANTS_FILE for folder in folders], "in a sealed file"
    for path in found:
        if path.exists():
            reason = f"this cluster's keys are {where}"
            raise KeysElsewhere(key="provider", path=path, reason=reason)


def open_token(config: KeydConfig, secret: KeydSecret, env: Env) -> Pkcs11Token:
    """The token that the configuration names; nothing is asked of it yet. Raises: ConfigError."""
    named = config.pkcs11
    if named is None:
        raise ConfigError(key="pkcs11", reason="missing: module, token and pin_file")
    pin = PinFile(named.pin_file, config.folder / REFUSED_FILE, secret.derive("hsm-pin"))
    deadline_s = named.deadline_ms / 1000
    return Pkcs11Token(named.module, named.token, pin, env, deadline_s=deadline_s)


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
