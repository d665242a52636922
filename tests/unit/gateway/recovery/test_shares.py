"""Shares of the recovery key: a quorum has it, fewer have nothing, a wrong one is named."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.recovery import shamir
from gateway.recovery.recipient import Recipient, RecipientInvalid, RecipientKey
from gateway.recovery.shares import (
    ShareInvalid,
    TooFewShares,
    WrongShareSet,
    check_share,
    join_shares,
    make_shares,
    read_share,
)
from storaged.base.env import RealEnv

ENV = RealEnv(threads_max=1)
CLUSTER = b"c" * 16
RECORD, SHARES = make_shares(
    CLUSTER, count=5, threshold=3, env=ENV, custodians=("Anne", "Bilal", "Chloé", "Driss", "Eva")
)

# Three points, and what an independent implementation of the same field (the Python reference of
# SLIP-39) makes of them at places 0, 4 and 5.
POINTS = {place: sha256(b"place %d" % place).digest() for place in (1, 2, 3)}
AT = {
    0: "6f5f464eea1f58e21e34c1a82be291d5c06655f1935e8ddf87836b74da4648c8",
    4: "971ba9498fe7f4c09b20a6cc84e3a886c4451689cbbbb53970d838bc2fb9813b",
    5: "24a70bdf5e3b1584450d5d6f7d7f3ba4cfcca23488bc3c7ceb85ed00dfe0c54d",
}


def test_the_field_is_that_of_an_independent_implementation() -> None:
    assert shamir.join(POINTS).hex() == AT[0]
    for chosen in combinations((1, 2, 3, 4, 5), 3):
        known = {**POINTS, 4: bytes.fromhex(AT[4]), 5: bytes.fromhex(AT[5])}
        assert shamir.join({place: known[place] for place in chosen}).hex() == AT[0]


def test_products_of_fips_197() -> None:
    """{57} · {83} = {c1} and {57} · {13} = {fe}; a line through them, at places 1 and 2."""
    shares = shamir.split(b"\x00", places=0x83, threshold=2, randomness=b"\x57")
    assert shares[0x83] == b"\xc1" and shares[0x13] == b"\xfe" and shares[1] == b"\x57"


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_any_quorum_has_the_secret(data: st.DataObject) -> None:
    count = data.draw(st.integers(2, 16))
    threshold = data.draw(st.integers(2, count))
    secret = data.draw(st.binary(min_size=32, max_size=32))
    randomness = data.draw(st.binary(min_size=(threshold - 1) * 32, max_size=(threshold - 1) * 32))
    shares = shamir.split(secret, places=count, threshold=threshold, randomness=randomness)
    chosen = data.draw(st.permutations(sorted(shares)))[:threshold]
    assert shamir.join({place: shares[place] for place in chosen}) == secret


@pytest.mark.proves("K-12", "C8")
def test_fewer_shares_leave_every_secret_possible() -> None:
    """For any two shares of three, each byte of the secret is hit by exactly one third share."""
    shares = shamir.split(b"\x2a", places=3, threshold=3, randomness=b"\x11\x93")
    known = {place: shares[place] for place in (1, 2)}
    found = {shamir.join({**known, 3: bytes((guess,))}) for guess in range(256)}
    assert len(found) == 256


@pytest.mark.proves("K-12")
def test_a_quorum_makes_the_key_and_fewer_do_not() -> None:
    for chosen in combinations(SHARES, 3):
        assert join_shares(chosen, RECORD).recipient.public == RECORD.recipient.public
    for chosen in [*combinations(SHARES, 2), (SHARES[0], SHARES[0], SHARES[0])]:
        with pytest.raises(TooFewShares):
            join_shares(chosen, RECORD)
    assert join_shares(SHARES, RECORD).recipient.public == RECORD.recipient.public


def test_a_share_survives_paper() -> None:
    for share in SHARES:
        text = share.encode()
        assert len(text.replace("-", "")) == 80
        spoken = (
            text.lower().replace("-", " ").replace("o", "0").replace("i", "1").replace("b", "8")
        )
        assert read_share(spoken) == read_share(f"set: x\nshare:   {text}\ndigest: y\n") == share
        assert text[5:9] not in repr(share) and share.secret.hex() not in repr(share)


@pytest.mark.proves("K-12")
def test_every_mistyped_character_is_seen() -> None:
    text = SHARES[2].encode().replace("-", "")
    for at in range(len(text)):
        wrong = text[:at] + ("A" if text[at] != "A" else "C") + text[at + 1 :]
        with pytest.raises(ShareInvalid):
            read_share(wrong)
    for broken in ("", "AAAA", text[:-8], text + "AAAAAAAA", "é" * 80, "A" * 5000):
        with pytest.raises(ShareInvalid):
            read_share(broken)


@pytest.mark.proves("K-12")
def test_an_altered_share_is_named_with_its_custodian() -> None:
    altered = replace(SHARES[1], secret=bytes(32))
    assert read_share(altered.encode()) == altered  # its own check does not help
    with pytest.raises(ShareInvalid, match=r"share 2 \(Bilal\)"):
        join_shares([SHARES[0], altered, SHARES[4]], RECORD)
    with pytest.raises(ShareInvalid):
        check_share(replace(SHARES[1], place=3), RECORD)


@pytest.mark.proves("K-12", "C8")
def test_shares_of_another_set_are_refused() -> None:
    other, others = make_shares(CLUSTER, count=5, threshold=3, env=ENV)
    with pytest.raises(WrongShareSet):
        join_shares([SHARES[0], SHARES[1], others[2]], RECORD)
    with pytest.raises(WrongShareSet):
        join_shares(SHARES, other)
    # The same key for another cluster is another set.
    elsewhere = replace(RECORD, cluster=b"d" * 16)
    with pytest.raises(WrongShareSet):
        join_shares(SHARES, elsewhere)


def test_a_set_needs_sense() -> None:
    for count, threshold in [(1, 1), (5, 1), (3, 4), (17, 3)]:
        with pytest.raises(ShareInvalid):
            make_shares(CLUSTER, count=count, threshold=threshold, env=ENV)
    with pytest.raises(ShareInvalid):
        make_shares(CLUSTER, count=3, threshold=2, env=ENV, custodians=("Anne",))


@pytest.mark.proves("K-18", "C10")
def test_the_recipient_is_hybrid() -> None:
    """Neither half of the key opens anything without the other."""
    key = RecipientKey(b"s" * 32)
    sealed = key.recipient.seal(b"secret", b"info")
    assert key.open(sealed, b"info") == b"secret" and "secret" not in repr(key)
    other = RecipientKey(b"t" * 32)
    public, foreign = key.recipient.public, other.recipient.public
    for mixed in (public[:1184] + foreign[1184:], foreign[:1184] + public[1184:]):
        with pytest.raises(RecipientInvalid):
            key.open(Recipient(mixed).seal(b"secret", b"info"), b"info")
    with pytest.raises(RecipientInvalid):
        key.open(sealed, b"other")
    with pytest.raises(RecipientInvalid):
        key.open(sealed[:-1], b"info")
    with pytest.raises(RecipientInvalid):
        Recipient(public[:-1])
