"""What the PKCS#11 provider keeps beside the token: which key in it is whose, in which state, how
often it was used. No key material: who opens it without the token opens nothing.

Not for keeping it: `gateway.keyd.pkcs11_keyring`. Pure.

"HXT" ‖ 1 ‖ a sealed list of: tenant id 16 ‖ u8 length of name ‖ name ("" is the tenant's key) ‖ u32
epoch ‖ u8 state ‖ u8 state before ‖ u64 created at ‖ u64 changed at ‖ u8 phase ‖ CKA_ID 16 ‖
u64 wraps ‖ check 44. The copy that is kept with the data has the same form.

Source: docs/hsm.md, "What is kept where".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import IntEnum
from hashlib import sha256
from struct import Struct

from gateway.data.envelope import KeyringConflict, SealInvalid, open_secret, seal_secret
from gateway.data.keyring_form import TENANT_ID_BYTES, TENANT_KEY, KeyId
from gateway.keyd.pkcs11_port import GCM_TAG_BYTES, KEY_ID_BYTES, NONCE_BYTES
from gateway.model.encoding import enc
from gateway.model.key_states import REFUSING, KeyEpoch, KeyState, is_later

CHECK_BYTES = NONCE_BYTES + 16 + GCM_TAG_BYTES

FILE_MAGIC = b"HXK"  # of a sealed file's keys, in any form
BOTH_MAGIC = b"HXM\x01"  # of a copy while keys go from a file into the token

_MAGIC = b"HXT\x01"
_LABEL = "hsm-record"
_FIELDS = Struct(f">IBBQQB{KEY_ID_BYTES}sQ{CHECK_BYTES}s")
_LENGTH = Struct(">I")
_STATES = tuple(KeyState)


class Phase(IntEnum):
    """How far a key and this record agree; the record is written before the token is."""

    MAKING = 0  # the token may have it; nothing was wrapped with it
    HELD = 1
    ERASING = 2  # refuses everything; the token may have it still
    ERASED = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldInToken:
    """A key of the token.

    Args:
        check: zeros that it has encrypted once: what does not open this is another key.
        wraps: how often it may have been used to wrap: never less than it was.
    """

    key_id: bytes
    about: KeyEpoch
    phase: Phase
    check: bytes = field(default=b"", repr=False)
    wraps: int = 0

    @property
    def shown(self) -> KeyEpoch:
        """What callers are told: an epoch is DESTROYED only once a token has erased its key."""
        if self.phase is not Phase.ERASING or self.about.state in REFUSING:
            return self.about
        return replace(self.about, state=KeyState.DISABLED, before=self.about.state)


Record = dict[KeyId, HeldInToken]


class KeysNotInToken(KeyringConflict):
    """The copy is of keys that are in a sealed file, which no token takes."""

    hint = "move them: `from_file = true` in keyd.toml, then `hexagone keys move`"


def seal_record(sealing_key: bytes, cluster_id: bytes, record: Record, salt: bytes) -> bytes:
    """The record as it is stored. `salt`: 24 random bytes."""
    plain = b"".join(
        b"%b%c%b%b"
        % (
            tenant,
            len(name),
            name,
            _FIELDS.pack(
                epoch,
                _STATES.index(held.about.state),
                _STATES.index(held.about.before),
                held.about.created_at_ms,
                held.about.changed_at_ms,
                held.phase,
                held.key_id,
                held.wraps,
                held.check,
            ),
        )
        for (tenant, name, epoch), held in sorted(record.items(), key=lambda one: one[0])
    )
    return _MAGIC + seal_secret(sealing_key, _LABEL, _context(cluster_id), plain, salt)


def open_record(sealing_key: bytes, cluster_id: bytes, sealed: bytes) -> Record:
    """What `seal_record` wrote. Raises: SealInvalid, KeysNotInToken."""
    old, sealed = parts_of(sealed)
    if old and not sealed:
        raise KeysNotInToken
    if bytes(sealed[:4]) != _MAGIC:
        raise SealInvalid(label=_LABEL)
    plain = open_secret(sealing_key, _LABEL, _context(cluster_id), bytes(sealed[4:]))
    record: Record = {}
    at = 0
    try:
        while at < len(plain):
            tenant, at = plain[at : at + TENANT_ID_BYTES], at + TENANT_ID_BYTES
            length, at = plain[at], at + 1
            name, at = plain[at : at + length], at + length
            if len(plain) < at + _FIELDS.size:
                raise SealInvalid(label=_LABEL, secret_bytes=len(plain))
            held = _held(*_FIELDS.unpack_from(plain, at))
            record[tenant, name, held.about.epoch] = held
            at += _FIELDS.size
    except (IndexError, ValueError) as error:
        raise SealInvalid(label=_LABEL, secret_bytes=len(plain)) from error
    return record


def with_buried(record: Record, gone: Mapping[bytes, Sequence[KeyEpoch]]) -> Record:
    """With epochs by tenant of which the keys were never in a token, and are destroyed: their
    numbers are taken.
    """
    found: Record = {}
    for tenant, epochs in gone.items():
        for about in epochs:
            key_id = sha256(enc("hsm/buried", tenant, about.epoch)).digest()[:KEY_ID_BYTES]
            held = HeldInToken(key_id=key_id, about=about, phase=Phase.ERASED)
            found[tenant, TENANT_KEY, about.epoch] = held
    return found | record


def both_parts(old: bytes, new: bytes) -> bytes:
    """A copy of keys on the move: "HXM" ‖ 1 ‖ u32 length ‖ that of the file ‖ that of the token."""
    return BOTH_MAGIC + _LENGTH.pack(len(old)) + old + new


def parts_of(sealed: bytes) -> tuple[bytes, bytes]:
    """A copy's part of the file, and that of the token; b"": there is none. Raises: SealInvalid."""
    if bytes(sealed[:3]) == FILE_MAGIC:
        return bytes(sealed), b""
    if bytes(sealed[: len(BOTH_MAGIC)]) != BOTH_MAGIC:
        if not sealed:
            raise SealInvalid(label=_LABEL)
        return b"", bytes(sealed)
    at = len(BOTH_MAGIC) + _LENGTH.size
    if len(sealed) < at:
        raise SealInvalid(label=_LABEL, record_bytes=len(sealed))
    length = _LENGTH.unpack_from(sealed, len(BOTH_MAGIC))[0]
    if len(sealed) <= at + length:
        raise SealInvalid(label=_LABEL, record_bytes=len(sealed))
    return bytes(sealed[at : at + length]), bytes(sealed[at + length :])


