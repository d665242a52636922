"""A bucket's key in use: records of several windows, and how often the key of one is derived."""

from __future__ import annotations

import pytest

from gateway.data import bucket_sealing
from gateway.data.bucket_sealing import HeldBucketKey
from gateway.data.cipher import SALT_BYTES
from gateway.data.envelope import DEK_LABEL, SealInvalid
from gateway.data.window import WINDOW_ID_BYTES, Window

KEY = b"k" * 32
WINDOWS = (b"1" * WINDOW_ID_BYTES, b"2" * WINDOW_ID_BYTES)


def sealed(key: HeldBucketKey, window_id: bytes, number: int) -> bytes:
    """A record of a window; what is in it is its number."""
    secret, salt = number.to_bytes(32, "big"), number.to_bytes(SALT_BYTES, "big")
    return Window(window_id, key.window_key(window_id)).seal(DEK_LABEL, b"c", secret, salt)


def test_records_of_windows_in_any_order_and_of_none_open() -> None:
    key = HeldBucketKey(KEY)
    plain = key.seal(DEK_LABEL, b"c", b"p" * 32, bytes(SALT_BYTES))
    records = [sealed(key, WINDOWS[number % 3 == 0], number) for number in range(9)]
    for number, record in enumerate(records):
        assert key.open(DEK_LABEL, b"c", record) == number.to_bytes(32, "big")
        assert key.open(DEK_LABEL, b"c", plain) == b"p" * 32
        with pytest.raises(SealInvalid):
            key.open(DEK_LABEL, b"other", record)


def test_a_record_moved_to_another_window_does_not_open() -> None:
    key = HeldBucketKey(KEY)
    record = sealed(key, WINDOWS[0], 1)
    key.open(DEK_LABEL, b"c", record)
    moved = record[:1] + WINDOWS[1] + record[1 + WINDOW_ID_BYTES :]
    with pytest.raises(SealInvalid):
        key.open(DEK_LABEL, b"c", moved)
    assert key.open(DEK_LABEL, b"c", record) == (1).to_bytes(32, "big")


def test_the_key_of_a_window_is_derived_once_for_records_that_follow_each_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    key = HeldBucketKey(KEY)
    records = [sealed(key, window_id, number) for window_id in WINDOWS for number in range(20)]
    derived: list[bytes] = []
    derive = bucket_sealing.window_key

    def counted(bucket_key: bytes, window_id: bytes) -> bytes:
        derived.append(window_id)
        return derive(bucket_key, window_id)

    monkeypatch.setattr(bucket_sealing, "window_key", counted)
    for record in records:
        key.open(DEK_LABEL, b"c", record)
    assert derived == list(WINDOWS)
