"""Sealing of row values: a cluster part and a tenant part, each under its own key, both bound to
the row key.

Not for what is inside: `gateway.meta.records`. Pure.

Value: marker u8 = 1 ‖ revision 12 ‖ tenant nonce 12 ‖ key epoch u32 ‖ cluster_len u32 ‖ cluster
sealed ‖ tenant sealed. The cluster part is sealed under the cluster record key with nonce =
revision and associated data = the 33 bytes before it ‖ 0x43 ‖ row key, so it also fixes which
tenant part belongs to it. The tenant part is sealed under the record key of the bucket's key epoch
with associated data = marker ‖ 0x54 ‖ row key; it survives a change of the cluster part byte for
byte, so reclaim and repair need no tenant key. A row without tenant part has zeros in its place.

Invariants: D4 (a nonce is used once under a key: `NonceSource`), D5 (marker first).
Source: NIST SP 800-38D § 8.2.1, deterministic construction; docs/data-layout.md, "Row values".
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Iterable
from itertools import count
from struct import Struct

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from gateway.meta.kv import Row, RowCorrupt
from gateway.model.names import BucketId

MARKER = 1
RECORD_KEY_LABEL = b"hexagone/v1/record"
WRITER_EPOCH_MAX = (1 << 32) - 1
BUCKET_CIPHERS_MAX = 4096  # (bucket, epoch) ciphers kept ready, about 1 KiB each

HEADER = Struct(">B12s12sII")
HEADER_BYTES = HEADER.size
TAG_BYTES = 16
_NO_TENANT_PART = bytes(16)  # tenant nonce and key epoch of a row without tenant part
CLUSTER_AAD = b"C"
TENANT_AAD = bytes((MARKER,)) + b"T"


class UnknownRowMarker(RowCorrupt):
    """A row is in a format that this version of the program does not know."""

    hint = "was the index written by a newer version?"


class NonceSource:
    """Revisions and nonces: writer epoch u32 ‖ counter u64, never the same twice within a writer
    epoch.

    The caller guarantees D4 across runs by opening every run under a writer epoch that was never
    used.
    """

    __slots__ = ("_counter", "_head")

    def __init__(self, writer_epoch: int) -> None:
        if not 0 <= writer_epoch <= WRITER_EPOCH_MAX:
            raise ValueError(f"writer epoch {writer_epoch}")
        self._head = writer_epoch.to_bytes(4, "big")
        self._counter = count(1)

    def next(self) -> bytes:
        """12 bytes, unique. Concurrent: from any thread (`itertools.count` steps under the
        interpreter's lock).
        """
        return self._head + next(self._counter).to_bytes(8, "big")


def record_cipher(bucket_key: bytes) -> AESGCM:
    """The cipher of tenant parts under one bucket key (32 bytes): HMAC-SHA256(bucket key, label) as
    AES-256 key.
    """
    return AESGCM(hmac.digest(bucket_key, RECORD_KEY_LABEL, "sha256"))


class RecordKeys:
    """The cluster record cipher, and the bucket ciphers by (bucket, epoch), each derived once and
    kept.

    Args:
        cluster_key: 32 bytes.
        bucket_cipher: makes the cipher of a bucket's key epoch (`record_cipher` of the unwrapped
            bucket key); what it raises passes through, so a disabled tenant key is seen as what it
            is.
    """

    __slots__ = ("_ciphers", "_forgotten", "_make", "cluster")

    def __init__(
        self, cluster_key: bytes, bucket_cipher: Callable[[BucketId, int], AESGCM]
    ) -> None:
        self.cluster = AESGCM(cluster_key)
        self._make = bucket_cipher
        self._ciphers: dict[tuple[bytes, int], AESGCM] = {}
        self._forgotten = 0

    def bucket(self, bucket: bytes, epoch: int) -> AESGCM:
        """Cipher of tenant parts of one bucket and key epoch."""
        cipher = self._ciphers.get((bucket, epoch))
        if cipher is None:
            forgotten = self._forgotten
            cipher = self._make(BucketId(bucket), epoch)
            if len(self._ciphers) >= BUCKET_CIPHERS_MAX:
                self._ciphers.pop(next(iter(tuple(self._ciphers))), None)
            self._ciphers[bucket, epoch] = cipher
            # In this order: a thread may be here while the key is being disabled.
            if forgotten != self._forgotten:
                self._ciphers.pop((bucket, epoch), None)
        return cipher

    def forget(self, bucket: BucketId) -> None:
        """Drop the bucket's ciphers: its keys were disabled, or the bucket is gone."""
        self._forgotten += 1
        for held in [held for held in tuple(self._ciphers) if held[0] == bucket]:
            self._ciphers.pop(held, None)

    def forget_all(self) -> None:
        """Drop the ciphers of all buckets."""
        self._forgotten += 1
        self._ciphers.clear()


