"""Frames: form, commitment, truncation, reordering, foreign frames, nonces."""

from __future__ import annotations

import hmac
from random import Random

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.data import cipher
from gateway.data.cipher import (
    FrameCorrupt,
    PartKeys,
    WrongKey,
    check_commitment,
    open_frames,
    seal_frames_into,
)
from gateway.data.geometry import frame_count, sealed_bytes
from gateway.limits import FRAME_BYTES as FRAME
from gateway.limits import SEALED_FRAME_BYTES as SEALED
from gateway.model.encoding import enc

CONTEXT = enc("body", b"c" * 16, b"t" * 16, b"o" * 16, 1)
KEYS = PartKeys.derive(b"\x01" * 32, b"\x02" * 24, CONTEXT)


def sealed(plain: bytes, keys: PartKeys = KEYS) -> bytearray:
    out = bytearray(sealed_bytes(len(plain)))
    assert seal_frames_into(keys, 0, memoryview(plain), True, memoryview(out)) == len(out)
    return out


def opened(body: bytes | bytearray, plain_bytes: int, keys: PartKeys = KEYS) -> bytes:
    return bytes(open_frames(keys, 0, body, frame_count(plain_bytes) - 1))


@pytest.mark.proves("K-03")
def test_expand_is_hkdf() -> None:
    key, info = b"k" * 32, b"some info"
    first = hmac.digest(key, info + b"\x01", "sha512")
    second = hmac.digest(key, first + info + b"\x02", "sha512")
    assert cipher.expand(key, info) == (first + second)[:76]


def test_form_is_the_documented_one() -> None:
    from hashlib import sha256

    plain = Random(1).randbytes(FRAME + 5)
    body = sealed(plain)
    okm = cipher.expand(b"\x01" * 32, CONTEXT + b"\x02" * 24)
    aead, base = AESGCM(okm[:32]), int.from_bytes(okm[32:44], "big")
    digest = sha256(CONTEXT).digest()
    first = aead.decrypt(
        (base ^ 0).to_bytes(12, "big"), bytes(body[:SEALED]), digest + bytes(8) + b"\x00"
    )
    last = aead.decrypt(
        (base ^ 1).to_bytes(12, "big"), bytes(body[SEALED:]), digest + bytes(7) + b"\x01\x01"
    )
    assert first + last == plain and KEYS.commitment == okm[44:]


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from([0, 1, 4096, FRAME - 1, FRAME, FRAME + 1, 3 * FRAME, 3 * FRAME + 7]),
    st.integers(0, 3),
)
def test_round_trip_in_any_runs(plain_bytes: int, cut: int) -> None:
    plain = Random(plain_bytes).randbytes(plain_bytes)
    whole = sealed(plain)
    assert opened(whole, plain_bytes) == plain
    first = min(cut, frame_count(plain_bytes) - 1)
    out = bytearray(len(whole))
    view = memoryview(out)
    done = (
        seal_frames_into(KEYS, 0, memoryview(plain)[: first * FRAME], False, view) if first else 0
    )
    seal_frames_into(KEYS, first, memoryview(plain)[first * FRAME :], True, view[done:])
    assert out == whole
    tail = open_frames(KEYS, first, whole[first * SEALED :], frame_count(plain_bytes) - 1)
    assert tail == plain[first * FRAME :]


def test_out_buffer_is_used() -> None:
    plain = Random(2).randbytes(FRAME + 9)
    out = bytearray(2 * FRAME)
    got = open_frames(KEYS, 0, sealed(plain), 1, out)
    assert got == plain and got.obj is out


