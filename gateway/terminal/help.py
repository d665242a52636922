"""The help of a command as a value, and as text: what it does, examples, options, exit codes.

A docstring is written so: what the command does, in paragraphs; `Example:` or `Examples:` and one
command a line or paragraph; `Exit codes:` where they are not the usual ones. Examples are commands
and are not translated.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, TextIO

import typer

from gateway.terminal.language import Language, say, spoken

WIDTH_MAX = 100
FIRST_COLUMN_MAX = 30
EXIT_CODES = "0 done; 1 refused or failed; 2 no gateway answers, or the command is wrong"
_EXAMPLES = re.compile(r"(?:^|(?<=\s))Examples?:\s+")
_CODES = re.compile(r"(?:^|(?<=\n))Exit codes:\s+")
_BOLD, _PLAIN = "\x1b[1m", "\x1b[0m"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """An argument, option or command: its names, what it is, and limits or default of it."""

    names: str
    meaning: str
    more: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """All that is said about one command."""

    usage: str
    paragraphs: tuple[str, ...]
    examples: tuple[str, ...]
    exit_codes: str
    arguments: tuple[Row, ...]
    options: tuple[Row, ...]
    sections: tuple[tuple[str, tuple[Row, ...]], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What a docstring says, each paragraph on one line."""

    paragraphs: tuple[str, ...]
    examples: tuple[str, ...]
    exit_codes: str


def told(text: str) -> Told:
    """The parts of a docstring."""
    before, codes = _cut(text, _CODES)
    before, examples = _cut(before, _EXAMPLES)
    paragraphs = tuple(" ".join(one.split()) for one in re.split(r"\n\s*\n", before))
    return Told(
        paragraphs=tuple(one for one in paragraphs if one),
        examples=_commands(examples),
        exit_codes=" ".join(codes.split()),
    )


def _cut(text: str, at: re.Pattern[str]) -> tuple[str, str]:
    found = at.search(text)
    return (text, "") if found is None else (text[: found.start()], text[found.end() :])


def _commands(text: str) -> tuple[str, ...]:
    """One command for each paragraph, or line that begins with the command's name."""
    found: list[str] = []
    begins = True
    for line in (*text.splitlines(), ""):
        words = " ".join(line.split())
        begins = begins or (words.startswith("hexagone ") and not found[-1].endswith("|"))
        if words and begins:
            found.append(words)
        elif words:
            found[-1] += " " + words
        begins = not words
    return tuple(found)


def translated(parts: Told) -> Told:
    """In the language in use."""
    return Told(
        paragraphs=tuple(map(say, parts.paragraphs)),
        examples=parts.examples,
        exit_codes=say(parts.exit_codes) if parts.exit_codes else "",
    )


def summary(text: str) -> str:
    """The first sentence of a docstring, translated with its paragraph."""
    first = next(iter(told(text).paragraphs), "")
    return first_sentence(say(first))


def first_sentence(paragraph: str) -> str:
    """Up to the first full stop that ends a sentence."""
    found = re.search(r"(?<![.\d])[.](?=\s+[A-ZÀ-Ý`]|$)", paragraph)
    return paragraph if found is None else paragraph[: found.start()]


def page_of(command: Any, ctx: Any) -> Page:
    """The page of a command of typer's, in the language in use."""
    parts = translated(told(command.help or ""))
    arguments: list[Row] = []
    options: list[Row] = []
    for param in command.get_params(ctx):
        if getattr(param, "hidden", False):
            continue
        (arguments if param.param_type_name == "argument" else options).append(_row(param, ctx))
    is_group = hasattr(command, "list_commands")
    usual = "" if is_group else say(EXIT_CODES)
    return Page(
        usage=" ".join((ctx.command_path, *command.collect_usage_pieces(ctx))),
        paragraphs=parts.paragraphs,
        examples=parts.examples,
        exit_codes=parts.exit_codes or usual,
        arguments=tuple(arguments),
        options=tuple(options),
        sections=_sections(command, ctx) if is_group else (),
    )


