"""The key service's own secret: what its keys are sealed under, and no gateway can derive.

`keyd.key` is the raw 32 bytes, or, with a passphrase, "HXP" ‖ 1 ‖ scrypt salt 24 ‖ the secret
sealed under scrypt(passphrase, salt). It is readable by its owner only. Lose it and no tenant's
key opens ever again: there is no way around it by the root key, that is what it is for.

Source: docs/key-service.md; RFC 7914.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from gateway.data.cipher import KEY_BYTES, SALT_BYTES, expand
from gateway.data.envelope import SealInvalid, open_secret, seal_secret
from gateway.data.passphrase import passphrase_key
from gateway.model.encoding import enc
from storaged.base.durable import replace_file
from storaged.base.env import Env
from storaged.base.errors import ConfigError

SECRET_FILE = "keyd.key"
CLUSTER_ID_BYTES = 16

_MAGIC = b"HXP\x01"
_LABEL = "keyd-secret"
_FILE_BYTES_MAX = 1024


class KeydSecretInvalid(ConfigError):
    """The key service's secret is not usable."""

    hint = "`hexagone keyd init` makes it once; the file belongs to this user and has mode 0600"


class KeydSecretLost(KeydSecretInvalid):
    """The key service's secret is gone, and another one opens nothing."""

    hint = "bring the key service's folder back: `hexagone keys recovery restore`, or a copy of it"


class KeydSecret:
    """32 bytes, of one cluster; a `SealingRoot`."""

    __slots__ = ("_secret", "cluster_id")

    def __init__(self, secret: bytes, cluster_id: bytes) -> None:
        if len(secret) != KEY_BYTES or len(cluster_id) != CLUSTER_ID_BYTES:
            raise KeydSecretInvalid(secret_bytes=len(secret), cluster_id_bytes=len(cluster_id))
        self._secret = secret
        self.cluster_id = cluster_id

    def __repr__(self) -> str:
        return "KeydSecret(…)"

    def derive(self, label: str) -> bytes:
        """A 32-byte key for one purpose of this cluster."""
        return expand(self._secret, enc("keyd/" + label, self.cluster_id))[:KEY_BYTES]

    @classmethod
    def create(
        cls, folder: Path, cluster_id: bytes, env: Env, passphrase: bytes | None
    ) -> KeydSecret:
        """Make `folder/keyd.key`. Raises: KeydSecretInvalid: there is one already."""
        path = folder / SECRET_FILE
        if path.exists():
            raise KeydSecretInvalid(path=path, reason="exists")
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        secret = env.random_bytes(KEY_BYTES)
        content = secret
        if passphrase is not None:
            salt = env.random_bytes(SALT_BYTES)
            wrapping = passphrase_key(passphrase, salt)
            sealed = seal_secret(wrapping, _LABEL, b"", secret, env.random_bytes(SALT_BYTES))
            content = _MAGIC + salt + sealed
        replace_file(path, content)
        return cls(secret, cluster_id)

    @classmethod
    def load(cls, folder: Path, cluster_id: bytes, passphrase: bytes | None) -> KeydSecret:
        """Read `folder/keyd.key`.

        Raises: KeydSecretInvalid: absent, readable by others, of another form; the passphrase is
            wrong, missing, or there is one though the file has none.
        """
        path = folder / SECRET_FILE
        try:
            with path.open("rb") as file:
                status = os.fstat(file.fileno())
                content = file.read(_FILE_BYTES_MAX)
        except OSError as error:
            raise KeydSecretInvalid(path=path, reason=error.strerror) from error
        mode = stat.S_IMODE(status.st_mode)
        if mode & 0o077 or status.st_uid != os.geteuid():
            raise KeydSecretInvalid(path=path, mode=f"{mode:04o}", owner=status.st_uid)
        if len(content) == KEY_BYTES and passphrase is None:
            return cls(content, cluster_id)
        if not content.startswith(_MAGIC) or passphrase is None:
            raise KeydSecretInvalid(path=path, file_bytes=len(content), passphrase=bool(passphrase))
        salt, sealed = content[4 : 4 + SALT_BYTES], content[4 + SALT_BYTES :]
        try:
            secret = open_secret(passphrase_key(passphrase, salt), _LABEL, b"", sealed)
        except SealInvalid as error:
            raise KeydSecretInvalid(path=path, reason="wrong passphrase") from error
        return cls(secret, cluster_id)