def seal_row(
    keys: RecordKeys,
    nonces: NonceSource,
    row_key: bytes,
    cluster: bytes,
    *,
    tenant: bytes | None,
    key_epoch: int,
) -> bytes:
    """A row value with a fresh revision.

    Args:
        cluster: plaintext of the cluster part.
        tenant: plaintext of the tenant part; None for rows of the cluster itself, then `key_epoch`
            is 0.
        key_epoch: epoch of the bucket key; the bucket is the partition in the row key.
    """
    revision = nonces.next()
    if tenant is None:
        assert key_epoch == 0
        header = HEADER.pack(MARKER, revision, bytes(12), 0, len(cluster) + TAG_BYTES)
        return header + keys.cluster.encrypt(revision, cluster, header + CLUSTER_AAD + row_key)
    nonce = nonces.next()
    header = HEADER.pack(MARKER, revision, nonce, key_epoch, len(cluster) + TAG_BYTES)
    return b"".join(
        (
            header,
            keys.cluster.encrypt(revision, cluster, header + CLUSTER_AAD + row_key),
            keys.bucket(row_key[1:17], key_epoch).encrypt(nonce, tenant, TENANT_AAD + row_key),
        )
    )


def open_cluster(keys: RecordKeys, row_key: bytes, value: bytes) -> bytes:
    """Plaintext of the cluster part. Raises: RowCorrupt, UnknownRowMarker."""
    header = value[:HEADER_BYTES]
    end = _cluster_end(row_key, value)
    if header[13:29] == _NO_TENANT_PART and end != len(value):
        raise RowCorrupt(row_key=row_key[:64].hex(), part="length")
    try:
        return keys.cluster.decrypt(
            header[1:13], value[HEADER_BYTES:end], header + CLUSTER_AAD + row_key
        )
    except InvalidTag as error:
        raise RowCorrupt(row_key=row_key[:64].hex(), part="cluster") from error


def open_tenant(keys: RecordKeys, row_key: bytes, value: bytes) -> bytes:
    """Plaintext of the tenant part. Raises: RowCorrupt, UnknownRowMarker, and what the bucket's key
    raises.
    """
    end = _cluster_end(row_key, value)
    if len(value) < end + TAG_BYTES:
        raise RowCorrupt(row_key=row_key[:64].hex(), part="length")
    cipher = keys.bucket(row_key[1:17], key_epoch_of(value))
    try:
        return cipher.decrypt(value[13:25], value[end:], TENANT_AAD + row_key)
    except InvalidTag as error:
        raise RowCorrupt(row_key=row_key[:64].hex(), part="tenant") from error


def open_row(keys: RecordKeys, row_key: bytes, value: bytes) -> tuple[bytes, bytes]:
    """As `open_cluster` and `open_tenant`, for who takes very many rows. Raises: as these."""
    end = _cluster_end(row_key, value)
    header = value[:HEADER_BYTES]
    _, revision, nonce, key_epoch, _ = HEADER.unpack(header)
    try:
        aad = b"%b%b%b" % (header, CLUSTER_AAD, row_key)
        cluster = keys.cluster.decrypt(revision, value[HEADER_BYTES:end], aad)
        cipher = keys.bucket(row_key[1:17], key_epoch)  # which the cluster's seal has covered
        return cluster, cipher.decrypt(nonce, value[end:], TENANT_AAD + row_key)
    except InvalidTag as error:
        raise RowCorrupt(row_key=row_key[:64].hex(), part="a seal") from error


def key_epoch_of(value: bytes) -> int:
    """Key epoch in a row value's header; authenticated only by opening the row."""
    return int.from_bytes(value[25:29], "big")


def not_under(key_epoch: int, rows: Iterable[Row]) -> list[Row]:
    """Those of the rows that another key epoch's header stands in: `key_epoch_of` each, without a
    call.
    """
    wanted = key_epoch.to_bytes(4, "big")
    return [row for row in rows if row.value[25:29] != wanted]


def replace_cluster_part(
    keys: RecordKeys, nonces: NonceSource, row_key: bytes, value: bytes, cluster: bytes
) -> bytes:
    """The row with another cluster part and revision; the tenant part stays byte for byte. Needs no
    tenant key.

    Raises: RowCorrupt: the row as it is fails its check.
    """
    open_cluster(keys, row_key, value)
    _, _, nonce, key_epoch, cluster_len = HEADER.unpack_from(value)
    revision = nonces.next()
    header = HEADER.pack(MARKER, revision, nonce, key_epoch, len(cluster) + TAG_BYTES)
    sealed = keys.cluster.encrypt(revision, cluster, header + CLUSTER_AAD + row_key)
    return header + sealed + value[HEADER_BYTES + cluster_len :]


def _cluster_end(row_key: bytes, value: bytes) -> int:
    """Where the cluster part ends inside the value, checked against its length."""
    if len(value) < HEADER_BYTES + TAG_BYTES:
        raise RowCorrupt(row_key=row_key[:64].hex(), part="length")
    if value[0] != MARKER:
        raise UnknownRowMarker(row_key=row_key[:64].hex(), marker=value[0])
    end = HEADER_BYTES + int.from_bytes(value[29:33], "big")
    if end > len(value):
        raise RowCorrupt(row_key=row_key[:64].hex(), part="length")
    return end
