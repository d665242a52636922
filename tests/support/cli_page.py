"""docs/admin-cli.md: every command with its options, examples and exit codes, out of the tree of
commands itself.

    python -m tests.support.cli_page      writes it anew
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import typer

from gateway.main import OFFERED, app
from gateway.terminal.commands import tree
from gateway.terminal.help import Page, Row, first_sentence, page_of
from gateway.terminal.language import Language, use

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = ROOT / "docs" / "admin-cli.md"

HEAD = """# The `hexagone` command

Written by `python -m tests.support.cli_page` out of the commands themselves; a test holds it to
them. `hexagone COMMAND --help` says the same at the terminal. In French: the
[operator's guide](fr/guide-exploitant.md).

## What holds for all commands

"""
FOR_ALL = (
    (
        "Exit codes",
        "0 done; 1 refused or failed; 2 no gateway answers, or the command is wrong. Where a "
        "command has others, it says so",
    ),
    (
        "Language",
        "English or French, by `--lang`, else `LANGUAGE`, `LC_ALL`, `LC_MESSAGES`, `LANG`; English "
        "where there is none. JSON, exit codes, S3's error codes and names of keys are the same in "
        "all. Reasons that name bytes of a protocol or format stay in English, as in the log",
    ),
    (
        "`--json`",
        "what is printed for programs: one document on standard output, or one a line; all else "
        "goes to standard error",
    ),
    ("Errors", "on standard error: `error: …`, and `hint: …` with what to do next"),
    (
        "Confirmation",
        "what loses something names it and asks; `--yes` answers; without a terminal it is refused "
        "unless `--yes` is said. `--dry-run`, where there is one, only tells",
    ),
    ("Colour", "on a terminal only; `NO_COLOR` and `TERM=dumb` turn it off"),
    (
        "Which gateway",
        "`--data DIR` (else `$HEXAGONE_DATA`, else `hexagone-data`) or `--socket PATH`: its admin "
        "socket, which only the user that runs the gateway can open; or, before the command, "
        "`--admin URL`: [as an administrator with a name](administrators.md)",
    ),
    ("Completion", "`hexagone completion bash`, `zsh` or `fish` prints what the shell reads"),
)
# Said above once; each command that takes them only names them.
COMMON = {
    "--data": "folder of the cluster (else $HEXAGONE_DATA, hexagone-data)",
    "--socket": "admin socket (else DIR/admin.sock)",
    "--json": "for programs",
    "--yes": "do not ask",
    "--help": "Show this message and exit.",
}


def document() -> str:
    """The page as it should be."""
    use(Language.ENGLISH)
    sections: dict[str, list[str]] = {}
    written: list[str] = []
    of = {one.name: one.section for one in OFFERED}
    for path, command, context in tree(typer.main.get_command(app)):  # type: ignore[arg-type]
        words = path.split()
        if len(words) == 1:
            continue
        if len(words) == 2:
            link = f"[`{words[1]}`](#{_anchor(path)})"
            line = f"| {link} | {_cell(first_sentence(_first(command, context)))} |"
            sections.setdefault(of.get(words[1], "Commands"), []).append(line)
        written.append(_section(path, page_of(command, context)))
    lists = [
        f"**{title}**\n\n| Command | |\n|---|---|\n" + "\n".join(lines) + "\n"
        for title, lines in sections.items()
    ]
    for_all = "".join(f"| {name} | {text} |\n" for name, text in FOR_ALL)
    tables = "\n".join(lists)
    body = "\n".join(written).rstrip()
    return f"{HEAD}| | |\n|---|---|\n{for_all}\n## Commands\n\n{tables}\n{body}\n"


def _first(command: Any, context: Any) -> str:
    return next(iter(page_of(command, context).paragraphs), "")


def _section(path: str, page: Page) -> str:
    depth = "##" if len(path.split()) == 2 else "###"
    lines = [f"{depth} {path}", ""]
    for paragraph in page.paragraphs:
        lines += [paragraph, ""]
    lines += ["```", page.usage]
    lines += ["", *page.examples] if page.examples else []
    lines += ["```", ""]
    common = [row for row in page.options if COMMON.get(row.names.split()[0]) == row.meaning]
    rows = [*page.arguments, *(row for row in page.options if row not in common)]
    if rows:
        lines += ["| | |", "|---|---|", *map(_row, rows), ""]
    named = [f"`{row.names}`" for row in common if row.names != "--help"]
    if named:
        lines += [f"As everywhere: {', '.join(named)}.", ""]
    for _, commands in page.sections:
        lines += ["| Command | |", "|---|---|", *map(_row, commands), ""]
    if page.exit_codes and not page.sections:
        lines += [f"Exit codes: {page.exit_codes}", ""]
    return "\n".join(lines)


def _row(row: Row) -> str:
    return f"| `{_cell(row.names)}` | {_cell(f'{row.meaning} {row.more}'.strip())} |"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _anchor(title: str) -> str:
    return re.sub(r"[^a-z0-9 -]", "", title.lower()).replace(" ", "-")


if __name__ == "__main__":
    DOCUMENT.write_text(document(), encoding="utf-8")
    print(DOCUMENT)
