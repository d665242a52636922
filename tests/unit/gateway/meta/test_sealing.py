"""Keys and nonces of row values: kept, bounded, never used twice."""

from __future__ import annotations

from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from gateway.meta import keyspace as ks
from gateway.meta import records, sealing
from gateway.meta.kv import Row
from gateway.model.names import BucketId, ObjectKey
from tests.support.sample_rows import (
    BUCKET,
    KEYS,
    PACKED,
    ROW,
    VERSION,
    bucket_cipher,
    seal,
)


def test_a_page_of_two_epochs_opens_each_key_once() -> None:
    asked: list[tuple[bytes, int]] = []

    def counting(bucket: BucketId, epoch: int) -> AESGCM:
        asked.append((bucket, epoch))
        return bucket_cipher(bucket, epoch)

    keys = sealing.RecordKeys(b"c" * 32, counting)
    rows = []
    for number in range(20):
        row_key = ks.current_row(BUCKET, ObjectKey(b"%02d" % number))
        version = replace(VERSION, key_epoch=1 + number % 2, sequence=number)
        rows.append(Row(row_key, seal(version, PACKED, row_key)))
    assert len(records.open_listing_page(keys, rows)) == 20
    assert asked == [(BUCKET, 1), (BUCKET, 2)]
    keys.forget(BUCKET)
    records.open_listing_page(keys, rows[:1])
    assert len(asked) == 3


def test_cipher_cache_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealing, "BUCKET_CIPHERS_MAX", 2)
    keys = sealing.RecordKeys(b"c" * 32, bucket_cipher)
    for epoch in range(5):
        keys.bucket(BUCKET, epoch)
    assert len(keys._ciphers) == 2


@pytest.mark.proves("CRY-04", "I6")
def test_nonces_are_never_used_twice() -> None:
    """D4: over rows, parts of rows, and writer epochs."""
    source = sealing.NonceSource(1)
    used = [source.next() for _ in range(2000)]
    values = [records.seal_version(KEYS, source, ROW, VERSION, PACKED) for _ in range(500)]
    used += [value[1:13] for value in values] + [value[13:25] for value in values]
    used += [sealing.NonceSource(2).next()]
    assert len(set(used)) == len(used) == 3001
    for epoch in (-1, 1 << 32):
        with pytest.raises(ValueError, match="writer epoch"):
            sealing.NonceSource(epoch)
