"""Names that others have chosen, where commands show them: nothing in them moves a terminal."""

from __future__ import annotations

import ast
import io
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console, RenderableType
from typer.testing import CliRunner

from gateway.cli import export_cli, metering_cli, policy_cli
from gateway.cli.access_views import one_view, rows_view
from gateway.cli.tables import titled_table
from gateway.main import app

EVIL = "s3://photos/\x1b[2J\x1b]0;a\x07[red]b[/red]"
ROOT = Path(__file__).resolve().parents[4]
OF_OTHERS = {"bucket", "key", "url", "reason", "error"}  # in f-strings that are echoed


def printed(view: RenderableType) -> str:
    out = io.StringIO()
    Console(file=out, force_terminal=True, width=200, color_system=None).print(view)
    return out.getvalue()


def test_titles_and_columns_are_escaped_and_are_no_markup() -> None:
    for view in (
        titled_table(EVIL, (EVIL,), ()),
        rows_view(EVIL, ("name",), [{"name": EVIL}]),
        one_view(EVIL, {"name": EVIL}),
        metering_cli._table(EVIL, [{"name": EVIL}]),
    ):
        shown = printed(view)
        assert "\x1b]0" not in shown and "\x1b[2J" not in shown and "\x07" not in shown
        assert "\\x1b[2J" in shown and "[red]b[/red]" in shown


def test_who_may_shows_its_url_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    class Client:
        def access(self, *_: object) -> dict[str, Any]:
            return {"who": []}

    monkeypatch.setattr(policy_cli, "client_of", lambda *_: Client())
    told = CliRunner().invoke(app, ["who-may", EVIL])
    assert told.exit_code == 0 and "\x1b" not in told.output and "\\x1b[2J" in told.output


def test_what_an_import_could_not_bring_is_shown_escaped(
    capsys: pytest.CaptureFixture[str],
) -> None:
    failed = [{"bucket": "photos", "key": EVIL, "error": EVIL}]
    counts = {"installed": 0, "held": 0, "compared": 0, "failed_untold": 0}
    export_cli._tell_brought({**counts, "failed": failed, "differences": [EVIL]})
    told = capsys.readouterr()
    assert "\x1b" not in told.out + told.err and "\\x1b[2J" in told.err


def test_no_command_echoes_a_name_of_others_as_it_is() -> None:
    found = []
    for path in sorted((ROOT / "gateway").rglob("*cli.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            is_echo = isinstance(node, ast.Call) and ast.unparse(node.func) == "typer.echo"
            if is_echo and node.args and isinstance(node.args[0], ast.JoinedStr):
                held = {one for one in OF_OTHERS if f"['{one}']" in ast.unparse(node.args[0])}
                found += [f"{path.name}:{node.lineno} {one}" for one in sorted(held)]
    assert not found


def test_a_plan_says_yes_and_no() -> None:
    plan = {
        "tenant": "mairie",
        "kind": "pay as you go",
        "switching": False,
        "since_hour": 1,
        "reserved_bytes": 0,
        "reserved_out_bytes": 0,
        "changes": [],
    }
    shown = printed(metering_cli._plan_view(plan))
    assert "False" not in shown and " no " in shown
