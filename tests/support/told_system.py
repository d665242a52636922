"""A system to compare that is not there."""

from __future__ import annotations

from pathlib import Path

from bench.compare.systems import Setting, System
from bench.heads import Endpoint


class Told(System):
    """A system that keeps nothing: a test answers for it, and knows it by its access key."""

    setting = Setting(store="told", tier="none", redundancy="none")

    def __init__(self, folder: Path, name: str) -> None:
        super().__init__(folder / name)
        self.name = name

    def launch(self) -> None: ...

    def stop(self) -> None: ...

    def roots(self) -> list[int]:
        return []

    def make_bucket(self, bucket: str) -> None: ...

    def endpoint(self) -> Endpoint:
        return Endpoint(
            host="127.0.0.1",
            port=9,
            authority="127.0.0.1:9",
            access_key_id=self.name,
            secret="not a secret",
            region="fr",
        )
