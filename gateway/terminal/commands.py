"""The tree of commands: each is imported when it is asked for, and speaks the reader's language.

`Offered` says what there is without importing it, so that `hexagone --help` and completion cost
nothing. A module is asked for its commands by `add_commands(app)`; several may add to one group.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module, metadata
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from gateway.terminal.help import context_of, summary, write_help
from gateway.terminal.language import Language, language_of, say, use
from gateway.terminal.refusals import WRONG_COMMAND, said, said_usage, write_refusal
from gateway.terminal.remote import GivenPlace, give
from gateway.terminal.user_files import FileUnusable
from storaged.base.errors import StorageError

COMPLETE_VARIABLE = "_HEXAGONE_COMPLETE"
INTERRUPTED = 130


@dataclass(frozen=True, slots=True, kw_only=True)
class Offered:
    """A command or group of the first level.

    Args:
        name: as it is typed.
        help: the first paragraph of its help.
        modules: those that add to it, each with an `add_commands`.
        section: where `hexagone --help` lists it.
    """

    name: str
    help: str
    modules: tuple[str, ...]
    section: str


class Commands(TyperGroup):
    """The `hexagone` command. `offered` is set by a subclass."""

    offered: tuple[Offered, ...] = ()

    def list_commands(self, ctx: Any) -> list[str]:
        """Names, in the order they are offered in."""
        names = [one.name for one in self.offered]
        return names + [name for name in self.commands if name not in names]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """A command, imported at need and in the language in use; None if there is none."""
        found = next((one for one in self.offered if one.name == cmd_name), None)
        command = self.commands.get(cmd_name) if found is None else _loaded(found)
        if command is not None:
            speak(command)
        return command

    def listed_command(self, name: str) -> Any:
        """Only what a list of commands needs: nothing is imported."""
        found = next((one for one in self.offered if one.name == name), None)
        if found is None:
            return self.commands.get(name)
        listed = typer.core.TyperCommand(name, help=found.help)
        listed.rich_help_panel = found.section
        return listed

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """As typer's, whose suggestions look at commands that are loaded only."""
        for one in self.offered:
            self.commands.setdefault(one.name, self.listed_command(one.name))
        return super().resolve_command(ctx, args)

    def shell_complete(self, ctx: Any, incomplete: str) -> Any:
        """Names that begin so, without importing what they do."""
        from typer._click.shell_completion import CompletionItem  # typer has no public name for it

        if incomplete.startswith("-"):
            return super().shell_complete(ctx, incomplete)
        items = [(name, self.listed_command(name)) for name in self.list_commands(ctx)]
        return [
            CompletionItem(name, help=say(command.help or ""))
            for name, command in items
            if name.startswith(incomplete) and not command.hidden
        ]

    def main(  # type: ignore[override]
        self, args: Sequence[str] | None = None, **options: Any
    ) -> Any:
        """Run, in the language of whoever asks; ends the process as typer's own does."""
        words = list(sys.argv[1:] if args is None else args)
        use(language_of(os.environ, words))
        speak(self)
        if COMPLETE_VARIABLE in os.environ:
            from typer._completion_classes import completion_init  # only a shell asks for it

            completion_init()
        if not options.pop("standalone_mode", True):
            return super().main(args=words, standalone_mode=False, **options)
        sys.exit(self._ended(words, options))

    def _ended(self, words: list[str], options: dict[str, Any]) -> int:
        """The exit code of a run."""
        try:
            code = super().main(args=words, standalone_mode=False, **options)
        except typer.Abort:
            write_refusal(say("stopped, nothing was done"))
            return 1
        except StorageError as error:
            write_refusal(*said(error))
            return WRONG_COMMAND if isinstance(error, FileUnusable) else 1
        except typer._click.ClickException as error:
            return _told(error)
        return code if isinstance(code, int) else 0


def _told(error: Any) -> int:
    if type(error).__name__ == "NoArgsIsHelpError":
        typer.echo(error.format_message())
        return 2
    context = getattr(error, "ctx", None)
    advice = ""
    if context is not None:
        advice = say("`{command} --help` says how it is used", command=context.command_path)
    write_refusal(said_usage(error), advice)
    return int(error.exit_code)


def _loaded(offered: Offered) -> Any:
    app = typer.Typer(rich_markup_mode=None, add_completion=False)
    for module in offered.modules:
        import_module(module).add_commands(app)
    return typer.main.get_group(app).commands[offered.name]


def speak(command: Any) -> None:
    """Have a command and all below it write their help with `gateway.terminal.help`, and tell
    shells their summaries, in the language in use.
    """
    command.format_help = partial(write_help, command)
    command.short_help = summary(command.help or "")
    for below in getattr(command, "commands", {}).values():
        speak(below)


def tree(root: Commands) -> list[tuple[str, Any, Any]]:
    """Every command, with its path and a context; groups before what is in them."""
    found: list[tuple[str, Any, Any]] = []

    def walk(command: Any, context: Any) -> None:
        found.append((context.command_path, command, context))
        if not isinstance(command, TyperGroup):
            return
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            if below is not None and not below.hidden:
                walk(below, context_of(below, name, context))

    walk(root, context_of(root, "hexagone"))
    return found


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"hexagone {metadata.version('hexagone')}")
        raise typer.Exit


LangOption = Annotated[
    Language | None,
    typer.Option("--lang", help="language of messages; else that of LANGUAGE, LC_ALL or LANG"),
]
VersionOption = Annotated[
    bool,
    typer.Option("--version", callback=_print_version, is_eager=True, help="print the version"),
]


AdminOption = Annotated[
    str, typer.Option("--admin", metavar="URL", help="https://HOST:PORT of an admin listener")
]
CertOption = Annotated[
    str, typer.Option("--cert", metavar="FILE", help="your certificate, of the admin CA")
]
KeyOption = Annotated[str, typer.Option("--key", metavar="FILE", help="its private key")]
CaOption = Annotated[str, typer.Option("--ca", metavar="FILE", help="certificate of the admin CA")]


def root_options(
    lang: LangOption = None,
    version: VersionOption = False,
    admin: AdminOption = "",
    cert: CertOption = "",
    key: KeyOption = "",
    ca: CaOption = "",
) -> None:
    """What stands before the name of a command; `Commands.main` has looked at --lang already."""
    give(GivenPlace(admin, cert, key, ca))
