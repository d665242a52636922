"""The root key in a file, and what is derived from it.

Not for keys of tenants: `gateway.data.keyring`. Lose the root key and nothing opens ever again.

`root.key` is the raw 32 bytes, or, with a passphrase, "HXR" ‖ 1 ‖ scrypt salt 24 ‖ the key sealed
under scrypt(passphrase, salt; n = 2^15, r = 8, p = 1). It must be readable by its owner only.

Source: docs/data-layout.md, "Keys"; RFC 5869, RFC 7914.
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
from storaged.base.ids import LogId, log_id

ROOT_FILE = "root.key"

_ROOT_MAGIC = b"HXR\x01"


class RootKeyInvalid(ConfigError):
    """The root key file is not usable."""

    hint = "it holds 32 bytes, belongs to this user and has mode 0600"


class RootKeyLost(RootKeyInvalid):
    """The root key is gone, and another one opens nothing."""

    hint = "bring the keys folder back: `hexagone keys recovery restore`, or a copy of it"


class RootKey:
    """32 bytes from which everything of a cluster that is not random is derived."""

    __slots__ = ("_key",)

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_BYTES:
            raise RootKeyInvalid(key_bytes=len(key))
        self._key = key

    def __repr__(self) -> str:
        return "RootKey(…)"

    @classmethod
    def create(cls, folder: Path, env: Env, passphrase: bytes | None = None) -> RootKey:
        """Make `folder/root.key`.

        Raises:
            RootKeyInvalid: there is one already.
        """
        path = folder / ROOT_FILE
        if path.exists():
            raise RootKeyInvalid(path=path, reason="exists")
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        key = env.random_bytes(KEY_BYTES)
        content = key
        if passphrase is not None:
            salt = env.random_bytes(SALT_BYTES)
            sealed = seal_secret(
                passphrase_key(passphrase, salt), "root", b"", key, env.random_bytes(SALT_BYTES)
            )
            content = _ROOT_MAGIC + salt + sealed
        replace_file(path, content)
        return cls(key)

    @classmethod
    def load(cls, folder: Path, passphrase: bytes | None = None) -> RootKey:
        """Read `folder/root.key`.

        Raises:
            RootKeyInvalid: absent, readable by others, of another form, or the passphrase is wrong.
        """
        path = folder / ROOT_FILE
        try:
            with path.open("rb") as file:
                status = os.fstat(file.fileno())
                content = file.read(1024)
        except OSError as error:
            raise RootKeyInvalid(path=path, reason=error.strerror) from error
        mode = stat.S_IMODE(status.st_mode)
        if mode & 0o077 or status.st_uid != os.geteuid():
            raise RootKeyInvalid(path=path, mode=f"{mode:04o}", owner=status.st_uid)
        if len(content) == KEY_BYTES:
            return cls(content)
        if not content.startswith(_ROOT_MAGIC) or passphrase is None:
            raise RootKeyInvalid(path=path, file_bytes=len(content), passphrase=bool(passphrase))
        salt, sealed = content[4 : 4 + SALT_BYTES], content[4 + SALT_BYTES :]
        try:
            return cls(open_secret(passphrase_key(passphrase, salt), "root", b"", sealed))
        except SealInvalid as error:
            raise RootKeyInvalid(path=path, reason="wrong passphrase") from error

    def derive(self, label: str, *context: bytes | str | int, length: int = KEY_BYTES) -> bytes:
        """A key for one purpose, at most 76 bytes; the same label and context give the same key."""
        assert length <= 76
        return expand(self._key, enc("root/" + label, *context))[:length]

    @property
    def cluster_id(self) -> bytes:
        """16 bytes that name the cluster; no secret."""
        return self.derive("cluster-id", length=16)

    @property
    def log_id(self) -> LogId:
        """The id of the cluster's log; no secret."""
        return log_id(self.derive("log-id", length=16))

    @property
    def log_key(self) -> bytes:
        """HMAC key of commit headers."""
        return self.derive("log-mac")

    @property
    def log_seal_key(self) -> bytes:
        """Key that the records of commit groups are sealed under."""
        return self.derive("log-seal")

    @property
    def integrity_key(self) -> bytes:
        """Key of shard tags; it opens nothing, so repair may hold it alone."""
        return self.derive("integrity")

    @property
    def cluster_record_key(self) -> bytes:
        """Key of the cluster's part of rows."""
        return self.derive("cluster-record")

    @property
    def sums_key(self) -> bytes:
        """Key of the sums that prove that no row is missing."""
        return self.derive("sums")
