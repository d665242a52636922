"""`hexagone keys`: the same commands in the same order, whatever was imported before."""

from __future__ import annotations

import subprocess
import sys

import pytest

COMMANDS = (
    "create init show list status rotate move disable enable destroy signing rotate-attestation"
    " recovery"
)
RECOVERY = "init reshare backup status verify request restore ceremony transcript"
SHOWN = """
import typer
from gateway.cli.keys_app import keys_app
keys = typer.main.get_group(keys_app)
print(*keys.commands)
print(*keys.commands["recovery"].commands)
"""


@pytest.mark.parametrize(
    "before",
    [
        "",
        "import gateway.cli.ceremony_cli, gateway.cli.keys_cli, gateway.ca_cli",
        "import gateway.main, gateway.cli.recovery_cli, gateway.cli.status_cli",
    ],
)
def test_the_commands_follow_from_no_order_of_imports(before: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", before + SHOWN], capture_output=True, text=True, check=True
    )
    assert done.stdout.split("\n")[:2] == [COMMANDS, RECOVERY]
