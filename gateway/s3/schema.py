"""Documents whose shape is all that the syntax layer knows of them: XML to JSON objects and back.

Not for what a document means. A form says which elements may be there, how often, and what their
texts may be; an element that may come more than once becomes a list, one with children an object,
any other its text. Elements are written in the order of the form.

Source: Amazon S3 API Reference, request syntax of the configurations of a bucket.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from gateway.s3 import xml
from gateway.s3.xml_reader import Node, malformed

TEXT_CHARACTERS_MAX = 1024
NUMBER = re.compile(r"[0-9]{1,9}")
BOOLEAN = frozenset({"true", "false"})
TYPE_ATTRIBUTE = "type"  # xsi:type of a grantee


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaf:
    """An element with a text.

    Args:
        values: what it may be; None: anything.
        pattern: what it must match whole.
    """

    values: frozenset[str] | None = None
    pattern: re.Pattern[str] | None = None
    characters_max: int = TEXT_CHARACTERS_MAX
    characters_min: int = 0


class Child(NamedTuple):
    """An element inside another, and how often; more than once at the most: a list."""

    form: Leaf | Group
    least: int = 1
    most: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """An element with children.

    Args:
        children: by name, in the order in which they are written.
        one_of: of these exactly one must be there.
        at_most_one_of: of these at most one may be there.
        type_name: what the attribute xsi:type is called in the document; None: it has none.
    """

    children: Mapping[str, Child]
    one_of: frozenset[str] = frozenset()
    at_most_one_of: frozenset[str] = frozenset()
    type_name: str | None = None


TEXT = Leaf()
ANY_BOOLEAN = Leaf(values=BOOLEAN)
ANY_NUMBER = Leaf(pattern=NUMBER)


def choice(*values: str) -> Leaf:
    """One of these words."""
    return Leaf(values=frozenset(values))


def optional(form: Leaf | Group) -> Child:
    """At most once."""
    return Child(form, 0, 1)


def listed(form: Leaf | Group, *, least: int = 0, most: int = 1000) -> Child:
    """Any number of times."""
    return Child(form, least, most)


def parse(node: Node, form: Group) -> dict[str, Any]:
    """The document of an element. Raises S3Error: MalformedXML."""
    found: dict[str, Any] = {}
    if form.type_name is not None:
        found[form.type_name] = node.attributes.get(TYPE_ATTRIBUTE, "")
    if node.text.strip():
        malformed()
    for child in node.children:
        expected = form.children.get(child.name)
        if expected is None:
            malformed()
        value = _value(child, expected.form)
        if expected.most > 1:
            held = found.setdefault(child.name, [])
            if len(held) >= expected.most:
                malformed()
            held.append(value)
        elif child.name in found:
            malformed()
        else:
            found[child.name] = value
    for name, expected in form.children.items():
        if expected.least and name not in found:
            malformed()
    if form.one_of and len(form.one_of & found.keys()) != 1:
        malformed()
    if len(form.at_most_one_of & found.keys()) > 1:
        malformed()
    return found


def _value(node: Node, form: Leaf | Group) -> Any:
    if isinstance(form, Group):
        return parse(node, form)
    if node.children:
        malformed()
    text = node.text if form.values is None and form.pattern is None else node.text.strip()
    if not form.characters_min <= len(text) <= form.characters_max:
        malformed()
    if form.values is not None and text not in form.values:
        malformed()
    if form.pattern is not None and form.pattern.fullmatch(text) is None:
        malformed()
    return text


def children_of(document: Mapping[str, Any], form: Group) -> list[str]:
    """The elements inside a document's root, as `xml.element` and `xml.group` make them."""
    written: list[str] = []
    for name, child in form.children.items():
        if name not in document:
            continue
        values = document[name] if child.most > 1 else [document[name]]
        written += [_written(name, value, child.form) for value in values]
    return written


def _written(name: str, value: Any, form: Leaf | Group) -> str:
    if isinstance(form, Leaf):
        return xml.element(name, value)
    return xml.group(name, *children_of(value, form))