def _sections(group: Any, ctx: Any) -> tuple[tuple[str, tuple[Row, ...]], ...]:
    """Commands of a group, under the titles of their panels."""
    found: dict[str, list[Row]] = {}
    for name in group.list_commands(ctx):
        command = group.listed_command(name) if hasattr(group, "listed_command") else None
        command = command or group.get_command(ctx, name)
        if command is None or command.hidden:
            continue
        title = getattr(command, "rich_help_panel", None) or "Commands"
        title = title if isinstance(title, str) else "Commands"
        found.setdefault(title, []).append(Row(names=name, meaning=summary(command.help or "")))
    return tuple((say(title), tuple(rows)) for title, rows in found.items())


def _row(param: Any, ctx: Any) -> Row:
    meaning = say(param.help) if getattr(param, "help", None) else ""
    if param.param_type_name == "argument":
        return Row(names=param.display_name_raw, meaning=meaning, more=_more(param))
    names = ", ".join((*param.opts, *param.secondary_opts))
    if not param.is_flag and not param.count:
        kind = param.metavar or param.display_type(ctx)
        names += f" {kind}"
    return Row(names=names, meaning=meaning, more=_more(param))


def _more(param: Any) -> str:
    found = []
    if getattr(param, "show_envvar", False) and param.envvar:
        found.append(say("environment: {name}", name=param.envvar))
    default = param.default
    if isinstance(default, Enum):
        default = default.value
    if not callable(default) and default not in (None, "", False, ()) and default != []:
        found.append(say("default: {value}", value=default))
    least, most = getattr(param, "min", None), getattr(param, "max", None)
    if least is not None and most is not None:
        found.append(say("{least} to {most}", least=least, most=most))
    elif least is not None:
        found.append(say("at least {least}", least=least))
    if param.required and param.param_type_name == "option":
        found.append(say("required"))
    return f"[{', '.join(found)}]" if found else ""


def rendered(page: Page, *, width: int, bold: bool) -> str:
    """A page for a terminal of so many columns."""

    def title(text: str) -> str:
        return f"{_BOLD}{text}{_PLAIN}" if bold else text

    usage = say("Usage:")
    lines = [*_wrapped(f"{usage} {page.usage}", width, then=" " * 4), ""]
    lines[0] = lines[0].replace(usage, title(usage), 1)
    for paragraph in page.paragraphs:
        lines += [*_wrapped(paragraph, width), ""]
    if page.examples:
        lines.append(title(say("Examples:") if len(page.examples) > 1 else say("Example:")))
        lines += [f"  {one}" for one in page.examples]  # whole, to be copied
        lines.append("")
    rows = ((say("Arguments"), page.arguments), (say("Options"), page.options), *page.sections)
    for name, held in rows:
        if held:
            lines += [title(_headed(name)), *_columns(held, width), ""]
    if page.exit_codes:
        lines += [*_wrapped(f"{say('Exit codes:')} {page.exit_codes}", width)]
    return "\n".join(lines).rstrip() + "\n"


def _headed(title: str) -> str:
    return f"{title} :" if spoken() is Language.FRENCH else f"{title}:"


def _columns(rows: Sequence[Row], width: int) -> list[str]:
    first = min(max(len(row.names) for row in rows), FIRST_COLUMN_MAX)
    lines = []
    for row in rows:
        text = f"{row.meaning} {row.more}".strip()
        wrapped = _wrapped(text, max(width - first - 4, 20)) or [""]
        head = f"  {row.names:<{first}}"
        if len(row.names) > first:
            lines.append(head)
            head = " " * (first + 2)
        lines.append(f"{head}  {wrapped[0]}".rstrip())
        lines += [" " * (first + 4) + line for line in wrapped[1:]]
    return lines


def _wrapped(text: str, width: int, then: str = "") -> list[str]:
    return textwrap.wrap(
        text, width, subsequent_indent=then, break_long_words=False, break_on_hyphens=False
    )


def has_colour(stream: TextIO) -> bool:
    """Whether a stream is a terminal whose reader wants more than plain text."""
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return False
    return stream.isatty()


def write_help(command: Any, ctx: Any, formatter: Any) -> None:
    """In place of typer's own: `Command.format_help`."""
    width = min(shutil.get_terminal_size().columns, WIDTH_MAX)
    formatter.write(rendered(page_of(command, ctx), width=width, bold=has_colour(sys.stdout)))


def context_of(command: Any, path: str, parent: Any = None) -> Any:
    """A context in which a command can be described and not run."""
    return typer.Context(command, info_name=path, parent=parent, resilient_parsing=True)
