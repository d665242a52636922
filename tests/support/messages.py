"""Every text that the `hexagone` command shows to people, found in the source; and the catalogues
against it.

    python -m tests.support.messages             what is missing in French
    python -m tests.support.messages --update    adds what is missing, with nothing in it

Found are: the tree of commands (help, options, examples are not translated), classes of errors and
their hints, whatever `say` is called with, titles and columns of tables, reasons of errors, what is
raised as BadParameter, and prose in modules whose words are shown (`tests.support.spoken`).
"""

from __future__ import annotations

import ast
import importlib
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import typer

from gateway.main import OFFERED, app
from gateway.terminal.catalogue import Catalogue, placeholders
from gateway.terminal.commands import tree
from gateway.terminal.help import EXIT_CODES, told
from gateway.terminal.language import Language, catalogue_of, use
from gateway.terminal.refusals import TYPER_SAYS
from gateway.terminal.words import WORDS
from storaged.base.errors import StorageError
from tests.support.spoken import (
    ANSWERED,
    DIAGNOSTIC,
    PRINTING,
    PRINTING_MODULES,
    SILENT,
    SPOKEN_CALLS,
    SPOKEN_KEYS,
    SPOKEN_KEYWORDS,
    SPOKEN_MODULES,
    SPOKEN_NAMES,
    TABLES,
)

ROOT = Path(__file__).resolve().parents[2]
CATALOGUE = ROOT / "gateway" / "terminal" / "fr.po"

_PROSE = re.compile(r"[a-z]{2,}[,:;]? (?:.*\b)?[a-z]{2,}")
_LETTERS = re.compile(r"[A-Za-z]{2}")
_NAME = re.compile(r"^[a-z][a-z_]*$")


def wanted() -> dict[str, str]:
    """Every message, with a place where it is said."""
    use(Language.ENGLISH)
    found: dict[str, str] = {}
    for message, place in (
        *_of_commands(),
        *_of_errors(),
        *((message, "typer") for message in TYPER_SAYS),
        *((word, "gateway/terminal/words.py") for word in WORDS),
        *_of_source(),
    ):
        if _LETTERS.search(re.sub(r"\{[^}]*\}", "", message)):
            found.setdefault(message, place)
    return found


def _of_commands() -> Iterator[tuple[str, str]]:
    for one in OFFERED:
        yield one.help, "gateway/main.py"
        yield one.section, "gateway/main.py"
    yield EXIT_CODES, "gateway/terminal/help.py"
    yield "Commands", "gateway/terminal/help.py"
    for path, command, context in tree(typer.main.get_command(app)):  # type: ignore[arg-type]
        parts = told(command.help or "")
        for message in (*parts.paragraphs, parts.exit_codes):
            yield message, path
        for param in command.get_params(context):
            yield getattr(param, "help", "") or "", path


def error_classes() -> set[type[StorageError]]:
    """Errors that the command may show: all but those of the syntax of S3."""
    for path in _sources():
        if "StorageError" in path.read_text(encoding="utf-8") and path.name != "__main__.py":
            importlib.import_module(".".join(path.relative_to(ROOT).with_suffix("").parts))
    found: set[type[StorageError]] = {StorageError}
    queue: list[type[StorageError]] = [StorageError]
    while queue:
        for subclass in queue.pop().__subclasses__():
            module = subclass.__module__.replace(".", "/")
            if subclass.__name__ in ANSWERED or (
                module.startswith(("gateway/", "storaged/")) and not module.startswith(SILENT)
            ):
                found.add(subclass)
            queue.append(subclass)
    return found


def _of_errors() -> Iterator[tuple[str, str]]:
    for error in sorted(error_classes(), key=lambda one: (one.__module__, one.__qualname__)):
        yield error.title(), error.__module__
        if isinstance(error.hint, str):
            yield error.hint, error.__module__


def _sources() -> list[Path]:
    found = [*ROOT.glob("gateway/**/*.py"), *ROOT.glob("storaged/**/*.py")]
    return sorted(path for path in found if not _name(path).startswith(SILENT))


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def _of_source() -> Iterator[tuple[str, str]]:
    for path in _sources():
        name = _name(path)
        module = ast.parse(path.read_text(encoding="utf-8"))
        for message, line in _Finder(module, name).found():
            yield message, f"{name}:{line}"


class _Finder:
    """Messages of one module."""

    def __init__(self, module: ast.Module, name: str) -> None:
        self._module = module
        self._whole = name.startswith(SPOKEN_MODULES) or bool(PRINTING_MODULES.search(name))
        silent = {"reason"} if name.startswith(DIAGNOSTIC) else set[str]()
        self._keywords = SPOKEN_KEYWORDS - silent
        self._keys = SPOKEN_KEYS - silent
        self._constants = {
            target.id: node.value
            for node in ast.walk(module)
            if isinstance(node, ast.Assign)
            for target in node.targets
            if isinstance(target, ast.Name)
        }
        self._skipped = {id(one) for one in _not_said(module)}

    def found(self) -> Iterator[tuple[str, int]]:
        for node in ast.walk(self._module):
            if id(node) in self._skipped:
                continue
            for expression in self._said(node):
                for message in self._messages(expression):
                    yield message, getattr(expression, "lineno", 0)

    def _said(self, node: ast.AST) -> Iterator[ast.expr]:
        match node:
            case ast.Call():
                name = _called(node)
                if name in SPOKEN_CALLS and node.args:
                    yield node.args[0]
                if name in TABLES:
                    yield from node.args
                for keyword in node.keywords:
                    if keyword.arg in self._keywords:
                        yield keyword.value
            case ast.Dict():
                for key, value in zip(node.keys, node.values, strict=True):
                    if isinstance(key, ast.Constant) and key.value in self._keys:
                        yield value
            case ast.Assign() if any(_is_spoken(target) for target in node.targets):
                yield node.value
            case ast.Constant() | ast.JoinedStr() if self._whole:
                message = _message(node)
                if message and _PROSE.search(message):
                    yield node

    def _messages(self, node: ast.expr) -> Iterator[str]:
        """Messages that an expression may be; tables' columns, one each."""
        match node:
            case ast.Constant() | ast.JoinedStr():
                message = _message(node)
                if message:
                    yield message.replace("_", " ") if _NAME.match(message) else message
            case ast.IfExp():
                yield from self._messages(node.body)
                yield from self._messages(node.orelse)
            case ast.BoolOp():
                for value in node.values:
                    yield from self._messages(value)
            case ast.Tuple() | ast.List():
                for element in node.elts:
                    yield from self._messages(element)
            case ast.Starred():
                yield from self._messages(node.value)
            case ast.Name() if node.id in self._constants:
                value = self._constants[node.id]
                if isinstance(value, ast.Constant | ast.JoinedStr | ast.Tuple):
                    yield from self._messages(value)
            case ast.Dict():
                for value in node.values:
                    yield from self._messages(value)


