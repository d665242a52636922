"""Signed notes: a published one, both kinds of signature, and every byte changed."""

from __future__ import annotations

import pytest

from gateway.journal.notes import (
    COSIGNATURE,
    ED25519,
    Checkpoint,
    NoteInvalid,
    SignerKey,
    check_cosignature,
    cosignature_line,
    open_checkpoint,
    read_checkpoint,
    read_note,
    read_verifier_key,
    sign_checkpoint,
)
from tests.support.journal_rig import PREFIX, SIGNERS, public

ORIGIN = f"{PREFIX}/cluster"
CHECKPOINT = Checkpoint(origin=ORIGIN, size=12, root=bytes(range(32)))
PUBLISHED_KEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
SIGNED = (
    "x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM="
)
PUBLISHED = f"""If you think cryptography is the answer to your problem,
then you don't know what your problem is.

— PeterNeumann {SIGNED}
"""


def test_the_published_note_verifies() -> None:
    key, note = read_verifier_key(PUBLISHED_KEY), read_note(PUBLISHED.encode())
    signature = note.by(key)
    assert signature is not None and key.text == PUBLISHED_KEY
    key.verify(signature, note.text.encode())
    assert note.encode() == PUBLISHED.encode()
    with pytest.raises(NoteInvalid):
        key.verify(signature, note.text.encode() + b"\n")


def test_a_checkpoint_has_both_signatures() -> None:
    signed = sign_checkpoint(CHECKPOINT, SIGNERS)
    assert open_checkpoint(signed, public()) == CHECKPOINT
    assert [read_verifier_key(key.text) for key in public()] == public()
    only_one = sign_checkpoint(CHECKPOINT, SIGNERS[:1])
    assert open_checkpoint(only_one, public()[:1]) == CHECKPOINT
    with pytest.raises(NoteInvalid, match="not signed by"):
        open_checkpoint(only_one, public())


def test_jrn_01_another_key_does_not_sign() -> None:
    other = sign_checkpoint(CHECKPOINT, [SignerKey(ED25519, b"3" * 32), SIGNERS[1]])
    with pytest.raises(NoteInvalid):
        open_checkpoint(other, public())


def test_jrn_01_no_byte_of_a_checkpoint_can_be_changed() -> None:
    signed = sign_checkpoint(CHECKPOINT, SIGNERS)
    places = [*range(400), *range(400, len(signed), 41)]
    for at in places:
        changed = bytearray(signed)
        changed[at] ^= 1
        with pytest.raises(NoteInvalid):
            open_checkpoint(bytes(changed), public())
    for at in places:
        with pytest.raises(NoteInvalid):
            open_checkpoint(signed[:at], public())


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\n\n",
        b"text\n\nno dash\n",
        b"text\n\n\xe2\x80\x94 name AAAA\n",
        b"text\n\n\xe2\x80\x94 name AAAAAAA!\n",
        b"te\x1bxt\n\n" + b"\xe2\x80\x94 name AAAAAAAA\n",
        b"text\n\n" + b"\xe2\x80\x94 name AAAAAAAA\n" * 17,
        b"x" * 200_000,
    ],
)
def test_other_bytes_are_no_note(content: bytes) -> None:
    with pytest.raises(NoteInvalid):
        read_note(content)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "origin\n1\n",
        "origin\n01\nAAAA\n",
        f"{ORIGIN}\n-1\n{'A' * 43}=\n",
        f"{ORIGIN}\n1\n{'A' * 40}\n",
        f"a b\n1\n{'A' * 43}=\n",
        f"{ORIGIN}\n1\n{'A' * 43}=\n\nmore\n",
    ],
)
def test_other_texts_are_no_checkpoint(text: str) -> None:
    with pytest.raises(NoteInvalid):
        read_checkpoint(text)


@pytest.mark.parametrize(
    "text", ["", "name", "name+00000000+AAAA", PUBLISHED_KEY.replace("c7", "d7")]
)
def test_other_texts_are_no_key(text: str) -> None:
    with pytest.raises(NoteInvalid):
        read_verifier_key(text)


def test_a_cosignature_says_who_and_when() -> None:
    key = SignerKey(COSIGNATURE, b"w" * 32)
    witness = key.verifier("example.org/w1")
    signed = sign_checkpoint(CHECKPOINT, SIGNERS)
    cosigned = signed + cosignature_line(key, witness.name, CHECKPOINT.text, 1234).encode()
    assert check_cosignature(read_note(cosigned), witness) == 1234
    assert open_checkpoint(cosigned, public()) == CHECKPOINT
    with pytest.raises(NoteInvalid):
        check_cosignature(read_note(signed), witness)
    for other in ("example.org/w2", "example.org/w1"):
        changed = cosigned.replace(b"\n12\n", b"\n13\n") if other == witness.name else cosigned
        with pytest.raises(NoteInvalid):
            check_cosignature(read_note(changed), key.verifier(other))


def test_no_key_shows_itself() -> None:
    assert "1" not in repr(SIGNERS[0]) and repr(SIGNERS[0]) == "SignerKey(…)"
