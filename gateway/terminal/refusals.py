"""How the command ends when it cannot do what it is asked: one line that says why, one that says
what to do next, and an exit code.
"""

from __future__ import annotations

import errno
import sys
from collections.abc import Mapping
from typing import Any, NoReturn

import typer

from gateway.terminal.catalogue import SPOKEN_FIELDS
from gateway.terminal.help import has_colour
from gateway.terminal.language import heard, say
from gateway.terminal.user_files import FileUnusable, reason_of
from storaged.base.errors import StorageError

WRONG_COMMAND = 2
INTERNAL = "Value error, "  # what typer leaves of pydantic's own words
_RED, _PLAIN = "\x1b[31m", "\x1b[0m"

# What typer says, with its placeholders: for the catalogue.
TYPER_SAYS = (
    "No such command '{name}'.",
    "No such command '{name}'. Did you mean {names}?",
    "No such option: {name}",
    "No such option: {name} (Possible options: {names})",
    "Missing command.",
    "Missing argument '{name}'.",
    "Missing option '{name}'.",
    "Option '{name}' requires an argument.",
    "Option '{name}' does not take a value.",
    "Got unexpected extra argument ({names})",
    "Got unexpected extra arguments ({names})",
    "'{value}' is not a valid int.",
    "'{value}' is not a valid float.",
    "Value '{value}' is not a valid {kind}.",
    "'{value}' is not one of {names}.",
    "{value} is not in the range {range}.",
    "{kind} '{value}' does not exist.",
    "Input should be greater than or equal to {least}",
    "Input should be less than or equal to {most}",
    "Input should be a valid integer, unable to parse string as an integer",
    "Input should be a valid number, unable to parse string as a number",
    "Input should be {names}",
)


def said_error(title: str, fields: Mapping[str, object]) -> str:
    """What `StorageError.message` says, in the language in use."""
    parts = ", ".join(
        f"{name}={heard(str(value)) if name in SPOKEN_FIELDS else value}"
        for name, value in fields.items()
    )
    return f"{say(title)} ({parts})" if parts else say(title)


def said(error: Exception) -> tuple[str, str]:
    """What an error says and what it advises ("" = nothing), in the language in use."""
    if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
        return heard(str(error)), say(
            "another program listens there: stop it, or choose another port"
            " (--port; else in the configuration)"
        )
    if isinstance(error, OSError) and error.errno:
        reason = heard(reason_of(error))
        return f"{error.filename}: {reason}" if error.filename else reason, ""
    if not isinstance(error, StorageError):
        return heard(str(error)), ""
    return said_error(error.title(), error.fields), heard(error.hint or "")


def stop(error: Exception, code: int = 1) -> NoReturn:
    """Tell what went wrong on standard error and end the command; a file that is not usable makes
    the command a wrong one.
    """
    refuse(*said(error), WRONG_COMMAND if isinstance(error, FileUnusable) else code, error)


def refuse(text: str, advice: str = "", code: int = 1, cause: Exception | None = None) -> NoReturn:
    """End the command with words that are in the language in use already."""
    write_refusal(text, advice)
    raise typer.Exit(code) from cause


def write_refusal(text: str, advice: str = "") -> None:
    """One line for what is wrong, and one for what to do."""
    line = say("error: {text}", text=printable(text))
    colour = has_colour(sys.stderr)
    typer.echo(f"{_RED}{line}{_PLAIN}" if colour else line, err=True, color=colour)
    if advice:
        typer.echo(say("hint: {text}", text=printable(advice)), err=True)


def printable(text: str) -> str:
    """A text without what a terminal would take for a command."""
    return "".join(c if c.isprintable() or c == "\n" else ascii(c)[1:-1] for c in text)


def said_usage(error: Any) -> str:
    """What typer says about a command that is wrong, in the language in use."""
    hint = getattr(error, "param_hint", None)
    if isinstance(error, typer.BadParameter) and error.message:
        if hint is None and error.param is not None:
            hint = error.param.get_error_hint()
        if hint and not isinstance(hint, str):
            hint = " / ".join(hint)
        text = heard(error.message.removeprefix(INTERNAL))
        return f"{hint}: {text}" if hint else text
    return heard(error.format_message())