def _is_spoken(target: ast.expr) -> bool:
    if isinstance(target, ast.Tuple):
        return any(_is_spoken(one) for one in target.elts)
    return isinstance(target, ast.Name) and (
        target.id in SPOKEN_NAMES or target.id.endswith("_COLUMNS")
    )


def _called(node: ast.Call) -> str:
    function = node.func
    if isinstance(function, ast.Attribute):
        return function.attr
    return function.id if isinstance(function, ast.Name) else ""


def _message(node: ast.expr) -> str | None:
    """The text of a literal; of an f-string, with its values as placeholders."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else None
    if not isinstance(node, ast.JoinedStr):
        return None
    written, taken = [], dict[str, str]()
    for piece in node.values:
        if isinstance(piece, ast.Constant):
            written.append(str(piece.value).replace("{", "{{").replace("}", "}}"))
        elif isinstance(piece, ast.FormattedValue):
            written.append(f"{{{_placeholder(piece.value, taken)}}}")
    return "".join(written)


def _placeholder(value: ast.expr, taken: dict[str, str]) -> str:
    """A name for a value of an f-string, one for each expression."""
    source = ast.unparse(value)
    match value:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            pass
        case ast.Subscript(slice=ast.Constant(value=str(name))):
            pass
        case ast.Subscript(value=ast.Name(id=name)):
            pass
        case ast.BoolOp(values=[ast.Name(id=name) | ast.Attribute(attr=name), *_]):
            pass
        case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name)):
            pass
        case _:
            name = "value"
    name = name.strip("_").lower()
    while taken.get(name, source) != source:
        name += "2"
    taken[name] = source
    return name


def _not_said(module: ast.Module) -> Iterator[ast.AST]:
    """Docstrings, what goes to logs, annotations, and pieces of f-strings."""
    for node in ast.walk(module):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            yield node.value
        elif (
            isinstance(node, ast.Call) and ast.unparse(node.func).startswith("logger.")
        ) or isinstance(node, ast.Assert):
            yield from ast.walk(node)
        elif isinstance(node, ast.JoinedStr):
            yield from (piece for piece in node.values if isinstance(piece, ast.Constant))
        elif isinstance(node, ast.AnnAssign):
            yield from ast.walk(node.annotation)


def unsaid() -> list[str]:
    """Literal text that the command prints without `say`, so that no catalogue can have it."""
    found = []
    for path in _sources():
        if not PRINTING_MODULES.search(_name(path)):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call) or _called(node) not in PRINTING or not node.args:
                continue
            message = _message(node.args[0])
            if message and _LETTERS.search(re.sub(r"\{[^}]*\}|s3://", "", message)):
                found.append(f"{_name(path)}:{node.lineno}: {message!r}")
    return found


def problems(messages: Mapping[str, str], catalogue: Catalogue) -> list[str]:
    """What is wrong with a catalogue: missing, empty, other placeholders. What nobody says any more
    is none of it; `update` takes it out.
    """
    found = []
    for message, place in messages.items():
        translation = catalogue.messages.get(message)
        if not translation:
            found.append(f"no translation: {message!r} ({place})")
        elif _values(translation) != _values(message):
            found.append(f"other placeholders: {message!r}: {translation!r}")
        elif message[:1].isspace() != translation[:1].isspace():
            found.append(f"another start: {message!r}: {translation!r}")
    return found


def _values(message: str) -> dict[str, str]:
    try:
        return placeholders(message)
    except ValueError:
        return {}


def entry(message: str, translation: str, place: str) -> str:
    """One entry of a .po file."""
    return f"#: {place}\nmsgid {_quoted(message)}\nmsgstr {_quoted(translation)}\n"


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def update(path: Path = CATALOGUE) -> int:
    """Write the catalogue again in the order of the source; returns how many have no translation.

    What nobody says any more is left out.
    """
    messages, held = wanted(), catalogue_of(Language.FRENCH).messages
    head = path.read_text(encoding="utf-8").partition("\n\n")[0]
    entries = [
        entry(message, held.get(message, ""), re.sub(r":\d+$", "", place))
        for message, place in sorted(messages.items(), key=lambda one: (one[1], one[0]))
    ]
    path.write_text("\n".join((head + "\n", *entries)), encoding="utf-8")
    return sum(1 for message in messages if not held.get(message))


if __name__ == "__main__":
    if "--update" in sys.argv[1:]:
        print(f"{update()} without a translation, in {CATALOGUE}")
    for problem in (*problems(wanted(), catalogue_of(Language.FRENCH)), *unsaid()):
        print(problem)
