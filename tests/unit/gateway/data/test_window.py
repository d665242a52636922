"""Records in a window: what they are, byte for byte, and what does not open."""

from __future__ import annotations

import hmac

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from gateway.data.bucket_sealing import HeldBucketKey
from gateway.data.cipher import SALT_BYTES, expand
from gateway.data.envelope import DEK_LABEL, INNER_LABEL, SealInvalid
from gateway.data.window import Window, window_key, window_of
from gateway.model.encoding import enc

pytestmark = pytest.mark.proves("CRY-05", "K-10", "K-19")

BUCKET_KEY = bytes(range(32))
ID, OTHER_ID = b"w" * 16, b"x" * 16
SALT = b"s" * SALT_BYTES
# Made by the program before suite 3.
FORMER = bytes.fromhex(
    "02777777777777777777777777777777777373737373737373737373737373737373737373737373"
    "737a2df358d7752bbd23bd722d3b7f1e49c41715d4bc10172f3097846d4e784464169412905af909"
    "b0903a227365e41236ca36d879b8606526500d67a4878af851c4a04632334082e76a222d51f34816"
    "54"
)


def _window(window_id: bytes = ID) -> Window:
    return Window(window_id, window_key(BUCKET_KEY, window_id))


def _hmac_key_and_aes_key() -> tuple[bytes, bytes]:
    okm = expand(window_key(BUCKET_KEY, ID), enc("window-keys"))
    return okm[32:64], okm[:32]


@given(st.binary(max_size=90), st.binary(max_size=200), st.binary(min_size=24, max_size=24))
def test_a_record_is_what_the_layout_says(secret: bytes, context: bytes, salt: bytes) -> None:
    hmac_key, aes_key = _hmac_key_and_aes_key()
    commitment = hmac.digest(hmac_key, enc(DEK_LABEL, context, salt), "sha256")
    sealed = AESGCM(aes_key).encrypt(commitment[:12], secret, commitment)
    record = b"\x03" + ID + salt + commitment + sealed
    assert _window().seal(DEK_LABEL, context, secret, salt) == record
    assert _window().open(DEK_LABEL, context, record) == secret
    assert window_of(record) == ID and len(record) == len(secret) + 89


def test_a_record_of_before_opens() -> None:
    key = HeldBucketKey(BUCKET_KEY)
    assert window_of(FORMER) == ID
    assert key.open(DEK_LABEL, b"context", FORMER) == b"d" * 32
    for length in range(len(FORMER)):
        with pytest.raises(SealInvalid):
            key.open(DEK_LABEL, b"context", FORMER[:length])
    wrong = [FORMER[:-1] + b"!", FORMER[:1] + OTHER_ID + FORMER[17:]]
    for one in wrong:
        with pytest.raises(SealInvalid):
            key.open(DEK_LABEL, b"context", one)
    with pytest.raises(SealInvalid):
        key.open(INNER_LABEL, b"context", FORMER)


def test_no_record_of_one_suite_opens_as_one_of_another() -> None:
    key = HeldBucketKey(BUCKET_KEY)
    plain = key.seal(DEK_LABEL, b"context", b"d" * 32, SALT)
    present = _window().seal(DEK_LABEL, b"context", b"d" * 32, SALT)
    bodies = {body for one in (plain, FORMER, present) for body in (one[1:], one[17:])}
    heads = [head + ID * times for head in (b"", b"\1", b"\2", b"\3", b"\4") for times in (0, 1)]
    for record in {head + body for head in heads for body in bodies} - {plain, FORMER, present}:
        with pytest.raises(SealInvalid):
            key.open(DEK_LABEL, b"context", record)


def test_what_was_sealed_before_it_does_not_open_in_a_window_of_this_program() -> None:
    """Ids of windows are drawn: nothing of suite 2 is ever in one."""
    with pytest.raises(SealInvalid):
        _window().open(DEK_LABEL, b"context", FORMER)


def test_nothing_else_opens() -> None:
    window = _window()
    record = window.seal(DEK_LABEL, b"context", b"d" * 32, SALT)
    for at in range(len(record)):
        for bit in (1, 0x80):
            changed = record[:at] + bytes((record[at] ^ bit,)) + record[at + 1 :]
            with pytest.raises(SealInvalid):
                window.open(DEK_LABEL, b"context", changed)
    for length in range(len(record)):
        with pytest.raises(SealInvalid):
            window.open(DEK_LABEL, b"context", record[:length])
    for label, context in ((INNER_LABEL, b"context"), (DEK_LABEL, b"contexts"), (DEK_LABEL, b"")):
        with pytest.raises(SealInvalid):
            window.open(label, context, record)
    moved = record[:1] + OTHER_ID + record[17:]
    for other in (window, _window(OTHER_ID)):
        with pytest.raises(SealInvalid):
            other.open(DEK_LABEL, b"context", moved)


@pytest.mark.proves("CRY-01")
def test_a_ciphertext_that_opens_under_the_key_is_not_opened_without_its_commitment() -> None:
    _, aes_key = _hmac_key_and_aes_key()
    record = _window().seal(DEK_LABEL, b"context", b"d" * 32, SALT)
    # Whoever has the AES key alone makes a tag that holds, for associated data of his choice.
    chosen = b"c" * 32
    for nonce in (record[41:53], chosen[:12]):
        forged = record[:41] + chosen + AESGCM(aes_key).encrypt(nonce, b"e" * 32, chosen)
        with pytest.raises(SealInvalid):
            _window().open(DEK_LABEL, b"context", forged)


def test_one_salt_twice_makes_two_nonces_where_the_context_is_another() -> None:
    records = [_window().seal(DEK_LABEL, context, bytes(32), SALT) for context in (b"a", b"b")]
    assert records[0][73:] != records[1][73:], "one key stream would show itself in zeros"


def test_its_repr_shows_no_key() -> None:
    assert repr(_window()) == "Window(…)"
