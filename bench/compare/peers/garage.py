"""Garage: three nodes in three zones, three copies."""

from __future__ import annotations

import re
from hashlib import sha256
from pathlib import Path

from bench.compare.processes import run_tool, wait_for_port
from bench.compare.systems import ACCESS_KEY, SECRET, Daemonic, Setting

NODES = 3
CONFIG = """\
metadata_dir = "{folder}/meta"
data_dir = "{folder}/data"
db_engine = "lmdb"
metadata_fsync = {synced}
data_fsync = {synced}
replication_factor = 3
rpc_secret = "{rpc_secret}"
rpc_bind_addr = "127.0.0.1:{rpc_port}"
rpc_public_addr = "127.0.0.1:{rpc_port}"

[s3_api]
s3_region = "garage"
api_bind_addr = "127.0.0.1:{s3_port}"

[admin]
api_bind_addr = "127.0.0.1:{admin_port}"
"""


class Garage(Daemonic):
    """Writes are answered when two of three nodes have them; the third copy follows."""

    name = "garage"
    setting = Setting(
        store="Garage",
        tier="default: nothing synced",
        redundancy="3 copies on 3 nodes in 3 zones",
        notes="two copies are waited for; no TLS of its own",
    )
    is_synced = False
    region = "garage"

    def _config(self, n: int) -> Path:
        return self.folder / f"node{n}.toml"

    def launch(self) -> None:
        if self.tls:
            raise NotImplementedError("Garage leaves TLS to a proxy")
        is_fresh = not self._config(0).exists()
        for n in range(NODES):
            self._config(n).write_text(
                CONFIG.format(
                    folder=self.folder / f"node{n}",
                    synced=str(self.is_synced).lower(),
                    rpc_secret=sha256(b"rpc of loopback").hexdigest(),
                    rpc_port=self.port + 10 + n,
                    s3_port=self.port + n,
                    admin_port=self.port + 20 + n,
                ),
                "utf-8",
            )
            self._config(n).chmod(0o600)
            words: list[str | Path] = ["garage", "-c", self._config(n), "server"]
            self.daemons.start(f"node{n}", words, settings={"RUST_LOG": "garage=info"})
        for n in range(NODES):
            wait_for_port(self.port + n, self.daemons)
        if is_fresh:
            self._join()

    def node_to_freeze(self) -> int:
        return self.daemons.named[f"node{NODES - 1}"]

    def _garage(self, *words: str) -> str:
        return run_tool(["garage", "-c", self._config(0), *words])

    def _join(self) -> None:
        """What its quick start does: nodes meet, a layout is applied, a key is made."""
        for n in range(NODES):
            told = run_tool(["garage", "-c", self._config(n), "node", "id", "-q"])
            found = re.search(r"[0-9a-f]{64}", told)
            assert found is not None, "`node id` prints the id"
            if n:
                self._garage("node", "connect", f"{found[0]}@127.0.0.1:{self.port + 10 + n}")
            self._garage("layout", "assign", found[0], "-z", f"dc{n}", "-c", "30G")
        self._garage("layout", "apply", "--version", "1")
        self._garage("key", "import", "--yes", "-n", "bench", ACCESS_KEY, SECRET)
        self._garage("key", "allow", "--create-bucket", ACCESS_KEY)


class GarageSynced(Garage):
    """The same with `metadata_fsync` and `data_fsync`."""

    name = "garage-synced"
    setting = Setting(
        store="Garage",
        tier="synced: metadata_fsync, data_fsync",
        redundancy="3 copies on 3 nodes in 3 zones",
        notes="two copies are waited for; no TLS of its own",
    )
    is_synced = True
