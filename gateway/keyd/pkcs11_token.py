"""A token behind a PKCS#11 module, as `gateway.keyd.pkcs11_port` wants it; the binding is
python-pkcs11.

Keys are AES-256, made in the token: CKA_SENSITIVE, not CKA_EXTRACTABLE, CKA_ENCRYPT and CKA_DECRYPT
only. What a token says about a key is compared with that before it is used.

Invariants: CRY-07 (nonce 12, tag 16, never without associated data), CRY-08 (the nonce is made
here), CRY-09 (what does not open is a refusal, no reason to try again), CRY-11 (an id means exactly
one key), CRY-12 (CKM_AES_GCM encrypts; no wrap mechanism).
Source: PKCS#11 v3.1, 6.13.3 "AES-GCM"; NIST SP 800-38D § 8.2.2.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Protocol, TypeVar, cast

import pkcs11
from pkcs11 import Attribute, GCMParams, KeyType, Mechanism, MechanismFlag, PKCS11Error
from pkcs11.types import SecretKey, Session

from gateway.keyd.pkcs11_module import module_of
from gateway.keyd.pkcs11_pin import PinFile
from gateway.keyd.pkcs11_port import (
    GCM_TAG_BYTES,
    KEY_ID_BYTES,
    NONCE_BYTES,
    SLOW_FACTOR,
    HsmFull,
    HsmKeyMissing,
    HsmKeyUnfit,
    HsmRefused,
    HsmUnavailable,
    TokenKey,
)
from storaged.base.env import Env

T = TypeVar("T")

KEY_BITS = 256
HANDLES_MAX = 10_000
MISSING_RETRY_S = 10.0  # a key that is not found: after how long the token is opened anew for it

# What makes the key: the token checks these, and the provider when it finds it again.
_RIGHTS: Mapping[Attribute, bool] = MappingProxyType(
    {
        Attribute.PRIVATE: True,
        Attribute.SENSITIVE: True,
        Attribute.EXTRACTABLE: False,
        Attribute.ENCRYPT: True,
        Attribute.DECRYPT: True,
        Attribute.SIGN: False,
        Attribute.VERIFY: False,
        Attribute.WRAP: False,
        Attribute.UNWRAP: False,
        Attribute.DERIVE: False,
    }
)
# What only the token itself can set: it never was otherwise.
_BIRTH: Mapping[Attribute, bool] = MappingProxyType(
    {
        Attribute.LOCAL: True,
        Attribute.ALWAYS_SENSITIVE: True,
        Attribute.NEVER_EXTRACTABLE: True,
    }
)
_FULL = (pkcs11.DeviceMemory, pkcs11.HostMemory)
# Modules do not agree on how they say that a tag does not match: SoftHSM says GeneralError.
_REFUSALS = (
    pkcs11.EncryptedDataInvalid,
    pkcs11.EncryptedDataLenRange,
    pkcs11.DataInvalid,
    pkcs11.DataLenRange,
    pkcs11.ArgumentsBad,
    pkcs11.FunctionFailed,
    pkcs11.GeneralError,
)


class _AeadKey(Protocol):
    """What the binding gives an AES key's object, which its own types do not tell of."""

    def encrypt(
        self, data: bytes, *, mechanism: Mechanism, mechanism_param: GCMParams
    ) -> bytes: ...

    def decrypt(
        self, data: bytes, *, mechanism: Mechanism, mechanism_param: GCMParams
    ) -> bytes: ...


