"""The stored form is what docs/data-layout.md says: restored without our code."""

from __future__ import annotations

import hmac
from hashlib import sha256

import zfec
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from gateway.data.writer import StoredBody
from gateway.model.layout import StripeRow
from storaged.base.ids import ShardId
from tests.support.bodies import LARGE, put
from tests.support.cluster import MemoryCluster, memory_cluster, run_virtual

KEPT = [4, 1, 5, 3]  # shards that are left of 0–5; zfec wants data cells in their own places


def enc(label: bytes, *fields: bytes | int) -> bytes:
    out = b"hexagone/v1/" + label + b"\0" + len(fields).to_bytes(2, "big")
    for field in fields:
        raw = field.to_bytes(8, "big") if isinstance(field, int) else field
        out += len(raw).to_bytes(4, "big") + raw
    return out


async def payload_of(cluster: MemoryCluster, row: StripeRow) -> bytes:
    cells = []
    payload_bytes = 0
    for index in KEPT:
        got = await cluster.nodes[row.nodes[index]].get(
            ShardId(row.stripe, index), offset=0, length=row.cell_bytes
        )
        raw, cell = got.attributes, bytes(got.content)
        assert raw[:8] == b"HXS\x01" + bytes((index, 4, 2, 0))
        cell_bytes, payload_bytes = (int.from_bytes(raw[i : i + 4], "big") for i in (8, 12))
        assert raw[16:18] == b"\0\0" and cell_bytes == len(cell)
        units = -(-cell_bytes // 65_536)
        assert raw[18:20] == units.to_bytes(2, "big") and len(raw) == 20 + 16 * units
        bound = (b"c" * 16, row.stripe.encode(), 4, 2, cell_bytes, payload_bytes)
        key = hmac.digest(b"i" * 32, enc(b"shard-tag", *bound, sha256(b"").digest()), "sha256")
        for unit in range(units):
            nonce = bytes((index, 0, 0, 0)) + unit.to_bytes(8, "big")
            tag = AESGCM(key).encrypt(nonce, b"", cell[unit * 65_536 : (unit + 1) * 65_536])
            assert raw[20 + 16 * unit : 36 + 16 * unit] == tag
        cells.append(cell)
    return b"".join(zfec.Decoder(4, 6).decode(cells, KEPT))[:payload_bytes]


def opened(sealed: bytes, stored: StoredBody) -> bytes:
    context = enc(b"body", b"test")
    okm = HKDFExpand(hashes.SHA512(), 76, context + stored.salt).derive(b"d" * 32)
    assert okm[44:] == stored.commitment
    base, plain, count = int.from_bytes(okm[32:44], "big"), b"", -(-len(sealed) // 65_552)
    for i in range(count):
        plain += AESGCM(okm[:32]).decrypt(
            (base ^ i).to_bytes(12, "big"),
            sealed[i * 65_552 : (i + 1) * 65_552],
            sha256(context).digest() + i.to_bytes(8, "big") + bytes((i == count - 1,)),
        )
    return plain


def test_a_body_is_restored_by_the_document_alone() -> None:
    async def main() -> None:
        cluster = memory_cluster()
        plain = LARGE[:5_000_000]
        stored = await put(cluster, plain)
        sealed = b"".join([await payload_of(cluster, row) for row in stored.stripe_rows])
        assert opened(sealed, stored) == plain

    run_virtual(main())
