"""Usage: restore_object.py CLUSTER_FOLDER BUCKET KEY OUTPUT. Comments: see docs/data-layout.md."""

import base64
import hmac
import json
import sys
from collections.abc import Iterator
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from struct import iter_unpack, unpack, unpack_from

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
    if sealed[0] in (2, 3):  # in a window of the key
        key = expand(key, enc("dek-window", sealed[1:17]))[:32]
    if sealed[0] == 3:
        okm = expand(key, enc("window-keys"))
        made = hmac.digest(okm[32:64], enc(label, context, sealed[17:41]), "sha256")
        assert hmac.compare_digest(made, sealed[41:73]), label
        return AESGCM(okm[:32]).decrypt(made[:12], sealed[73:], made)
    sealed = b"\1" + sealed[17:] if sealed[0] == 2 else sealed
    okm = expand(key, enc(label, context, sealed[1:25]))
    assert sealed[0] == 1 and hmac.compare_digest(okm[44:], sealed[25:57]), label
    return AESGCM(okm[:32]).decrypt(okm[32:44], sealed[57:], enc("aad", 1, label.encode(), context))


class Cluster:
    def __init__(self, folder: Path) -> None:
        root, records, self.rows = (folder / "keys/root.key").read_bytes(), [], dict[bytes, bytes]()
        self.key = lambda label, *ids: expand(root, enc("root/" + label, *ids))[:32]  # "Keys"
        self.id, self.ring = self.key("cluster-id")[:16], self.key("tenant-keyring")
        if (keyd := folder / "keyd" / "keyd.key").exists():  # "Key service"
            self.ring = expand(keyd.read_bytes(), enc("keyd/tenant-keyring", self.id))[:32]
        for path in folder.glob("nodes/*/*.vol"):  # "Volumes"
            for at in range(0, len(volume := path.read_bytes()) - 87, 4096):
                head = unpack_from(">8sBxHI16s4xIQQ8x17s", volume, at)
                magic, kind, attributes, pages, uuid, length, place, sequence, shard = head
                if magic == b"HXSHARD\1" and uuid.hex() == path.stem and place == at:
                    end, start = at + 88 + attributes, at + 92 + attributes + 4 * pages
                    raw, content = volume[at + 88 : end], volume[start : start + length]
                    records.append((path.parent, sequence, kind, shard, raw, content))
        self.shards: dict[bytes, dict[tuple[Path, int], tuple[bytes, bytes]]] = {}
        for node, _, kind, shard, raw, content in sorted(records):
            if kind == 2:
                self.shards.setdefault(shard[:16], {})[node, shard[16]] = raw, content
            for at in range(0, len(content) if kind == 3 else 0, 17):
                self.shards.get(content[at : at + 16], {}).pop((node, content[at + 16]), None)
        ids = sorted((s for s in self.shards if s[0] == 3), key=lambda s: s[8:] + s[:8])[::-1]
        newest = next(filter(None, map(self.group, ids)))[0]  # "Reading the log by hand"
        found = self.group(b"\3" + newest[73:88])  # the checkpoint; zeros name no stripe
        manifest = json.loads(found[2]) if found else {"floor": "00" * 49, "segments": []}
        floor = bytes.fromhex(manifest["floor"])
        self.rows, sequence, previous = {}, int.from_bytes(floor[9:17]), floor[17:49]
        for stripe in (bytes.fromhex(segment["stripe"]) for segment in manifest["segments"]):
            self.set_rows(self.key("log-segments"), stripe[4:], self.stripe(stripe)[1], stripe)
        for s in sorted(ids, key=lambda stripe: stripe[8:]):  # among equals the highest epoch first
            if int.from_bytes(s[8:]) == sequence + 1 and (found := self.group(s, previous)):
                sequence, previous = sequence + 1, found[1]
        assert sequence == int.from_bytes(newest[28:36]), f"no group {sequence + 1}"

    def stripe(self, stripe: bytes) -> tuple[bytes, bytes]:  # "Shard attributes", "Stripes"
        alike: dict[bytes, dict[int, bytes]] = {}
        for (_, index), (raw, cell) in self.shards.get(stripe, {}).items():
            head = raw[5 : 18 + int.from_bytes(raw[16:18])]
            k, m, _, size = sizes = unpack_from(">BBxII", head)
            info = enc("shard-tag", self.id, stripe, *sizes, sha256(head[13:]).digest())
            tag = AESGCM(hmac.digest(self.key("integrity"), info, "sha256")).encrypt
            units = enumerate(cell[at : at + 65_536] for at in range(0, len(cell), 65_536))
            tags = [tag((index << 88 | n).to_bytes(12), b"", unit) for n, unit in units]
            if raw[:5] == b"HXS\1%c" % index and raw[7 + len(head) :] == b"".join(tags):
                alike.setdefault(head, {})[index] = cell
            if len(cells := alike.get(head, {})) == k:
                data = zfec.Decoder(k, k + m).decode([*cells.values()], [*cells])
                return head[13:], b"".join(data)[:size]
        return b"", b""

    def set_rows(self, key: bytes, nonce: bytes, sealed: bytes, context: bytes) -> bytes:
        records = BytesIO(AESGCM(key).decrypt(nonce, sealed, context))
        batches, extra_bytes = unpack(">xII", records.read(9))
        extra = records.read(extra_bytes)
        for _ in range(batches):
            for _ in range(int.from_bytes(records.read(36)[32:])):
                row_bytes, value_bytes = unpack(">HI", records.read(6))
                row = records.read(row_bytes)  # FFFFFFFF says that it is deleted
                self.rows[row] = records.read(value_bytes % 0xFFFFFFFF)
        return extra

    def group(self, stripe: bytes, previous: bytes = b"") -> tuple[bytes, ...]:  # "Commit stripes"
        head, payload = self.stripe(stripe)
        mac = hmac.digest(self.key("log-mac"), head[:96], "sha256")
        if not hmac.compare_digest(mac, head[96:]) or not head[40:72].startswith(previous):
            return ()
        key = self.key("log-epoch", self.key("log-seal"), int.from_bytes(stripe[1:8]))
        nonce, sealed = bytes(4) + stripe[8:], payload[int.from_bytes(head[88:92]) :]
        extra = self.set_rows(key, nonce, sealed, head[4:36] + head[40:72])
        return head, sha256(head + sealed[-16:]).digest(), extra

    def row(self, row: bytes) -> tuple[bytes, bytes]:  # "Row values"
        v, key = self.rows.get(row), AESGCM(self.key("cluster-record"))
        assert v, f"no row {row!r}"
        return key.decrypt(v[1:13], v[33:][: int.from_bytes(v[29:33])], v[:33] + b"C" + row), v

    def opened(self, bucket: bytes, row: bytes) -> tuple[bytes, bytes, tuple, bytes]:
        place, value = self.row(row)
        held = json.loads(self.row(b"K" + bucket + (epoch := value[25:29]))[0])
        ids = self.id, (tenant := bytes.fromhex(held["tenant"])), bucket, int.from_bytes(epoch)
        copy = base64.b64decode(json.loads(self.row(b"R" + bytes(16))[0])["sealed"])
        third = "key-epochs", b"\0" + held.get("tenant_epoch", 1).to_bytes(4), 18
        ring, unnamed, at = (("tenants", b"", 0), ("named-keys", b"\0", 0), third)[copy[3] - 1]
        keys = open_secret(self.ring, "tenant-keys", enc(ring, self.id), copy[4:])
        outer = keys.partition(tenant + unnamed)[2][at : at + 32]  # the tenant's; "Contexts"
        key = open_secret(outer, "wrap-bucket", enc("bucket", *ids), bytes.fromhex(held["wrapped"]))
        cipher = AESGCM(hmac.digest(key, b"hexagone/v1/record", "sha256"))
        return place, cipher.decrypt(value[13:25], value[49 + len(place) :], b"\1T" + row), ids, key

    def restore(self, name: str, key: str) -> Iterator[bytes]:
        bucket = bytes.fromhex(json.loads(self.row(b"b" + bytes(16) + name.encode())[0])["bucket"])
        place, inner, ids, kek = self.opened(bucket, row := b"O" + bucket + key.encode())
        sealed, rest = inner[87:][: (w := int.from_bytes(inner[77:79]))], inner[87 + w :]
        dek = open_secret(kek, "wrap-dek", enc("dek", *ids, row[17:], uuid := place[17:33]), sealed)
        parts = [(1, place, rest)] if inner[0] & 2 else []
        runs = iter_unpack(">HHQ", rest[: 12 * int.from_bytes(inner[85:87])])
        for number in (first + i for first, count, _ in runs for i in range(count)):
            place, part, *_ = self.opened(bucket, b"P" + bucket + uuid + number.to_bytes(2))
            parts.append((number, place, part[26:]))  # "Uploads and parts"
        for number, place, seal in parts:
            kind, plain_bytes, first, *where = unpack_from(">BQ24x16sQQ", place)  # "Records"
            names = (int.from_bytes(first) + i for i in range(where[0] if kind == 1 else 1))
            sealed = b"".join(self.stripe(name.to_bytes(16))[1] for name in names)  # "Layouts"
            sealed = sealed if kind == 1 else sealed[where[0] : sum(where)]
            okm = expand(dek, (context := enc("body", *ids[:2], uuid, number)) + seal[:24])
            assert hmac.compare_digest(okm[44:], seal[24:56]), "another key sealed this body"
            base, last = int.from_bytes(okm[32:44]), max(0, plain_bytes - 1) // 65_536  # "Frames"
            for i in range(last + 1):  # each is needed, and says whether it is the last
                nonce, frame = (base ^ i).to_bytes(12), sealed[65_552 * i : 65_552 * (i + 1)]
                bound = sha256(context).digest() + i.to_bytes(8) + bytes([i == last])
                yield AESGCM(okm[:32]).decrypt(nonce, frame, bound)


if __name__ == "__main__":
    Path(sys.argv[4]).write_bytes(b"".join(Cluster(Path(sys.argv[1])).restore(*sys.argv[2:4])))
