"""Where keys may be restored beside a gateway that runs, and what `status` shows of a backup."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gateway.cli import recovery_restore, recovery_terminal
from gateway.cli.client import AdminClient, GatewayNotRunning
from gateway.cli.recovery_acts import Place, share_text
from gateway.recovery.shares import make_shares, read_share
from gateway.terminal.language import Language, use
from storaged.base.env import RealEnv

pytestmark = pytest.mark.proves("K-12")


class Running(AdminClient):
    """A gateway that works with the keys of a folder; None: there is none."""

    def __init__(self, keys: Path | None) -> None:
        self.used = keys

    def recovery(self, method: str, path: str, fields: Any) -> dict[str, Any]:
        if self.used is None:
            raise GatewayNotRunning(socket="x")
        return {"keys": str(self.used)}


@pytest.mark.parametrize(("running", "refused"), [("mine", True), ("other", False), (None, False)])
def test_only_the_gateway_of_these_keys_has_to_be_stopped(
    tmp_path: Path, running: str | None, refused: bool
) -> None:
    client = Running(tmp_path / running if running else None)
    place = Place(
        keys=tmp_path / "x" / ".." / "mine", client=client, env=RealEnv(threads_max=1), journal=None
    )
    if not refused:
        recovery_restore._check_stopped(place)
        return
    with pytest.raises(recovery_restore.GatewayRunning):
        recovery_restore._check_stopped(place)


def test_a_share_is_a_sheet_in_its_custodian_s_language_that_is_read_again() -> None:
    record, shares = make_shares(
        b"c" * 16, count=3, threshold=2, env=RealEnv(threads_max=1), custodians=("Zoé", "Luc", "")
    )
    use(Language.FRENCH)
    try:
        sheets = [share_text(share, record) for share in shares]
    finally:
        use(Language.ENGLISH)
    assert "part de récupération 1 sur 3 (Zoé)" in sheets[0] and "(" not in sheets[2]
    assert "2 d'entre elles" in sheets[0]
    assert [read_share(sheet) for sheet in sheets] == shares
    assert "recovery share 1 of 3 (Zoé)" in share_text(shares[0], record)


def test_a_backup_is_told_in_words(capsys: pytest.CaptureFixture[str]) -> None:
    use(Language.FRENCH)
    try:
        held = {"number": 3, "made_at_ms": 1_795_474_563_000, "is_current": True}
        recovery_terminal.tell({"backup": held, "also": {"keyd": "/x"}}, as_json=False)
    finally:
        use(Language.ENGLISH)
    shown = capsys.readouterr().out
    assert "numéro 3, faite le 2026-11-23 22:56:03Z, à jour oui" in shown and "keyd=/x" in shown
