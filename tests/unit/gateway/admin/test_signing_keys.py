"""K-07: keys that sign are drawn; those of clusters from before go on, and can be changed."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from gateway.admin import signing_api
from gateway.admin.attestation import public_key_of, signed, verified
from gateway.admin.signing_api import SigningDesk
from gateway.cli import root_key_cli, signing_cli
from gateway.cli.status_cli import show
from gateway.data.attestation_key import (
    ATTESTATION_FILE,
    AttestationKeyInvalid,
    draw_attestation_key,
    keep_attestation_key,
    load_attestation_key,
)
from gateway.data.root_key import RootKey
from gateway.journal.events import CLUSTER
from gateway.journal.journal import Journal, JournalConfig
from gateway.journal.opening import open_journal
from gateway.journal.store import read_lines
from gateway.main import app
from gateway.recovery.folder import collect
from storaged.base.env import RealEnv

pytestmark = pytest.mark.proves("K-07")

ENV = RealEnv(threads_max=2)
SOURCES = Path(root_key_cli.__file__).parents[2]


def test_a_key_of_thousands_of_characters_does_not_fill_the_table(
    capsys: pytest.CaptureFixture[str],
) -> None:
    held = {
        "signs": "journal",
        "drawn": True,
        "drawn_at_ms": 0,
        "public_keys": ["name+1+" + "A" * 40, "name+2+" + "B" * 2700],
    }
    show({"keys": [held]}, signing_cli._view, as_json=False)
    shown = capsys.readouterr().out
    assert "name+1+" in shown and "name+2+" in shown and "B" * 60 in shown
    assert shown.count("B") < 100 and "\\n" not in shown and "journal keys" in shown


def opened(folder: Path, root: RootKey) -> tuple[Journal, SigningDesk]:
    config = JournalConfig(folder=folder / "journal")
    journal = open_journal(config, root.cluster_id, root.derive, ENV, folder)
    assert journal is not None
    journal.start()
    return journal, SigningDesk(folder, root, journal, ENV)


def test_a_cluster_begins_with_keys_that_its_root_key_does_not_lead_to(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["keys", "init", "--keys", str(tmp_path)])
    assert done.exit_code == 0, done.output
    root = RootKey.load(tmp_path)
    held = load_attestation_key(tmp_path, root)
    assert held.is_drawn and held.seed != root.derive("attestation")
    content = (tmp_path / ATTESTATION_FILE).read_bytes()
    assert held.seed not in content and held.seed.hex() not in repr(held)
    assert (tmp_path / ATTESTATION_FILE).stat().st_mode & 0o777 == 0o600
    # Whoever has copied the root key before has another cluster's keys, not this one's.
    other = tmp_path / "other"
    other.mkdir()
    keep_attestation_key(other, root, draw_attestation_key(ENV), ENV)
    assert load_attestation_key(other, root).seed != held.seed
    assert ATTESTATION_FILE in collect(tmp_path, {}).files, "recovery brings it back"

    async def main() -> None:
        journal, desk = opened(tmp_path, root)
        rows = {row["signs"]: row for row in desk.document()["keys"]}
        assert rows["attestation"]["drawn"] and rows["journal"]["drawn"]
        assert desk.warnings() == []
        await journal.close()

    asyncio.run(main())


def test_a_cluster_of_before_goes_on_until_its_keys_are_changed(tmp_path: Path) -> None:
    root = RootKey.create(tmp_path, ENV)
    (tmp_path / "journal" / "logs").mkdir(parents=True)  # there was a journal

    async def main() -> None:
        journal, desk = opened(tmp_path, root)
        assert desk.attestation_seed() == root.derive("attestation")
        kept = signed({"format": "hexagone/attestation/v1"}, desk.attestation_seed())
        assert [row["drawn"] for row in desk.document()["keys"]] == [False, False]
        assert len(desk.warnings()) == 2
        row = await desk.rotate_attestation()
        await journal.rotate_key()
        assert [row["drawn"] for row in desk.document()["keys"]] == [True, True]
        assert desk.warnings() == []
        seed = desk.attestation_seed()
        assert seed != root.derive("attestation") and row["public_keys"] == [public_key_of(seed)]
        # What was signed before is verified with the key of before, and not with this one.
        assert json.loads(json.dumps(kept))["public_key"] != public_key_of(seed)
        await journal.checkpoint(None)
        lines = b"".join(read_lines(tmp_path / "journal" / "logs" / CLUSTER, 0, 100)).decode()
        assert signing_api.ROTATED in lines and public_key_of(seed) in lines
        await journal.close()
        journal, desk = opened(tmp_path, root)
        assert desk.attestation_seed() == seed
        await journal.close()

    asyncio.run(main())


def test_a_key_that_does_not_open_signs_nothing_and_says_what_to_do(tmp_path: Path) -> None:
    root = RootKey.create(tmp_path, ENV)
    keep_attestation_key(tmp_path, root, draw_attestation_key(ENV), ENV)
    path = tmp_path / ATTESTATION_FILE
    content = path.read_bytes()
    desk = SigningDesk(tmp_path, root, None, ENV)
    for at in range(len(content)):
        path.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
        with pytest.raises(AttestationKeyInvalid):
            desk.attestation_seed()
    path.write_bytes(b"")
    assert "statements about places cannot be signed" in desk.warnings()[0]
    path.write_bytes(content)
    assert desk.warnings() == []


def test_nothing_else_that_signs_is_derived() -> None:
    """The labels that keys are derived with, and among them all that ever fed a signature."""
    derived = set()
    for path in (*(SOURCES / "gateway").rglob("*.py"), *(SOURCES / "storaged").rglob("*.py")):
        derived |= set(re.findall(r"derive\(\s*\"([a-z0-9-]+)\"", path.read_text("utf-8")))
    signing = {"attestation", "journal-ed25519", "journal-ml-dsa-65"}
    sealing = {
        *("approvers", "attestation-seal", "cluster-id", "cluster-record", "former", "hsm-pin"),
        *("hsm-record", "integrity", "journal-names", "journal-signers", "log-epoch", "log-id"),
        *("log-mac", "log-seal", "log-segments", "recovery-backup", "sums", "tenant-keyring"),
    }
    assert derived == signing | sealing, "what is a label for? Keys that sign are drawn"
    with pytest.raises(Exception, match="another cluster's key"):
        verified(json.dumps(signed({}, b"s" * 32)).encode(), public_key_of(b"t" * 32))