def flipped(body: bytearray) -> bytearray:
    body[len(body) // 2] ^= 4
    return body


EVIL = {
    "a bit flipped": flipped,
    "last frame cut off (CRY-05)": lambda b: b[: 2 * SEALED],
    "cut inside a frame": lambda b: b[:-1],
    "cut inside a tag": lambda b: b[: 2 * SEALED + 7],
    "frames swapped": lambda b: b[SEALED : 2 * SEALED] + b[:SEALED] + b[2 * SEALED :],
    "a frame doubled": lambda b: b[:SEALED] + b[:SEALED] + b[2 * SEALED :],
    "a frame dropped": lambda b: b[SEALED:],
    "a frame added": lambda b: b[:SEALED] + b,
    "nothing": lambda b: b[:0],
}


@pytest.mark.proves("CRY-05")
@pytest.mark.parametrize("name", EVIL)
def test_evil_bodies_are_refused(name: str) -> None:
    plain = Random(3).randbytes(2 * FRAME + 100)
    with pytest.raises(FrameCorrupt):
        # The caller believes the row's length; only whole runs up to the last frame may open.
        got = open_frames(KEYS, 0, EVIL[name](sealed(plain)), 2)
        if len(got) != len(plain):
            raise FrameCorrupt(reason="shorter than the row says")


def test_a_shortened_part_fails_although_its_length_is_believed() -> None:
    """CRY-05: dropping the end and lying about the length is seen by the last-frame mark."""
    plain = Random(4).randbytes(2 * FRAME)
    with pytest.raises(FrameCorrupt):
        open_frames(KEYS, 0, sealed(plain)[:SEALED], 0)


@pytest.mark.proves("CRY-05")
@pytest.mark.parametrize("part", [0, 2])
def test_frames_of_another_part_are_refused(part: int) -> None:
    context = enc("body", b"c" * 16, b"t" * 16, b"o" * 16, part)
    other = PartKeys.derive(b"\x01" * 32, b"\x02" * 24, context)
    with pytest.raises(FrameCorrupt):
        open_frames(KEYS, 0, sealed(b"abc", other), 0)


def test_context_is_bound_beside_the_key() -> None:
    """Even with equal keys, another context's frames do not open."""
    twisted = KEYS._replace(context_digest=bytes(32))
    with pytest.raises(FrameCorrupt):
        open_frames(KEYS, 0, sealed(b"abc", twisted), 0)


def two_key_ciphertext(key_a: bytes, key_b: bytes, nonce: bytes) -> bytes:
    """A 2-block ciphertext ‖ tag that AES-GCM opens under both keys (no associated data)."""
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

    def block(key: bytes, plain: bytes) -> int:
        aes = Cipher(algorithms.AES(key), modes.ECB()).encryptor()
        return int.from_bytes(aes.update(plain), "big")

    poly = 0xE1 << 120

    def times(x: int, y: int) -> int:
        product = 0
        for i in range(127, -1, -1):
            if y >> i & 1:
                product ^= x
            x = (x >> 1) ^ (poly if x & 1 else 0)
        return product

    def inverse(x: int) -> int:
        result, power = 1 << 127, x
        for i in range(128):
            if i:
                result = times(result, power)
            power = times(power, power)
        return result

    h_a, h_b = block(key_a, bytes(16)), block(key_b, bytes(16))
    e_a, e_b = block(key_a, nonce + b"\0\0\0\1"), block(key_b, nonce + b"\0\0\0\1")
    lengths, c_1 = 256, int.from_bytes(b"a chosen block!!", "big")

    def known(h: int) -> int:
        return times(c_1, times(h, times(h, h))) ^ times(lengths, h)

    difference = known(h_a) ^ known(h_b) ^ e_a ^ e_b
    c_2 = times(difference, inverse(times(h_a, h_a) ^ times(h_b, h_b)))
    tag = known(h_a) ^ times(c_2, times(h_a, h_a)) ^ e_a
    return b"".join(value.to_bytes(16, "big") for value in (c_1, c_2, tag))


@pytest.mark.proves("I3")
def test_ciphertext_for_two_keys_is_refused_before_any_open() -> None:
    """CRY-01: AES-GCM alone opens it under both keys; the commitment stops it before."""
    nonce = b"\x09" * 12
    body = two_key_ciphertext(b"A" * 32, b"B" * 32, nonce)
    plain_a = AESGCM(b"A" * 32).decrypt(nonce, body, None)
    plain_b = AESGCM(b"B" * 32).decrypt(nonce, body, None)
    assert plain_a != plain_b, "the attack works on AES-GCM alone"
    keys_a = PartKeys.derive(b"A" * 32, b"\x02" * 24, CONTEXT)
    keys_b = PartKeys.derive(b"B" * 32, b"\x02" * 24, CONTEXT)
    check_commitment(keys_a, keys_a.commitment)
    with pytest.raises(WrongKey):
        check_commitment(keys_b, keys_a.commitment)


def test_every_input_changes_the_keys() -> None:
    made = [
        PartKeys.derive(b"\x01" * 32, b"\x02" * 24, CONTEXT),
        PartKeys.derive(b"\x03" * 32, b"\x02" * 24, CONTEXT),
        PartKeys.derive(b"\x01" * 32, b"\x04" * 24, CONTEXT),
        PartKeys.derive(b"\x01" * 32, b"\x02" * 24, enc("body", b"other")),
    ]
    assert len({keys.commitment for keys in made}) == 4
    assert len({keys.base_nonce for keys in made}) == 4


@pytest.mark.proves("CRY-04", "I6")
@given(st.integers(0, (1 << 96) - 1), st.integers(0, (1 << 64) - 1), st.integers(0, (1 << 64) - 1))
def test_nonces_of_a_part_are_distinct(base: int, one: int, other: int) -> None:
    """D4: XOR of the index into the last 8 bytes is a bijection."""
    nonces = {(base ^ one).to_bytes(12, "big"), (base ^ other).to_bytes(12, "big")}
    assert len(nonces) == (1 if one == other else 2)


@pytest.mark.proves("CRY-04", "I6")
def test_sealing_uses_each_nonce_once(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[bytes] = []

    class Recorder:
        def encrypt_into(self, nonce: bytes, data: object, aad: bytes, out: object) -> int:
            seen.append(nonce)
            return 0

    keys = KEYS._replace(body_key=Recorder())  # type: ignore[arg-type]
    plain = memoryview(bytes(5 * FRAME + 1))
    seal_frames_into(keys, 0, plain[: 2 * FRAME], False, memoryview(bytearray(2 * SEALED)))
    seal_frames_into(keys, 2, plain[2 * FRAME :], True, memoryview(bytearray(4 * SEALED)))
    assert len(seen) == len(set(seen)) == 6


def test_a_short_frame_in_the_middle_is_our_own_mistake() -> None:
    with pytest.raises(AssertionError):
        seal_frames_into(KEYS, 0, memoryview(b"short"), False, memoryview(bytearray(100)))


@pytest.mark.proves("CRY-17")
def test_keys_do_not_print() -> None:
    assert "02" not in repr(KEYS)
