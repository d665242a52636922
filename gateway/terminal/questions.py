"""What the command asks before something is lost."""

from __future__ import annotations

import sys

import typer

from gateway.terminal.language import Language, say, spoken

YES = {Language.ENGLISH: ("y", "yes"), Language.FRENCH: ("o", "oui")}
NO = {Language.ENGLISH: ("n", "no"), Language.FRENCH: ("n", "non")}


def confirm(loss: str, *, yes: bool) -> None:
    """Go on if whoever runs the command has been told what is lost, in his language, and wants it.

    Raises: typer.BadParameter: nobody is there to ask, and --yes was not said; typer.Abort.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise typer.BadParameter(say("{loss} Say --yes to mean it.", loss=loss))
    agreed, declined = YES[spoken()], NO[spoken()]
    understood = {*agreed, *YES[Language.ENGLISH]}
    question = say("{loss} Go on?", loss=loss) + f" [{agreed[0]}/{declined[0].upper()}] "
    while True:
        typer.echo(question, nl=False, err=True)
        said = sys.stdin.readline().strip().lower()
        if said in understood:
            return
        if said in ("", *declined):
            raise typer.Abort
