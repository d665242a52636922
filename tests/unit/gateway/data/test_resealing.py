"""Records under another key, many at once: the same that is opened and sealed one by one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.data import bucket_sealing
from gateway.data.bucket_sealing import HeldBucketKey, HeldBucketKeys, Reseal
from gateway.data.cipher import SALT_BYTES
from gateway.data.envelope import DEK_LABEL, INNER_LABEL, seal_secret
from gateway.data.window import Window, window_key, window_of
from storaged.base.env import RealEnv

pytestmark = pytest.mark.proves("CRY-05", "K-10")

OLD, NEW = bytes(range(32)), b"n" * 32
SALT = b"s" * SALT_BYTES
HEADS = (b"before", b"and after")
WINDOWS = (b"w" * 16, b"x" * 16)


def _record(window: bytes, label: str, context: bytes, secret: bytes) -> bytes:
    if not window:
        return seal_secret(OLD, label, context, secret, SALT)
    return Window(window, window_key(OLD, window)).seal(label, context, secret, SALT)


@given(
    st.lists(
        st.tuples(st.sampled_from((b"", *WINDOWS)), st.binary(max_size=90), st.binary(max_size=90)),
        max_size=6,
    ),
    st.sampled_from((DEK_LABEL, INNER_LABEL)),
)
def test_what_is_resealed_opens_under_the_other_key_and_context(
    wanted: list[tuple[bytes, bytes, bytes]], label: str
) -> None:
    records = [_record(window, label, HEADS[0] + tail, own) for window, tail, own in wanted]
    tails = [tail for _, tail, _ in wanted]
    old, new = HeldBucketKey(OLD), HeldBucketKey(NEW)
    salts = bytes(range(256))[: SALT_BYTES * len(records)].ljust(SALT_BYTES * len(records))
    into = Window(WINDOWS[0], new.window_key(WINDOWS[0]))
    found = old.resealed(Reseal(old, new, label, HEADS, tails, records), into, salts)
    for at, (record, tail, (_, _, secret)) in enumerate(zip(found, tails, wanted, strict=True)):
        salt = salts[SALT_BYTES * at : SALT_BYTES * (at + 1)]
        assert record == into.seal(label, HEADS[1] + tail, secret, salt)
        assert window_of(record) == WINDOWS[0]
        assert new.open(label, HEADS[1] + tail, record) == secret


def test_what_does_not_open_is_none_and_spoils_no_other() -> None:
    good = [_record(window, DEK_LABEL, b"before!", b"secret") for window in (b"", *WINDOWS)]
    old, new = HeldBucketKey(OLD), HeldBucketKey(NEW)
    into = Window(WINDOWS[0], new.window_key(WINDOWS[0]))
    run = Reseal(old, new, DEK_LABEL, HEADS, [b"!"] * 3, good)
    for record in good:
        bad = [record[:-1], record + b"!", b"", b"\x01", b"\x02" + bytes(40), b"\x04" + record[1:]]
        for at in range(0, len(record), 3):
            bad.append(record[:at] + bytes((record[at] ^ 1,)) + record[at + 1 :])
        for one in bad:
            mixed = run._replace(records=[good[0], one, good[2]])
            found = old.resealed(mixed, into, bytes(3 * SALT_BYTES))
            assert [one is None for one in found] == [False, True, False]
    for label, tail in ((INNER_LABEL, b"!"), (DEK_LABEL, b"?")):
        run = Reseal(HeldBucketKey(OLD), HeldBucketKey(NEW), label, HEADS, [tail], good[:1])
        assert HeldBucketKeys(None, RealEnv(1)).reseal(run) == [None]  # type: ignore[arg-type]


def test_each_record_gets_a_salt_of_its_own() -> None:
    records = [_record(b"", DEK_LABEL, b"before!", b"secret")] * 50
    run = Reseal(HeldBucketKey(OLD), HeldBucketKey(NEW), DEK_LABEL, HEADS, [b"!"] * 50, records)
    keys = HeldBucketKeys(None, RealEnv(1))  # type: ignore[arg-type]
    assert len({*keys.reseal(run), *keys.reseal(run)}) == 100


def test_one_window_takes_no_more_than_its_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the nonces of one AES key are counted with: docs/decisions/0008."""
    monkeypatch.setattr(bucket_sealing, "WINDOW_RECORDS_MAX", 2)
    records = [_record(b"", DEK_LABEL, b"before!", b"secret")] * 3
    run = Reseal(HeldBucketKey(OLD), HeldBucketKey(NEW), DEK_LABEL, HEADS, [b"!"] * 3, records)
    keys = HeldBucketKeys(None, RealEnv(1))  # type: ignore[arg-type]
    with pytest.raises(AssertionError):
        keys.reseal(run)
    assert all(keys.reseal(run._replace(tails=[b"!"] * 2, records=records[:2])))
