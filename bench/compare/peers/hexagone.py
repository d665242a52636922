"""Hexagone as `hexagone up` starts it: six nodes in three datacenters, everything synced."""

from __future__ import annotations

from pathlib import Path

from bench.cluster import Cluster, ClusterFailed, read_env
from bench.compare.processes import SystemFailed
from bench.compare.systems import Setting, System
from bench.heads import Endpoint
from bench.special import FROZEN_NODE, node_process


class Hexagone(System):
    """The default, which is the synced tier."""

    name = "hexagone"
    setting = Setting(
        store="Hexagone",
        tier="default: shards and index synced (FULL)",
        redundancy="4+2 on 6 nodes in 3 datacenters",
        notes="every object sealed under its tenant's key; a chained journal of writes",
    )

    def __init__(self, folder: Path, *, tls: bool = False, apart: bool = False) -> None:
        super().__init__(folder, tls=tls, apart=apart)
        flags = (*("--tls",) * tls, *("--processes",) * apart)
        self.cluster = Cluster(folder / "data", flags=flags)

    def launch(self) -> None:
        try:
            self.cluster.start()
        except ClusterFailed as failure:
            raise SystemFailed(str(failure)) from None

    def stop(self) -> None:
        self.cluster.stop()

    def endpoint(self) -> Endpoint:
        return read_env(self.cluster.data / "aws.env")[0]

    def roots(self) -> list[int]:
        return [self.cluster.pid]

    def node_to_freeze(self) -> int:
        return node_process(self.cluster.data, FROZEN_NODE)
