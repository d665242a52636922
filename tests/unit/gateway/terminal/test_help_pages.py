"""Every command has a page of help that can be shown."""

from __future__ import annotations

from typing import Any

import pytest
import typer

from gateway.main import app
from gateway.terminal.commands import tree
from gateway.terminal.help import page_of

COMMANDS = tree(typer.main.get_command(app))  # type: ignore[arg-type]


@pytest.mark.parametrize(("name", "command", "context"), COMMANDS, ids=[one[0] for one in COMMANDS])
def test_a_page_says_what_a_command_is_for(name: str, command: Any, context: Any) -> None:
    assert page_of(command, context).paragraphs
