"""Commands that the pages tell people to type are commands that there are, with these options."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

from gateway.main import app
from gateway.terminal.commands import tree

DOCS = Path(__file__).resolve().parents[4]
PAGES = [
    path
    for path in (DOCS / "README.md", *sorted(DOCS.glob("docs/**/*.md")))
    if not path.name.startswith("data-layout")  # bytes begin with the program's name there
]
PROMPT = re.compile(r"(?:^|[$|] +|ssh \S+ |-- \S*/)hexagone ([a-z-].*)")
OPTION = re.compile(r"--[a-z][a-z0-9-]*")
# Of the command itself, before the name of any other; typer tells them apart.
GLOBAL = {"--lang", "--admin", "--cert", "--key", "--ca", "--version", "--help"}
TAKING = {"--lang", "--admin", "--cert", "--key", "--ca"}


def known() -> dict[str, set[str]]:
    """Options of every command, by its path."""
    return {
        path: {opt for param in command.get_params(context) for opt in param.opts}
        for path, command, context in tree(typer.main.get_command(app))  # type: ignore[arg-type]
    }


def typed(text: str) -> Iterator[str]:
    """What a page tells to type after `hexagone`: in blocks, and in running text."""
    in_block = False
    for line in text.replace("\\\n", " ").split("\n"):
        if line.startswith("```"):
            in_block = not in_block
        elif in_block and (found := PROMPT.search(line)):
            yield re.split(r"\s{2,}|\s#|\s[|>]\s", found[1])[0]
        elif not in_block:
            yield from re.findall(r"`(?:\S*/)?hexagone ([a-z-][^`]*)`", line)


def wrong(said: str, commands: dict[str, set[str]]) -> str:
    """What is wrong with a command; "" if nothing is."""
    path, skips = "hexagone", False
    options = []
    for word in (one.strip("[](),.;:…") for one in said.split()):
        if skips:
            skips = False
        elif option := OPTION.match(word):
            options.append(option[0])
            skips = path == "hexagone" and option[0] in TAKING
        elif f"{path} {word}" in commands:
            path = f"{path} {word}"
        elif path == "hexagone" and word and not word.isupper():
            return f"no command {word}"
    missing = [one for one in options if one not in commands[path] | GLOBAL]
    group = any(other.startswith(f"{path} ") for other in commands)
    return f"{path} has no {missing[0]}" if missing and not group else ""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(DOCS)))
def test_what_a_page_says_to_type_can_be_typed(page: Path) -> None:
    commands = known()
    found = {said: wrong(said, commands) for said in typed(page.read_text(encoding="utf-8"))}
    assert {said: why for said, why in found.items() if why} == {}
