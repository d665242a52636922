"""requirements.lock read, and which of its packages Hexagone runs with.

Not for installing: pip does, and compares the hashes itself.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import distribution
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]
LOCK = ROOT / "requirements.lock"
_PIN = re.compile(r"([A-Za-z0-9._-]+)==(\S+)")
_HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Locked:
    """One package as requirements.lock pins it; `hashes` are SHA-256 of the files it may be."""

    name: str
    version: str
    hashes: tuple[str, ...]

    def pinned(self) -> str:
        """Its lines of the lock."""
        return " \\\n".join(
            [f"{self.name}=={self.version}", *(f"    --hash=sha256:{one}" for one in self.hashes)]
        )


class NotPinned(Exception):
    """A line of the lock that is neither a version nor a hash."""


def normal(name: str) -> str:
    """A package's name as indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def read_lock(text: str) -> dict[str, Locked]:
    """Packages by name. Raises NotPinned: a version that is open, or a package without a hash."""
    found = {}
    for entry in text.replace("\\\n", " ").splitlines():
        if not entry.strip() or entry.lstrip().startswith("#"):
            continue
        pin, hashes = _PIN.match(entry), tuple(_HASH.findall(entry))
        rest = _HASH.sub("", _PIN.sub("", entry, count=1)).strip()
        if pin is None or not hashes or rest:
            raise NotPinned(entry[:80])
        name = normal(pin[1])
        found[name] = Locked(name=name, version=pin[2], hashes=hashes)
    return found


def declared() -> list[str]:
    """What pyproject.toml says that Hexagone runs with."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return list(project["dependencies"])


def needed_by(name: str, extras: Iterable[str] = ()) -> set[tuple[str, frozenset[str]]]:
    """Packages, with their extras, that an installed package wants on this machine."""
    found = set()
    for text in distribution(name).requires or ():
        one = Requirement(text)
        environments = [{"extra": extra} for extra in ("", *extras)]
        if one.marker is None or any(map(one.marker.evaluate, environments)):
            found.add((normal(one.name), frozenset(one.extras)))
    return found


def closure(requirements: Iterable[str]) -> dict[str, set[str]]:
    """Package → those it needs, for all that requirements lead to."""
    parsed = [Requirement(text) for text in requirements]
    todo = {(normal(one.name), frozenset(one.extras)) for one in parsed}
    seen: set[tuple[str, frozenset[str]]] = set()
    found: dict[str, set[str]] = {}
    while todo:
        one = todo.pop()
        seen.add(one)
        wanted = needed_by(*one)
        found.setdefault(one[0], set()).update(name for name, _ in wanted)
        todo |= wanted - seen
    return found
