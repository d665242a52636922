"""SeaweedFS: a master, three volume servers, a filer with the S3 gateway."""

from __future__ import annotations

import json

from bench.compare.processes import run_tool, wait_for_port
from bench.compare.systems import ACCESS_KEY, SECRET, Daemonic, Setting, write_self_signed

SERVERS = 3
GRPC = 20  # a server's second port, above its first
VOLUMES_MAX = 100  # files that grow up to the default of 30,000 MB each, nothing allocated ahead


class SeaweedFS(Daemonic):
    """Three copies of the data in one rack; names are in the filer's LevelDB, once.

    Its erasure coding is for volumes that are full and no longer written: new objects are copies.
    """

    name = "seaweedfs"
    setting = Setting(
        store="SeaweedFS",
        tier="default: nothing synced",
        redundancy="3 copies on 3 volume servers (002)",
        notes="names and metadata in one LevelDB, without a copy",
    )
    is_synced = False

    def _address(self, offset: int) -> str:
        return f"127.0.0.1:{self.port + offset}.{self.port + offset + GRPC}"

    def _listen(self, offset: int) -> list[str]:
        port = self.port + offset
        return ["-ip=127.0.0.1", f"-port={port}", f"-port.grpc={port + GRPC}"]

    def launch(self) -> None:
        for name in ("master", "filer", *(f"volume{n}" for n in range(SERVERS))):
            (self.folder / name).mkdir(exist_ok=True)
        words = ["weed", "master", *self._listen(1), f"-mdir={self.folder}/master"]
        words += ["-defaultReplication=002", "-peers=none", "-telemetry=false"]
        self.daemons.start("master", words)
        wait_for_port(self.port + 1, self.daemons)
        for n in range(SERVERS):
            words = ["weed", "volume", *self._listen(2 + n), f"-master={self._address(1)}"]
            words += [f"-dir={self.folder}/volume{n}", f"-max={VOLUMES_MAX}"]
            words += ["-dataCenter=dc", "-rack=rack"]
            self.daemons.start(f"volume{n}", words)
        for n in range(SERVERS):
            wait_for_port(self.port + 2 + n, self.daemons)
        self._start_filer()
        wait_for_port(self.port, self.daemons)
        if self.is_synced:
            run_tool(
                ["weed", "shell", f"-master={self._address(1)}", f"-filer={self._address(9)}"],
                text="fs.configure -locationPrefix=/buckets/ -fsync -apply\nexit\n",
            )

    def node_to_freeze(self) -> int:
        return self.daemons.named[f"volume{SERVERS - 1}"]

    def _start_filer(self) -> None:
        identity = {
            "name": "bench",
            "credentials": [{"accessKey": ACCESS_KEY, "secretKey": SECRET}],
            "actions": ["Admin", "Read", "Write", "List", "Tagging"],
        }
        config = self.folder / "s3.json"
        config.write_text(json.dumps({"identities": [identity]}), "utf-8")
        words = ["weed", "filer", *self._listen(9), f"-master={self._address(1)}"]
        words += [f"-defaultStoreDir={self.folder}/filer", "-defaultReplicaPlacement=002"]
        # Neither -dataCenter nor -rack: with one of them the master refuses at once to wait for a
        # volume that is about to be made, and writes fail for as long as none has room.
        words.append(f"-localSocket={self.folder}/filer.sock")
        self.daemons.start("filer", words)
        wait_for_port(self.port + 9, self.daemons)
        words = ["weed", "s3", f"-filer={self._address(9)}", "-ip.bind=127.0.0.1"]
        words += [f"-port={self.port}", f"-port.grpc={self.port + GRPC}", f"-config={config}"]
        words += ["-port.iceberg=0", "-port.lance=0", f"-localSocket={self.folder}/s3.sock"]
        words.append(f"-localFilerSocket={self.folder}/filer.sock")
        if self.tls:
            certificate, key = self.folder / "s3.crt", self.folder / "s3.key"
            write_self_signed(certificate, key)
            words += [f"-cert.file={certificate}", f"-key.file={key}"]
        self.daemons.start("s3", words)


class SeaweedFSSynced(SeaweedFS):
    """The same with `fsync` for every path of a bucket; the filer's LevelDB has no such option."""

    name = "seaweedfs-synced"
    setting = Setting(
        store="SeaweedFS",
        tier="synced: data fsynced, the filer's names not",
        redundancy="3 copies on 3 volume servers (002)",
        notes="names and metadata in one LevelDB, without a copy",
    )
    is_synced = True
