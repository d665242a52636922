"""A token in memory that fails where a test says so: what no SoftHSM can be made to do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from gateway.keyd.pkcs11_port import HsmKeyMissing, HsmRefused, TokenKey
from storaged.base.errors import StorageError


class MemoryToken:
    """`Token` over a dict. No attributes, no PIN.

    Attributes:
        held: key id → key and label; a test may take keys out or put others in.
        calls: names of calls, in order.
    """

    def __init__(self, seed: int = 0) -> None:
        self.label = "memory"
        self.held: dict[bytes, tuple[bytes, str]] = {}
        self.calls: list[str] = []
        self._made = seed << 32
        self._fails: list[tuple[str, StorageError | None, StorageError | None]] = []

    @contextmanager
    def failing(
        self,
        verb: str,
        *,
        before: StorageError | None = None,
        after: StorageError | None = None,
    ) -> Iterator[None]:
        """Calls of a verb fail: before they have had an effect, or after."""
        self._fails.append((verb, before, after))
        try:
            yield
        finally:
            self._fails.pop()

    def ready(self) -> None:
        """See `Token`."""
        self._begin("ready")

    def ensure_key(self, key_id: bytes, label: str) -> None:
        """See `Token`."""
        self._begin("ensure_key")
        if key_id not in self.held:
            self._made += 1
            self.held[key_id] = self._made.to_bytes(32, "big"), label
        self._end("ensure_key")

    def encrypt(self, key_id: bytes, associated: bytes, plain: bytes) -> bytes:
        """See `Token`."""
        self._begin("encrypt")
        self._made += 1
        nonce = self._made.to_bytes(12, "big")
        sealed = nonce + AESGCM(self._key(key_id)).encrypt(nonce, plain, associated)
        self._end("encrypt")
        return sealed

    def decrypt(self, key_id: bytes, associated: bytes, sealed: bytes) -> bytes:
        """See `Token`."""
        self._begin("decrypt")
        try:
            return AESGCM(self._key(key_id)).decrypt(sealed[:12], sealed[12:], associated)
        except InvalidTag as error:
            raise HsmRefused from error

    def destroy_key(self, key_id: bytes) -> None:
        """See `Token`."""
        self._begin("destroy_key")
        self.held.pop(key_id, None)
        self._end("destroy_key")

    def keys(self, label_prefix: str) -> list[TokenKey]:
        """See `Token`."""
        return [
            TokenKey(key_id=key_id, label=label)
            for key_id, (_, label) in self.held.items()
            if label.startswith(label_prefix)
        ]

    def lost(self) -> None:
        """See `Token`."""
        self.calls.append("lost")

    def _key(self, key_id: bytes) -> bytes:
        if key_id not in self.held:
            raise HsmKeyMissing(key_id=key_id.hex())
        return self.held[key_id][0]

    def _begin(self, verb: str) -> None:
        self.calls.append(verb)
        for failing, before, _ in self._fails:
            if failing == verb and before is not None:
                raise before

    def _end(self, verb: str) -> None:
        for failing, _, after in self._fails:
            if failing == verb and after is not None:
                raise after
