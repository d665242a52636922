"""The one bounded XML reader: bytes of a client to a tree of elements.

Not for what a document means: each family of operations reads its own out of the tree. No document
type, no entity but XML's own, UTF-8 only.

Source: XML 1.0; Amazon S3 API Reference, request syntax.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NoReturn
from xml.parsers import expat

from gateway.s3.errors import S3Error

NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"
DEPTH_MAX = 32
ELEMENTS_MAX = 80_000  # 10,000 parts with a checksum each are 40,000
AT_ONCE_ELEMENTS_MAX = 20_000  # read without a step: some 60 ms in which nobody else is served
STEP_BYTES = 16 * 1024  # of a document between two steps; four of them are an element

_NAMESPACES = frozenset({NAMESPACE, "http://doc.s3.amazonaws.com/2006-03-01"})


@dataclass(slots=True)
class Node:
    """An element as read: local name, its attributes by local name, its text, its children."""

    name: str
    attributes: dict[str, str]
    text: str = ""
    children: list[Node] = field(default_factory=list)

    def child(self, name: str) -> Node | None:
        """The child of a name. Raises S3Error: MalformedXML when there are several."""
        found = [child for child in self.children if child.name == name]
        if len(found) > 1:
            malformed()
        return found[0] if found else None


def malformed(*_: object) -> NoReturn:
    """Refuse the document. Raises S3Error: MalformedXML."""
    raise S3Error("MalformedXML")


class _Reader:
    """expat's callbacks, counting what they build."""

    def __init__(self, elements_max: int = ELEMENTS_MAX) -> None:
        self._elements_max = elements_max
        self._open = [Node("", {})]
        self._element_count = 0

        self._parser = parser = expat.ParserCreate("utf-8", "}")
        parser.buffer_text = True
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._characters
        parser.XmlDeclHandler = self._declaration
        # Nothing of a document type is ever read: neither entities nor defaults nor addresses.
        parser.StartDoctypeDeclHandler = malformed

    def read(self, body: bytes) -> Node:
        self.feed(body)
        return self.finish()

    def feed(self, piece: bytes) -> None:
        """Read on."""
        self._parse(piece, False)

    def finish(self) -> Node:
        """The root, once everything has been fed."""
        self._parse(b"", True)
        return self._open[0].children[0]

    def _parse(self, piece: bytes, is_last: bool) -> None:
        try:
            self._parser.Parse(piece, is_last)
        except expat.ExpatError:
            malformed()

    def _declaration(self, version: str, encoding: str | None, standalone: int) -> None:
        if encoding is not None and encoding.lower() != "utf-8":
            malformed()

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        self._element_count += 1
        if len(self._open) > DEPTH_MAX or self._element_count > self._elements_max:
            malformed()
        namespace, _, local = name.rpartition("}")
        if namespace and namespace not in _NAMESPACES:
            malformed()
        held = {name.rpartition("}")[2]: text for name, text in attributes.items()}
        node = Node(local, held)
        self._open[-1].children.append(node)
        self._open.append(node)

    def _end(self, name: str) -> None:
        node = self._open.pop()
        if node.children and node.text.strip():
            malformed()

    def _characters(self, text: str) -> None:
        self._open[-1].text += text


def read(body: bytes, root: str, bytes_max: int, elements_max: int = AT_ONCE_ELEMENTS_MAX) -> Node:
    """The root element, which must have that name.

    Raises:
        S3Error: MalformedXML, MaxMessageLengthExceeded.
    """
    *_, node = read_steps(body, root, bytes_max, elements_max)
    assert node is not None, "the last step gives the root"
    return node


def read_steps(
    body: bytes, root: str, bytes_max: int, elements_max: int = ELEMENTS_MAX
) -> Iterator[Node | None]:
    """As read, in steps of a few milliseconds, between which the caller lets others run.

    Yields: None after each step, at last the root element.
    """
    if len(body) > bytes_max:
        raise S3Error("MaxMessageLengthExceeded")
    # expat follows a byte order mark whatever it is told; no UTF-16 or -32 is without one or a NUL.
    if b"\x00" in body or body.startswith((b"\xff\xfe", b"\xfe\xff")):
        malformed()
    reader = _Reader(elements_max)
    for start in range(0, len(body), STEP_BYTES):
        reader.feed(body[start : start + STEP_BYTES])
        yield None
    node = reader.finish()
    if node.name != root:
        malformed()
    yield node


def fields(node: Node, names: frozenset[str]) -> dict[str, str]:
    """Text by name of an element whose children are leaves, each at most once."""
    found: dict[str, str] = {}
    for child in node.children:
        if child.name not in names or child.name in found or child.children:
            malformed()
        found[child.name] = child.text
    return found
