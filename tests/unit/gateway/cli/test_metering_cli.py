"""What `quota`, `plan` and `statement` show to people, and what stays exact for programs."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from gateway.cli import metering_cli
from gateway.cli.metering_cli import Form, quantity_text
from gateway.main import app
from gateway.model.billing import HOUR_MS
from gateway.terminal.language import Language, use

FIRST, END = 498_192, 498_912  # 2026-11
QUOTAS = {
    "quotas": [
        {"subject": "tenant", "name": "mairie", "limits": {"stored_bytes": 2 * 10**12}},
        {"subject": "source", "name": "*", "limits": {"requests_per_s": 500}},
    ]
}


@pytest.fixture(autouse=True)
def _english_afterwards() -> Iterator[None]:
    yield
    use(Language.ENGLISH)


@pytest.mark.parametrize(
    ("said", "value"), [("2T", 2 * 10**12), ("1600k", 1_600_000), ("2Gi", 2 << 30), ("7", 7)]
)
def test_a_limit_is_shown_as_it_is_typed(said: str, value: int) -> None:
    assert quantity_text(value) == said
    assert metering_cli._quantity(said) == value


def test_limits_are_words_for_people_and_names_for_programs(
    capsys: pytest.CaptureFixture[str],
) -> None:
    use(Language.FRENCH)
    metering_cli._print_quotas(QUOTAS, Form.TABLE)
    shown = capsys.readouterr().out
    assert "octets 2T" in shown and "locataire" in shown and "requêtes par s 500" in shown
    metering_cli._print_quotas(QUOTAS, Form.CSV)
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert rows[0] == {"of": "tenant", "name": "mairie", "limits": "stored_bytes=2000000000000"}
    metering_cli._print_quotas({"quotas": []}, Form.TABLE)
    assert capsys.readouterr().out.strip() == "limites : aucune"


def test_a_limit_has_to_be_said() -> None:
    told = CliRunner().invoke(app, ["quota", "set", "--bucket", "photos"])
    assert told.exit_code == 2 and "--bytes 500G" in told.stderr


def statement(folder: Path, *more: str) -> str:
    hour = {
        "tenant": "mairie",
        "tenant_id": "a" * 32,
        "bucket": "b",
        "bucket_id": "b" * 32,
        "number": FIRST,
        "name": "b",
        "until_ms": (FIRST + 1) * HOUR_MS,
        "levels": {"STANDARD": 10**9},
        "byte_ms": {"STANDARD": 10**9 * HOUR_MS},
        "requests": {"write": 5},
        "in_bytes": 10**9,
        "out_bytes": 0,
    }
    hours = {"from_hour": FIRST, "to_hour": END, "until_ms": END * HOUR_MS, "hours": [hour]}
    (folder / "hours.json").write_text(json.dumps(hours))
    (folder / "prices.toml").write_text('currency = "EUR"\n[storage]\n"*" = 1.5\n')
    files = ["--hours", str(folder / "hours.json"), "--prices", str(folder / "prices.toml")]
    told = CliRunner().invoke(app, [*more, "statement", "2026-11", "--tenant", "mairie", *files])
    assert told.exit_code == 0, told.output
    return told.stdout


def test_a_statement_is_told_in_what_is_paid_for(tmp_path: Path) -> None:
    shown = statement(tmp_path, "--lang", "fr")
    assert "stockage STANDARD" in shown and "Go·mois" in shown and "byte·ms" not in shown
    # A gigabyte is held all month: 720 of the 730 hours that a month is priced by.
    assert "0.986301" in shown and "1.48" in shown
    assert "0.000500" in shown, "five requests, of ten thousand"
