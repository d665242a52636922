"""A gettext catalogue (.po) as a value: messages of English to those of another language.

Read as it is kept, so there is nothing to compile and nothing to forget. No plural forms and no
contexts: a message that needs them is written in another way.
"""

from __future__ import annotations

import ast
import re
import string
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

MATCHED_CHARACTERS_MAX = 800  # a longer text is shown as it came: no form costs much time
FIXED_CHARACTERS_MIN = 6  # a form of less would take any text for its own
# Placeholders that hold a message themselves; all others hold names and numbers of somebody's.
NESTED = frozenset(
    {
        "about",
        "in_words",
        "kind",
        "problem",
        "reason",
        "why_not",
        "failure",
        "detail",
        "failed",
        "message",
        "tier_means",
        "production_uses",
        "summary",
        "text",
        "whence",
        "why",
    }
)
SPOKEN_FIELDS = frozenset({"reason", "detail"})  # of an error; all others hold names and numbers
_NEXT_FIELD = re.compile(r", (?=[a-z_]+=)")
_QUOTED = re.compile(r'^(?:(msgid|msgstr)\s+)?(".*")$')


class CatalogueDamaged(ValueError):
    """A line of a catalogue cannot be read."""


@dataclass(frozen=True)
class Catalogue:
    """Translations by their English message. A message may hold {placeholders}."""

    messages: Mapping[str, str] = field(default_factory=dict)

    def of(self, message: str) -> str:
        """The translation of a message, or the message itself."""
        return self.messages.get(message) or message

    def of_filled(self, text: str) -> str:
        """The translation of a text whose placeholders hold values already, as it arrives from the
        gateway; the text itself where no message has its form. Values are left as they are.
        """
        held = self.messages.get(text)
        if held:
            return held
        if len(text) > MATCHED_CHARACTERS_MAX:
            return text
        if told := self._of_error(text):
            return told
        for head, form, translation in self._forms:
            if text.startswith(head) and (found := form.fullmatch(text)):
                values = found.groupdict()
                for name in NESTED & values.keys():
                    values[name] = self.of_filled(values[name])
                return string.Formatter().vformat(translation, (), values)
        return text

    def _of_error(self, text: str) -> str:
        """What an error said of itself, its title and reason translated; "" if it is none."""
        title, opened, rest = text.partition(" (")
        translation = self.messages.get(title)
        if not translation or not opened or not rest.endswith(")") or "=" not in rest:
            return ""
        fields = []
        for field_ in _NEXT_FIELD.split(rest[:-1]):
            name, _, value = field_.partition("=")
            fields.append(f"{name}={self.of_filled(value) if name in SPOKEN_FIELDS else value}")
        return f"{translation} ({', '.join(fields)})"

    @cached_property
    def _forms(self) -> list[tuple[str, re.Pattern[str], str]]:
        """Messages with placeholders, those with most fixed text first: (start, form, to say)."""
        forms = []
        for message, translation in self.messages.items():
            if not translation or "{" not in message:
                continue
            try:
                pieces = list(string.Formatter().parse(message))
            except ValueError:
                continue  # a brace that is none of ours: said as it is, never filled
            fixed = sum(len(literal) for literal, *_ in pieces)
            if fixed >= FIXED_CHARACTERS_MIN:
                forms.append((-fixed, pieces[0][0], _form(pieces), plain(translation)))
        forms.sort(key=lambda one: one[0])
        return [(head, form, translation) for _, head, form, translation in forms]


def _form(pieces: list[tuple[str, str | None, str | None, str | None]]) -> re.Pattern[str]:
    written, seen = [], set()
    for literal, name, _, _ in pieces:
        written.append(re.escape(literal))
        if name is None:
            continue
        written.append(f"(?P={name})" if name in seen else f"(?P<{name}>.*?)")
        seen.add(name)
    return re.compile("".join(written), re.DOTALL)


def plain(message: str) -> str:
    """A message whose placeholders have no format: what they get is text."""
    written = []
    for literal, name, _, _ in string.Formatter().parse(message):
        written.append(literal.replace("{", "{{").replace("}", "}}"))
        if name is not None:
            written.append(f"{{{name}}}")
    return "".join(written)


def placeholders(message: str) -> dict[str, str]:
    """Names of a message's placeholders, each with its format. Raises: ValueError."""
    found = string.Formatter().parse(message)
    return {name: spec or "" for _, name, spec, _ in found if name is not None}


def read_catalogue(text: str) -> Catalogue:
    """A catalogue from a .po file. Raises: CatalogueDamaged."""
    messages: dict[str, str] = {}
    entry = {"msgid": "", "msgstr": ""}
    current = ""
    for number, line in enumerate((*text.splitlines(), 'msgid ""'), 1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        found = _QUOTED.match(line)
        if found is None:
            raise CatalogueDamaged(f"line {number}: {line[:60]}")
        keyword, quoted = found.groups()
        if keyword == "msgid":
            if entry["msgid"]:
                messages[entry["msgid"]] = entry["msgstr"]
            entry = {"msgid": "", "msgstr": ""}
        current = keyword or current
        if not current:
            raise CatalogueDamaged(f"line {number}: text of nothing")
        entry[current] += _unquoted(quoted, number)
    return Catalogue(messages)


def _unquoted(quoted: str, number: int) -> str:
    try:
        return str(ast.literal_eval(quoted))
    except (ValueError, SyntaxError) as error:
        raise CatalogueDamaged(f"line {number}: {quoted[:60]}") from error
