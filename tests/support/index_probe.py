"""Opens damaged copies of an index, one bit flipped in each, and says what an index user would see.

A program, run as a child: LMDB may end it by a signal, which is then the answer for that flip. One
JSON line per flip. Usage: python -m tests.support.index_probe CLUSTER SCRATCH FIRST COUNT SEED
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path
from random import Random

from gateway.config import GatewayConfig
from gateway.data.keyring import FileKeyring, RootKey
from gateway.meta.kv import Row
from gateway.meta.lmdb import LmdbIndex
from gateway.meta.sealing import RecordKeys, key_epoch_of, open_cluster, open_tenant
from gateway.objects.bucket_keys import BucketKeys
from storaged.base.config import read_config
from storaged.base.env import RealEnv
from storaged.base.errors import StorageError

MAP_BYTES = 1 << 30
SCAN_ROWS = 400
FIRST, LAST = b"\x00", b"\xff" * 60


def scan_all(index: LmdbIndex) -> list[Row]:
    """Every row, as LIST and jobs would see them."""
    rows: list[Row] = []
    start = FIRST
    while page := index.scan(start, LAST, limit=SCAN_ROWS):
        rows += page
        if page[-1].key < start:
            break  # damaged order: what was seen is judged
        start = page[-1].key + b"\x00"
    return rows


class Probe:
    """One cluster's keys, and its index as it was."""

    def __init__(self, cluster: Path, scratch: Path) -> None:
        config = read_config(GatewayConfig, cluster / "gateway.toml")
        self.env = RealEnv(threads_max=1)
        self.root = RootKey.load(config.storage.keys)
        self.keyring = FileKeyring(config.storage.keys, self.root, self.env)
        self.source = cluster / "index" / "data.mdb"
        self.folder = scratch
        self.golden: dict[bytes, bytes] = {}
        self.applied: bytes | None = None
        index = self.open(None)
        self.golden = {row.key: row.value for row in scan_all(index)}
        self.applied = index.applied()
        index.close()

    def open(self, flip: Random | None) -> LmdbIndex:
        """A fresh copy, with one bit flipped."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        raw = bytearray(self.source.read_bytes())
        if flip is not None:
            raw[flip.randrange(len(raw))] ^= 1 << flip.randrange(8)
        (self.folder / "data.mdb").write_bytes(raw)
        return LmdbIndex(
            self.folder, map_size_bytes=MAP_BYTES, sums_key=self.root.sums_key, env=self.env
        )

    def judge(self, flip: Random) -> str:
        """What came of one flip; "wrong", "absent", "hidden" and "mark" are unseen damage."""
        try:
            index = self.open(flip)
        except StorageError:
            return "refused"
        try:
            return self._judge(index)
        except StorageError:
            return "refused"
        finally:
            index.close()

    def _judge(self, index: LmdbIndex) -> str:
        records = BucketKeys(index, self.keyring, self.root.cluster_record_key, self.env).records
        found = {row.key: row.value for row in scan_all(index)}
        read = dict(zip(self.golden, index.read(list(self.golden)), strict=True))
        seen_by_seal = False
        for row_key, value in [*found.items(), *read.items()]:
            if value is None or self.golden.get(row_key) == value:
                continue
            if self._opens(records, row_key, value):
                return "wrong"
            seen_by_seal = True
        if index.applied() != self.applied:
            return "mark"
        if index.verify_sums():
            return "sums"
        if set(found) != set(self.golden):
            return "absent"
        if any(value is None for value in read.values()):
            return "hidden"  # a scan finds it, a look-up does not: a key in a branch page
        return "seal" if seen_by_seal else "harmless"

    def _opens(self, records: RecordKeys, row_key: bytes, value: bytes) -> bool:
        try:
            open_cluster(records, row_key, value)
            if key_epoch_of(value):
                open_tenant(records, row_key, value)
        except StorageError:
            return False
        return True


def main() -> None:
    """See the module docstring."""
    cluster, scratch = map(Path, sys.argv[1:3])
    first, count, seed = map(int, sys.argv[3:6])
    probe = Probe(cluster, scratch)
    for number in range(first, first + count):
        print(json.dumps({"flip": number, "begins": True}), flush=True)
        outcome = probe.judge(Random(f"{seed}/{number}"))
        print(json.dumps({"flip": number, "outcome": outcome}), flush=True)
    sys.stdout.flush()
    os._exit(0)  # no clean-up of what may be damaged


if __name__ == "__main__":
    main()
