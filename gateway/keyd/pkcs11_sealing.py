"""Secrets wrapped by a key that never leaves a token: the bytes, and the intermediate keys.

Not for which key, nor whether it may be used: `gateway.keyd.pkcs11_keyring`.

Wrapped = 1 ‖ nonce 12 ‖ AES-256-GCM(token's key; intermediate key 32) ‖ `seal_secret` under the
intermediate key. AES-GCM alone commits to no key: bytes can be made that open under two (CRY-01).
Here they cannot: what a token opens is only an intermediate key, and the commitment of what lies
under that, which binds the CKA_ID and the context, is compared before anything of it is opened.

An intermediate key is used once where `context` is bound by the token itself (`wrap`). Where
secrets are many, one per object, it is shared for up to SHARED_S seconds (`wrap_shared`), so that
no object waits for the token; each of them is sealed under a key of its own that is derived from
it with a fresh salt.

Invariants: D4, D5; CRY-02: the commitment is compared at each open, cached or not.
Source: docs/hsm.md, "How a secret is wrapped".
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable

from gateway.data.cipher import KEY_BYTES, SALT_BYTES
from gateway.data.envelope import SealInvalid, open_secret, seal_secret
from gateway.keyd.pkcs11_port import GCM_TAG_BYTES, NONCE_BYTES, HsmUnavailable, Token
from gateway.model.encoding import enc
from storaged.base.env import Env

FORM = b"\x01"
HEAD_BYTES = len(FORM) + NONCE_BYTES + KEY_BYTES + GCM_TAG_BYTES
SHARED_S = 300.0
SHARED_USES_MAX = 1 << 20
SHARED_MAX = 4096  # intermediate keys held open

Decrypt = Callable[[bytes, bytes], bytes]
"""(associated data, sealed) → plain, by the token; raises SealInvalid."""


class TokenSealing:
    """Wraps and unwraps with keys of a token. Any thread may call."""

    def __init__(self, token: Token, cluster_id: bytes, env: Env) -> None:
        self._token = token
        self._cluster_id = cluster_id
        self._env = env
        self._lock = threading.Lock()
        # What is shared for wrapping: key id → (until, uses left, wrapped, clear).
        self._shared: dict[bytes, tuple[float, int, bytes, bytes]] = {}
        # What was opened for unwrapping: (key id, wrapped) → (until, clear).
        self._opened: OrderedDict[tuple[bytes, bytes], tuple[float, bytes]] = OrderedDict()

    def __repr__(self) -> str:
        return f"TokenSealing({len(self._opened)} held)"

    def wrap(self, key_id: bytes, label: str, context: bytes, secret: bytes) -> bytes:
        """Wrap a secret under an intermediate key of its own; one use of the token's key."""
        head, clear = self._intermediate(key_id, self._bound(key_id, label, context))
        return head + self._sealed(clear, key_id, label, context, secret)

    def unwrap(
        self, key_id: bytes, label: str, context: bytes, wrapped: bytes, decrypt: Decrypt
    ) -> bytes:
        """What `wrap` made. Raises: SealInvalid, as `decrypt`."""
        head = _head(label, wrapped)
        clear = decrypt(self._bound(key_id, label, context), head[len(FORM) :])
        return self._open(clear, key_id, label, context, wrapped)

    def wrap_shared(
        self, key_id: bytes, label: str, context: bytes, secret: bytes, use: Callable[[], None]
    ) -> bytes:
        """Wrap a secret under a shared intermediate key.

        Args:
            use: called when the token's key is about to be used.
        """
        now_s = self._env.monotonic_s()
        with self._lock:
            held = self._shared.get(key_id)
            if held is not None and (held[0] <= now_s or held[1] <= 0):
                held = None
        if held is None:  # two at once make two, which is as good
            use()
            head, clear = self._intermediate(key_id, self._bound(key_id, label, b""))
            held = now_s + SHARED_S, SHARED_USES_MAX, head, clear
        until_s, uses, head, clear = held
        with self._lock:
            if len(self._shared) >= SHARED_MAX:
                self._shared.clear()
            self._shared[key_id] = until_s, uses - 1, head, clear
        return head + self._sealed(clear, key_id, label, context, secret)

    def unwrap_shared(
        self, key_id: bytes, label: str, context: bytes, wrapped: bytes, decrypt: Decrypt
    ) -> bytes:
        """What `wrap_shared` made. Raises: SealInvalid, as `decrypt`."""
        head = _head(label, wrapped)
        now_s = self._env.monotonic_s()
        held = self._opened.get((key_id, head))
        if held is not None and held[0] > now_s:
            return self._open(held[1], key_id, label, context, wrapped)
        clear = decrypt(self._bound(key_id, label, b""), head[len(FORM) :])
        with self._lock:
            self._opened[key_id, head] = now_s + SHARED_S, clear
            if len(self._opened) > SHARED_MAX:
                self._opened.popitem(last=False)
        return self._open(clear, key_id, label, context, wrapped)

    def forget(self) -> None:
        """Drop all intermediate keys: a key was destroyed."""
        with self._lock:
            self._shared.clear()
            self._opened.clear()

    def _intermediate(self, key_id: bytes, associated: bytes) -> tuple[bytes, bytes]:
        """A fresh one: what stands before what is sealed under it, and itself.

        The token opens what it has sealed before anybody relies on that.
        """
        clear = self._env.random_bytes(KEY_BYTES)
        sealed = self._token.encrypt(key_id, associated, clear)
        if self._token.decrypt(key_id, associated, sealed) != clear:
            raise HsmUnavailable(token=self._token.label, reason="it opens what it seals otherwise")
        return FORM + sealed, clear

    def _sealed(
        self, clear: bytes, key_id: bytes, label: str, context: bytes, secret: bytes
    ) -> bytes:
        salt = self._env.random_bytes(SALT_BYTES)
        return seal_secret(clear, label, self._bound(key_id, label, context), secret, salt)

    def _open(
        self, clear: bytes, key_id: bytes, label: str, context: bytes, wrapped: bytes
    ) -> bytes:
        if len(clear) != KEY_BYTES:
            raise SealInvalid(label=label, secret_bytes=len(clear))
        bound = self._bound(key_id, label, context)
        return open_secret(clear, label, bound, bytes(wrapped[HEAD_BYTES:]))

    def _bound(self, key_id: bytes, label: str, context: bytes) -> bytes:
        return enc("hsm/" + label, self._cluster_id, key_id, context)


def _head(label: str, wrapped: bytes) -> bytes:
    if len(wrapped) <= HEAD_BYTES or wrapped[:1] != FORM:
        raise SealInvalid(label=label, record_bytes=len(wrapped))
    return bytes(wrapped[:HEAD_BYTES])
