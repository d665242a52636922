"""Restore one object from the nodes' volumes and the root key: the stored form without our code.

Usage: restore_object.py CLUSTER_FOLDER BUCKET KEY OUTPUT_FILE. Comments name the sections of
docs/data-layout.md. The log must be whole (no checkpoint has freed it), the object put whole."""

import base64
import hmac
import json
import sys
from collections import defaultdict
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from struct import unpack_from

import zfec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM


def enc(label: str, *fields: bytes | int) -> bytes:  # "Canonical encoding"
    raw = [field.to_bytes(8) if isinstance(field, int) else field for field in fields]
    head = b"hexagone/v1/%b\0%b" % (label.encode(), len(raw).to_bytes(2))
    return head + b"".join(len(field).to_bytes(4) + field for field in raw)


def expand(key: bytes, info: bytes) -> bytes:  # "Keys": HKDF-Expand-SHA512, 76 bytes
    first = hmac.digest(key, info + b"\1", "sha512")
    return first + hmac.digest(key, first + info + b"\2", "sha512")[:12]


def open_secret(key: bytes, label: str, context: bytes, sealed: bytes) -> bytes:  # "Sealed keys"
    okm = expand(key, enc(label, context, sealed[1:25]))
    assert sealed[0] == 1 and hmac.compare_digest(okm[44:], sealed[25:57]), label
    return AESGCM(okm[:32]).decrypt(okm[32:44], sealed[57:], enc("aad", 1, label.encode(), context))


def records_of(path: Path) -> Iterator[tuple[int, int, bytes, bytes, bytes]]:  # "Volumes"
    volume, at = path.read_bytes(), 0
    while at + 88 <= len(volume):
        head = unpack_from(">8sBxHI16s4xIQQ8x17s", volume, at)
        magic, kind, attributes, pages, uuid, length, place, sequence, shard = head
        if magic == b"HXSHARD\x01" and uuid.hex() == path.stem and place == at:
            end, start = at + 88 + attributes, at + 92 + attributes + 4 * pages
            yield sequence, kind, shard, volume[at + 88 : end], volume[start : start + length]
            at = start + length - 1  # and on to the next block
        at += 4096 - at % 4096


