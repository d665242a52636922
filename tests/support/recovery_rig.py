"""A keys folder and the commands about its recovery, without a gateway, for tests."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from typer import Typer
from typer.testing import CliRunner, Result

from gateway.cli import keys_app
from gateway.data.keyring import FileKeyring, RootKey
from gateway.journal.events import CLUSTER, Event, Phase
from gateway.journal.opening import journal_keys
from gateway.journal.shelf import Placed, Shelf
from gateway.recovery import folder as kept
from storaged.base.env import RealEnv

ENV = RealEnv(threads_max=1)
T1, T2 = b"1" * 16, b"2" * 16


@dataclass
class Rig:
    """A cluster's keys folder, without a gateway."""

    data: Path
    shares: Path
    copies: Path

    @property
    def keys(self) -> Path:
        return self.data / "keys"

    def keyring(self) -> FileKeyring:
        return FileKeyring(self.keys, RootKey.load(self.keys), ENV)

    def run(self, *words: str | Path, ok: bool = True, data: Path | None = None) -> Result:
        app = Typer()
        keys_app.add_commands(app)
        line = ["keys", "recovery", *map(str, words), "--data", str(data or self.data)]
        result = CliRunner().invoke(app, line)
        if ok and result.exit_code:
            raise AssertionError(result.output) from result.exception
        assert ok or result.exit_code in (1, 2), result.output
        return result

    def ask(self, *words: str | Path, data: Path | None = None) -> dict[str, object]:
        found = json.loads(self.run(*words, "--json", data=data).stdout.splitlines()[-1])
        assert isinstance(found, dict)
        return found

    def init(self) -> dict[str, object]:
        return self.ask(
            *("init", "--shares", "5", "--threshold", "3", "--out", self.shares),
            *("--to", self.copies, "--to", self.data / "copies"),
        )

    def given(self, *places: int, folder: Path | None = None) -> list[str | Path]:
        words: list[str | Path] = []
        for place in places:
            words += ["--share", (folder or self.shares) / f"share-{place}.txt"]
        return words

    def restored(
        self, to: Path, *words: str | Path, ok: bool = True, places: Sequence[int] = (1, 3, 5)
    ) -> Result:
        return self.run(
            *("restore", "--yes", "--backup", self.copies, "--keys", to / "keys", "--no-journal"),
            *self.given(*places),
            *words,
            ok=ok,
            data=to,
        )


def recovery_rig(tmp_path: Path) -> Rig:
    """Two tenants' keys, the root key and a file of a CA."""
    rig = Rig(tmp_path / "data", tmp_path / "shares", tmp_path / "copies")
    RootKey.create(rig.keys, ENV)
    keyring = rig.keyring()
    for tenant in (T1, T2):
        keyring.create_tenant_key(tenant)
    (rig.keys / "authority").mkdir()
    (rig.keys / "authority" / "ca.key").write_bytes(b"a key of a CA")
    return rig


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name not in (kept.STATE, kept.PENDING)
    }


def journal_of(
    rig: Rig,
    events: list[tuple[str, Phase, dict[str, object]]],
    log: str = CLUSTER,
    *,
    at_ms: int = 1,
) -> Path:
    """A journal with some events."""
    root = RootKey.load(rig.keys)
    folder = rig.data.parent / "some-journal"
    shelf = Shelf(folder, journal_keys(root.cluster_id, root.derive), ENV)
    batch = [Placed(log, Event(at_ms, kind, phase, body)) for kind, phase, body in events]  # type: ignore[arg-type]
    assert not shelf.write(batch, bytes(16 * len(batch)), "")
    shelf.sign(())
    shelf.close()
    return folder