class Pkcs11Token:
    """`Token` over a module.

    Args:
        deadline_s: of each call.
    """

    def __init__(
        self, module: Path, label: str, pin: PinFile, env: Env, *, deadline_s: float
    ) -> None:
        self.label = label
        self._module = module_of(module, env)
        self._pin = pin
        self._env = env
        self._deadline_s = deadline_s
        self._handles: dict[bytes, _AeadKey] = {}
        self._generation = -1
        self._logged_in_s = 0.0

    def __repr__(self) -> str:
        return f"Pkcs11Token({self.label})"

    def ready(self) -> None:
        """Log in; see the port."""
        self._run(lambda _: None, slow=True)

    def try_out(self, call: Callable[[Session], None]) -> None:
        """Have the module's thread do what only a report of the token wants."""
        self._run(call, slow=True)

    def ensure_key(self, key_id: bytes, label: str) -> None:
        """Make a key unless it is there; see the port."""
        assert len(key_id) == KEY_ID_BYTES

        def ensure(session: Session) -> None:
            if self._search(session, key_id) is None:
                try:
                    self._generate(session, key_id, label)
                except _FULL as error:
                    raise HsmFull(token=self.label) from error
            if self._search(session, key_id) is None:
                raise HsmUnavailable(token=self.label, reason="a key that was made is not there")

        self._run(ensure, slow=True)

    def encrypt(self, key_id: bytes, associated: bytes, plain: bytes) -> bytes:
        """Encrypt under a nonce of its own; see the port."""
        assert associated, "CRY-07"

        def encrypt(session: Session) -> bytes:
            key = self._found(session, key_id)
            nonce = self._env.random_bytes(NONCE_BYTES)
            sealed = key.encrypt(
                plain,
                mechanism=Mechanism.AES_GCM,
                mechanism_param=GCMParams(nonce, associated, 8 * GCM_TAG_BYTES),
            )
            if len(sealed) != len(plain) + GCM_TAG_BYTES:
                raise HsmUnavailable(token=self.label, reason="the token's ciphertext is too short")
            return nonce + bytes(sealed)

        return self._run(encrypt)

    def decrypt(self, key_id: bytes, associated: bytes, sealed: bytes) -> bytes:
        """Decrypt; see the port."""
        assert associated, "CRY-07"
        if len(sealed) < NONCE_BYTES + GCM_TAG_BYTES:
            raise HsmRefused(token=self.label, sealed_bytes=len(sealed))
        nonce, ciphertext = bytes(sealed[:NONCE_BYTES]), bytes(sealed[NONCE_BYTES:])

        def decrypt(session: Session) -> bytes:
            key = self._found(session, key_id)
            try:
                plain = key.decrypt(
                    ciphertext,
                    mechanism=Mechanism.AES_GCM,
                    mechanism_param=GCMParams(nonce, associated, 8 * GCM_TAG_BYTES),
                )
            except _REFUSALS as error:
                raise HsmRefused(token=self.label, reason=type(error).__name__) from error
            if len(plain) != len(ciphertext) - GCM_TAG_BYTES:
                raise HsmRefused(token=self.label, reason="length")
            return bytes(plain)

        return self._run(decrypt)

    def destroy_key(self, key_id: bytes) -> None:
        """Erase a key; see the port."""

        def destroy(session: Session) -> None:
            self._handles.pop(key_id, None)
            for key in _of_id(session, key_id):
                key.destroy()
            if _of_id(session, key_id):
                raise HsmUnavailable(token=self.label, reason="a destroyed key is still there")

        self._run(destroy, slow=True)

    def keys(self, label_prefix: str) -> list[TokenKey]:
        """Keys by the beginning of their label; see the port."""

        def listed(session: Session) -> list[TokenKey]:
            found = list(session.get_objects({Attribute.CLASS: pkcs11.ObjectClass.SECRET_KEY}))
            keys = [key for key in map(_token_key, found) if key is not None]
            return [key for key in keys if key.label.startswith(label_prefix)]

        return self._run(listed, slow=True)

    def lost(self) -> None:
        """Begin anew; see the port."""
        try:
            self._module.thread.run(self._module.forget_sessions, self._deadline_s)
        except HsmUnavailable:
            return  # it hangs: whoever calls next is told

    # On the module's thread

    def _run(self, call: Callable[[Session], T], *, slow: bool = False) -> T:
        def run() -> T:
            for is_last in (False, True):
                session = self._session()
                try:
                    return call(session)
                except PKCS11Error as error:
                    # A session that timed out, a token that was taken out and put in again.
                    self._module.forget_sessions()
                    if is_last:
                        reason = type(error).__name__
                        raise HsmUnavailable(token=self.label, reason=reason) from error
            raise AssertionError

        deadline_s = self._deadline_s * (SLOW_FACTOR if slow else 1)
        return self._module.thread.run(run, deadline_s)

    def _session(self) -> Session:
        now_s = self._env.monotonic_s()
        session = self._module.session(self.label, self._pin, now_s)
        if self._generation != self._module.generation:
            self._handles.clear()
            self._generation = self._module.generation
            self._logged_in_s = now_s
        return session

    def _found(self, session: Session, key_id: bytes) -> _AeadKey:
        held = self._handles.get(key_id)
        if held is not None:
            return held
        found = self._search(session, key_id)
        if found is None:
            # A module may go on with a session of a token that is not there any more.
            if self._env.monotonic_s() - self._logged_in_s > MISSING_RETRY_S:
                raise pkcs11.TokenNotPresent
            raise HsmKeyMissing(token=self.label, key_id=key_id.hex())
        if len(self._handles) >= HANDLES_MAX:
            self._handles.clear()
        self._handles[key_id] = found
        return found

    def _search(self, session: Session, key_id: bytes) -> _AeadKey | None:
        found = _of_id(session, key_id)
        if len(found) > 1:
            raise HsmKeyUnfit(token=self.label, key_id=key_id.hex(), reason="several have this id")
        if not found:
            return None
        key = found[0]
        if not isinstance(key, SecretKey) or key.key_type is not KeyType.AES:
            raise HsmKeyUnfit(token=self.label, key_id=key_id.hex(), reason="no AES key")
        wrong = [name.name for name, value in _RIGHTS.items() if key[name] is not value]
        wrong += [name.name for name, value in _BIRTH.items() if key[name] is not value]
        if key[Attribute.VALUE_LEN] * 8 != KEY_BITS:
            wrong.append(Attribute.VALUE_LEN.name)
        if wrong:
            raise HsmKeyUnfit(token=self.label, key_id=key_id.hex(), attributes=", ".join(wrong))
        return cast(_AeadKey, key)

    def _generate(self, session: Session, key_id: bytes, label: str) -> None:
        session.generate_key(
            KeyType.AES,
            KEY_BITS,
            id=key_id,
            label=label,
            store=True,
            capabilities=MechanismFlag.ENCRYPT | MechanismFlag.DECRYPT,
            template=dict(_RIGHTS),
        )


def _of_id(session: Session, key_id: bytes) -> list[pkcs11.Object]:
    template = {Attribute.CLASS: pkcs11.ObjectClass.SECRET_KEY, Attribute.ID: key_id}
    return list(session.get_objects(template))


def _token_key(found: pkcs11.Object) -> TokenKey | None:
    """None: a key of somebody else, who names his otherwise."""
    try:
        return TokenKey(key_id=found[Attribute.ID], label=found[Attribute.LABEL])
    except (pkcs11.AttributeTypeInvalid, pkcs11.AttributeSensitive, UnicodeDecodeError):
        return None
