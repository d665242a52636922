"""The language that the command speaks, and how its modules say something in it.

English is what the source holds. `say` is for whoever prints; `heard` for what arrives whole, from
the gateway or out of an error. JSON, codes of S3, names of keys and fields, and lines of logs are
English always: they go through neither.

The language is that of the process: one command, one reader.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from importlib.resources import files

from gateway.terminal.catalogue import Catalogue, read_catalogue

VARIABLES = ("LANGUAGE", "LC_ALL", "LC_MESSAGES", "LANG")  # in the order of gettext
OPTION = "--lang"


class Language(StrEnum):
    """Languages there are."""

    ENGLISH = "en"
    FRENCH = "fr"


_ENGLISH = Catalogue()


class _Spoken:
    """What `use` has chosen."""

    def __init__(self) -> None:
        self.language = Language.ENGLISH
        self.catalogue = _ENGLISH


_spoken = _Spoken()


def language_of(environment: Mapping[str, str], arguments: Sequence[str] = ()) -> Language:
    """The language that is asked for: by --lang before the name of a command, else by the
    environment. English where none is, or one that there is not.
    """
    asked = _asked(arguments)
    if asked:
        return asked
    said = next((environment[name] for name in VARIABLES if environment.get(name)), "")
    for one in said.split(":"):
        short = one.partition(".")[0].partition("_")[0].lower()
        if short in tuple(Language):
            return Language(short)
        if short in ("c", "posix"):
            break
    return Language.ENGLISH


def _asked(arguments: Sequence[str]) -> Language | None:
    for at, argument in enumerate(arguments):
        name, equals, value = argument.partition("=")
        if name == OPTION:
            value = value if equals else next(iter(arguments[at + 1 : at + 2]), "")
            return Language(value) if value in tuple(Language) else None
        if not argument.startswith("-"):
            return None
    return None


def use(language: Language) -> None:
    """Speak this language from here on."""
    if language is _spoken.language:
        return
    _spoken.catalogue = _ENGLISH if language is Language.ENGLISH else catalogue_of(language)
    _spoken.language = language


def spoken() -> Language:
    """The language in use."""
    return _spoken.language


def catalogue_of(language: Language) -> Catalogue:
    """The catalogue of a language, from the package's files."""
    found = files("gateway.terminal").joinpath(f"{language}.po")
    return read_catalogue(found.read_text(encoding="utf-8"))


def say(message: str, /, **values: object) -> str:
    """A message in the language in use, its {placeholders} filled."""
    said = _spoken.catalogue.of(message)
    return said.format(**values) if values else said


def heard(text: str) -> str:
    """A whole text that somebody else has made, in the language in use where it is known."""
    return _spoken.catalogue.of_filled(text)
