"""What the PKCS#11 provider wraps commits to one key, also where AES-GCM does not."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from gateway.data.envelope import SealInvalid, open_secret
from gateway.keyd.pkcs11_keyring import Pkcs11Keyring
from gateway.keyd.pkcs11_record import CHECK_BYTES, Phase, open_record
from gateway.keyd.pkcs11_sealing import FORM, HEAD_BYTES
from gateway.model.encoding import enc
from gateway.model.key_states import KeyEpoch, KeyState
from storaged.base.env import RealEnv
from tests.support.memory_token import MemoryToken
from tests.support.softhsm import SealingSecret

ALICE, BOB = b"alice".ljust(16, b"."), b"bob".ljust(16, b".")
CLUSTER = b"cluster of tests"
PHOTOS, KEY = b"photos".ljust(16, b"."), bytes(range(32))


def _gmul(one: int, other: int) -> int:
    """Product in GCM's field; bit 0 is the highest."""
    product = 0
    for at in range(127, -1, -1):
        if other >> at & 1:
            product ^= one
        one = one >> 1 ^ (0xE1 << 120 if one & 1 else 0)
    return product


def _block(key: bytes, block: bytes) -> int:
    encryptor = Cipher(algorithms.AES(key), modes.ECB()).encryptor()
    return int.from_bytes(encryptor.update(block), "big")


def _power(value: int, times: int) -> int:
    found = value
    for _ in range(times - 1):
        found = _gmul(found, value)
    return found


def _inverse(value: int) -> int:
    found = value
    for _ in range(126):
        found = _gmul(_gmul(found, found), value)
    return _gmul(found, found)


def two_key_ciphertext(one: bytes, two: bytes, nonce: bytes, associated: bytes) -> bytes:
    """32 bytes and a tag that open under both keys, whatever to."""
    tables = []
    for key in (one, two):
        tables.append((_block(key, bytes(16)), _block(key, nonce + b"\0\0\0\1")))
    (h1, s1), (h2, s2) = tables
    padded = associated + bytes(-len(associated) % 16)
    blocks = [int.from_bytes(padded[at : at + 16], "big") for at in range(0, len(padded), 16)]
    blocks.append(int.from_bytes(b"a free block    ", "big"))
    length = (len(associated) * 8) << 64 | 256

    def hashed(h: int, free: int) -> int:
        digest = 0
        for block in (*blocks, free, length):
            digest = _gmul(digest ^ block, h)
        return digest

    wanted = s1 ^ s2 ^ hashed(h1, 0) ^ hashed(h2, 0)
    free = _gmul(wanted, _inverse(_power(h1, 2) ^ _power(h2, 2)))
    tag = hashed(h1, free) ^ s1
    return b"".join(part.to_bytes(16, "big") for part in (blocks[-1], free, tag))


@pytest.mark.proves("CRY-01")
def test_a_ciphertext_of_two_keys_opens_under_neither(tmp_path: Path) -> None:
    """Who has two keys of the token, which nobody has, still makes nothing that both tenants open:
    at most one of them has an intermediate key that what follows commits to.
    """
    token = MemoryToken()
    provider = Pkcs11Keyring(tmp_path, SealingSecret(), token, RealEnv(threads_max=1))
    for tenant in (ALICE, BOB):
        provider.create_tenant_key(tenant)
    held = {label.split("/")[2]: (key_id, key) for key_id, (key, label) in token.held.items()}
    (alice_id, alice_key), (bob_id, bob_key) = held[ALICE.hex()], held[BOB.hex()]
    wrapped = provider.wrap_bucket_key(ALICE, PHOTOS, 1, KEY)
    nonce = bytes(range(12))
    associated = b"anything at all"
    forged = two_key_ciphertext(alice_key, bob_key, nonce, associated)
    clear = [AESGCM(key).decrypt(nonce, forged, associated) for key in (alice_key, bob_key)]
    assert clear[0] != clear[1]  # the recipe works: AES-GCM alone commits to nothing
    tail = wrapped[HEAD_BYTES:]
    for key in clear:
        for context in (enc("bucket", ALICE, PHOTOS, 1), b""):
            with pytest.raises(SealInvalid):
                open_secret(key, "wrap-bucket", context, tail)
    for tenant in (ALICE, BOB):
        with pytest.raises(SealInvalid):
            provider.unwrap_bucket_key(tenant, PHOTOS, 1, FORM + nonce + forged + tail)
    with pytest.raises(InvalidTag):  # and associated data that names the key stops it before that
        AESGCM(bob_key).decrypt(wrapped[1:13], wrapped[13:HEAD_BYTES], bob_id + alice_id)


# What was written once is read for ever.
RECORD_V1 = (
    "485854010173737373737373737373737373737373737373737373737316a206cf039bfd32a2eb04f2ea70a2"
    "7060910e7df01ba86298a0ab53f05ec93e16544b869153f8e339b25bcca9095a1603a40c0eb30c2287d96ceb"
    "627ea39198a5607490ade6c3e080154a8e35c0a46343c5cc32129cd7c25ed5600ab30f7cebc5d9ebe369e57f"
    "514fd479367cadf9c49e1bd95c1740983e1cab157ef2b7f1acbb0d5158b58e107e2d3938e05dea76851ec136"
    "e6386243422723de8333139226b12831"
)


@pytest.mark.proves("K-19")
def test_a_record_of_form_1_is_read() -> None:
    (key, held), *more = open_record(bytes(range(32)), CLUSTER, bytes.fromhex(RECORD_V1)).items()
    assert key == (ALICE, b"letters", 1) and not more
    assert (held.key_id, held.phase, held.wraps) == (b"i" * 16, Phase.ERASING, 77)
    assert held.check == b"c" * CHECK_BYTES
    assert held.about == KeyEpoch(
        epoch=1,
        state=KeyState.DISABLED,
        before=KeyState.DECRYPT_ONLY,
        created_at_ms=1_700_000_000_000,
        changed_at_ms=1_700_000_000_001,
    )
    with pytest.raises(SealInvalid):
        open_record(bytes(range(32)), BOB, bytes.fromhex(RECORD_V1))
    with pytest.raises(SealInvalid):
        other = bytes.fromhex(RECORD_V1).replace(b"HXT\x01", b"HXT\x02")
        open_record(bytes(range(32)), CLUSTER, other)
