"""Patterns of policies: `*` for any text, `?` for any character, `${…}` for what a request says.

Matching takes time in proportion to text and pattern, whatever either holds: a policy is written by
one tenant and paid for by all.

Source: AWS IAM User Guide, "IAM JSON policy elements: Variables and tags", "Resource".
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache

# Stand for literal characters while a text is cut at its wildcards.
_STAR, _MARK, _DOLLAR = "\ue0f1", "\ue0f2", "\ue0f3"
_RESTORED = str.maketrans({_STAR: "*", _MARK: "?", _DOLLAR: "$"})
_HIDDEN = {"*": _STAR, "?": _MARK, "$": _DOLLAR}
_HIDING = str.maketrans(_HIDDEN)
_VARIABLE = re.compile(r"\$\{([^{}]*)\}")
_WILD = re.compile(r"[*?]")

FILLED_CACHED_MAX = 4096  # patterns that requests have filled in; most do so with the same values
FILLED_CHARACTERS_MAX = 512  # longer ones are made anew: clients choose what stands in them

VARIABLE_COST = 256  # what stands for it comes with a request, as long as a header may be

Lookup = Callable[[str], tuple[str, ...] | None]
"""The values of a condition key (as `key_name` gives it) in a request; None when it has none."""


def key_name(text: str) -> str:
    """A condition key in lower case, but for what follows a slash: the key of a tag."""
    name, slash, tag = text.partition("/")
    return f"{name.lower()}{slash}{tag}"


class Pattern:
    """A pattern without variables; a text matches as a whole.

    Attributes:
        head: what every text that matches begins with.
        is_fixed: only one text matches.
        is_prefix: whatever begins with the head matches.
    """

    __slots__ = ("_first", "_last", "_middle", "_tail", "head", "is_fixed", "is_prefix")

    def __init__(self, text: str) -> None:
        first, *rest = text.split("*")
        self.is_fixed = not rest and "?" not in first
        self.head = first.partition("?")[0].translate(_RESTORED)
        last = rest[-1] if rest else first
        # Told first, because most texts fail it.
        self._tail = last.rpartition("?")[2].translate(_RESTORED)
        self.is_prefix = rest == [""] and "?" not in first
        self._first = _Piece(first)
        self._last = _Piece(last) if rest else None
        self._middle = [_Piece(piece) for piece in rest[:-1] if piece]

    def matches(self, text: str) -> bool:
        """Whether the text is what the pattern says."""
        if self.is_fixed:
            return text == self.head
        if not text.startswith(self.head):
            return False
        return self.is_prefix or (text.endswith(self._tail) and self._fits(text))

    def _fits(self, text: str) -> bool:
        last = self._last
        if last is None:
            return len(text) == self._first.length and self._first.is_at(text, 0)
        at, end = self._first.length, len(text) - last.length
        if at > end or not self._first.is_at(text, 0) or not last.is_at(text, end):
            return False
        for piece in self._middle:
            # The earliest place leaves the most room for the pieces behind it.
            found = piece.find(text, at, end)
            if found < 0:
                return False
            at = found + piece.length
        return True


class _Piece:
    """What is between two stars: a text of fixed length."""

    __slots__ = ("_regex", "_text", "length")

    def __init__(self, piece: str) -> None:
        self.length = len(piece)
        self._text = piece.translate(_RESTORED)
        self._regex: re.Pattern[str] | None = None
        if "?" in piece:
            literals = [re.escape(part.translate(_RESTORED)) for part in piece.split("?")]
            self._regex = re.compile(".".join(literals), re.DOTALL)

    def is_at(self, text: str, at: int) -> bool:
        if self._regex is None:
            return text.startswith(self._text, at)
        return self._regex.match(text, at) is not None

    def find(self, text: str, at: int, end: int) -> int:
        if self._regex is None:
            return text.find(self._text, at, end)
        found = self._regex.search(text, at, end)
        return -1 if found is None else found.start()


class Template:
    """A pattern whose variables each request fills in.

    Attributes:
        head: what every text that matches begins with, whatever the request says.
    """

    __slots__ = ("_tail", "_variables", "head", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self._variables: list[tuple[str, str, str | None]] = []  # text before, key, default
        at = 0
        for found in _VARIABLE.finditer(text):
            name, comma, default = found[1].partition(",")
            plain = default.strip().removeprefix("'").removesuffix("'") if comma else None
            self._variables.append((text[at : found.start()], key_name(name.strip()), plain))
            at = found.end()
        self._tail = text[at:]
        first = self._variables[0][0] if self._variables else text
        self.head = _WILD.split(first, maxsplit=1)[0].translate(_RESTORED)

    def filled(self, lookup: Lookup) -> Pattern | None:
        """The pattern of one request; None when it says nothing of a variable."""
        text = ""
        for before, name, default in self._variables:
            values = lookup(name)
            if values is not None and len(values) == 1:
                value = values[0]
            elif default is not None:
                value = default
            else:
                return None
            text += before + value.translate(_HIDING)
        text += self._tail
        return _pattern_of(text) if len(text) <= FILLED_CHARACTERS_MAX else Pattern(text)


@lru_cache(maxsize=FILLED_CACHED_MAX)
def _pattern_of(text: str) -> Pattern:
    return Pattern(text)


def compiled(text: str, *, with_variables: bool) -> Pattern | Template:
    """A pattern as written; variables have a meaning in policies of 2012-10-17 only."""
    if not with_variables:
        return Pattern(text.replace("$", _DOLLAR))
    hidden = _VARIABLE.sub(lambda found: _HIDDEN.get(found[1], found[0]), text)
    if _VARIABLE.search(hidden) is None:
        return Pattern(hidden)
    return Template(hidden)


def search_cost(text: str) -> int:
    """What it costs to look for a pattern in a text, for each character of that: characters between
    two stars, where a `?` among them keeps them from being found at once.
    """
    if "?" not in text or ("*" not in text and "${" not in text):
        return 0
    bare = _VARIABLE.sub(lambda found: _HIDDEN.get(found[1], found[0]), text)
    pieces = [piece for piece in bare.split("*") if "?" in piece]
    return sum(VARIABLE_COST if "${" in piece else len(piece) for piece in pieces)


def is_fixed(text: str) -> bool:
    """Whether the text, as written in a policy, stands for itself alone."""
    return "*" not in text and "?" not in text and "${" not in text