def kept(record: Record) -> Record:
    """What a copy is to have: a key in the making wraps nothing yet."""
    return {key: held for key, held in record.items() if held.phase is not Phase.MAKING}


def merge(ours: Record, theirs: Record) -> Record:
    """Both; of two accounts of a key the later. What a copy says is erased is to be erased here
    too, be it there or not.

    Raises: KeyringConflict: the copy names another key of the token.
    """
    merged = dict(ours)
    for key, there in theirs.items():
        here = merged.get(key)
        if there.phase is Phase.ERASED:
            there = replace(there, phase=Phase.ERASING)
        if here is None or here.phase is Phase.MAKING:
            merged[key] = there
            continue
        if here.key_id != there.key_id:
            raise KeyringConflict(tenant=key[0].hex())
        wraps = max(here.wraps, there.wraps)
        if is_later(there.shown, here.shown):
            here = replace(here, about=there.about, phase=max(here.phase, there.phase))
        merged[key] = replace(here, wraps=wraps)
    return merged


def _held(
    epoch: int,
    state: int,
    before: int,
    created_at_ms: int,
    changed_at_ms: int,
    phase: int,
    key_id: bytes,
    wraps: int,
    check: bytes,
) -> HeldInToken:
    about = KeyEpoch(
        epoch=epoch,
        state=_STATES[state],
        before=_STATES[before],
        created_at_ms=created_at_ms,
        changed_at_ms=changed_at_ms,
    )
    return HeldInToken(key_id=key_id, about=about, phase=Phase(phase), check=check, wraps=wraps)


def _context(cluster_id: bytes) -> bytes:
    return enc("hsm-record", cluster_id)