class Cluster:
    def __init__(self, folder: Path) -> None:
        self.root = (folder / "keys" / "root.key").read_bytes()
        assert len(self.root) == 32, "the root key is under a passphrase"
        self.id = self.key("cluster-id")[:16]
        self.shards: dict[bytes, dict[tuple[Path, int], tuple[bytes, bytes]]] = defaultdict(dict)
        self.rows: dict[bytes, bytes] = {}
        for node in (folder / "nodes").iterdir():
            for record in sorted(r for path in node.glob("*.vol") for r in records_of(path)):
                _, kind, shard, attributes, content = record
                if kind == 2:
                    self.shards[shard[:16]][node, shard[16]] = attributes, content
                for at in range(0, len(content) if kind == 3 else 0, 17):
                    self.shards[content[at : at + 16]].pop((node, content[at + 16]), None)
        self.replay()

    def key(self, label: str, *context: bytes | int) -> bytes:  # "Keys"
        return expand(self.root, enc("root/" + label, *context))[:32]

    def stripe(self, stripe: bytes) -> tuple[bytes, bytes]:  # "Shard attributes", "Stripes"
        alike: dict[bytes, dict[int, bytes]] = defaultdict(dict)
        for (_, index), (raw, cell) in self.shards[stripe].items():
            head = raw[5 : 18 + int.from_bytes(raw[16:18])]
            k, m, _, payload_bytes = sizes = unpack_from(">BBxII", head)
            info = enc("shard-tag", self.id, stripe, *sizes, sha256(head[13:]).digest())
            tag = AESGCM(hmac.digest(self.key("integrity"), info, "sha256")).encrypt
            units = enumerate(cell[at : at + 65_536] for at in range(0, len(cell), 65_536))
            tags = [tag((index << 88 | n).to_bytes(12), b"", unit) for n, unit in units]
            if raw[:5] == b"HXS\1%c" % index and raw[7 + len(head) :] == b"".join(tags):
                alike[head][index] = cell
            if len(cells := alike[head]) == k:
                spare = [i for i in cells if i >= k]  # data cells stand in their own places
                chosen = [i if i in cells else spare.pop() for i in range(k)]
                data = zfec.Decoder(k, k + m).decode([cells[i] for i in chosen], chosen)
                return head[13:], b"".join(data)[:payload_bytes]
        return b"", b""

    def replay(self) -> None:  # "Commit stripes", "The commit protocol"
        previous, sequence = bytes(32), 1
        while True:
            ids = [s for s in self.shards if s[0] == 3 and s[8:] == sequence.to_bytes(8)]
            for stripe in sorted(ids, reverse=True):
                common, payload = self.stripe(stripe)
                mac = hmac.digest(self.key("log-mac"), common[:-32], "sha256")
                if hmac.compare_digest(mac, common[-32:]) and common[40:72] == previous:
                    break  # the highest epoch that follows
            else:
                return
            sealed, context = payload[int.from_bytes(common[88:92]) :], common[4:36] + previous
            key = self.key("log-epoch", self.key("log-seal"), int.from_bytes(stripe[1:8]))
            raw = AESGCM(key).decrypt(sequence.to_bytes(12), sealed, context)
            previous, sequence = sha256(common + sealed[-16:]).digest(), sequence + 1
            batches, extra = unpack_from(">xII", raw)
            at = 9 + extra
            for _ in range(batches):
                writes, at = int.from_bytes(raw[at + 32 : at + 36]), at + 36
                for _ in range(writes):
                    row_bytes, value_bytes = unpack_from(">HI", raw, at)
                    row, start = raw[at + 6 : at + 6 + row_bytes], at + 6 + row_bytes
                    at = start + value_bytes % 0xFFFFFFFF  # this length says: deleted
                    self.rows[row] = raw[start:at]

    def row(self, row: bytes) -> tuple[bytes, bytes]:  # "Row values"
        value, key = self.rows.get(row, b""), AESGCM(self.key("cluster-record"))
        assert value, f"no row {row!r}: never there, or lost, or let go by a checkpoint"
        end = 33 + int.from_bytes(value[29:33])
        return key.decrypt(value[1:13], value[33:end], value[:33] + b"C" + row), value

    def restore(self, name: str, key: bytes) -> Iterator[bytes]:
        bucket = bytes.fromhex(json.loads(self.row(b"b" + bytes(16) + name.encode())[0])["bucket"])
        part, value = self.row(row := b"O" + bucket + key)  # "Row keys", "Versions"
        kind, plain_bytes, uuid, first, *where = unpack_from(">BQ8x16s16sQQ", part)
        epoch = int.from_bytes(value[25:29])
        held = json.loads(self.row(b"K" + bucket + value[25:29])[0])
        tenant, wrapped = bytes.fromhex(held["tenant"]), bytes.fromhex(held["wrapped"])
        copy = base64.b64decode(json.loads(self.row(b"R" + bytes(16))[0])["sealed"])[4:]
        keys = open_secret(self.key("tenant-keyring"), "tenant-keys", enc("tenants", self.id), copy)
        context = enc("bucket", self.id, tenant, bucket, epoch)
        bucket_key = open_secret(keys.partition(tenant)[2][:32], "wrap-bucket", context, wrapped)
        cipher = AESGCM(hmac.digest(bucket_key, b"hexagone/v1/record", "sha256"))
        inner = cipher.decrypt(value[13:25], value[49 + len(part) :], b"\1T" + row)
        owner, wrapped, salt, commitment = unpack_from(">16s10x105s24s32s", inner, 61)
        context = enc("dek", self.id, owner, bucket, epoch, key, uuid)  # "Contexts"
        dek = open_secret(bucket_key, "wrap-dek", context, wrapped)
        context = enc("body", self.id, owner, uuid, 1)
        okm = expand(dek, context + salt)  # "Frames"
        assert hmac.compare_digest(okm[44:], commitment), "another key sealed this body"
        last, index, base = max(0, plain_bytes - 1) // 65_536, 0, int.from_bytes(okm[32:44])
        for number in range(where[0] if kind == 1 else 1):  # "Layouts"
            payload = self.stripe((int.from_bytes(first) + number).to_bytes(16))[1]
            sealed = payload if kind == 1 else payload[where[0] : sum(where)]
            for at in range(0, len(sealed), 65_552):
                bound = sha256(context).digest() + index.to_bytes(8) + bytes([index == last])
                nonce, frame = (base ^ index).to_bytes(12), sealed[at : at + 65_552]
                yield AESGCM(okm[:32]).decrypt(nonce, frame, bound)
                index += 1
        assert index == last + 1, "stripes with too few good shards"


if __name__ == "__main__":
    found = Cluster(Path(sys.argv[1])).restore(sys.argv[2], sys.argv[3].encode())
    Path(sys.argv[4]).write_bytes(b"".join(found))
