"""What is known of a route of the admin port: who may, whether it changes something, what it takes
and answers.

Not the routes themselves (`gateway.admin.routes`), nor what they do. A route that is not in the
table is denied to everybody.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from gateway.model.administrators import Role

# Patterns that stand for many routes, each of which has an entry of its own.
EXPANDED = frozenset({"/v1/access/{noun}/{verb}"})


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteEntry:
    """One route.

    Args:
        method: GET or POST; HEAD is as GET.
        path: as aiohttp writes it, with names of parameters in braces.
        summary: one line for people.
        roles: who may, beside the local root where he may do everything.
        acts: it changes something, or makes a secret: it is recorded before it takes effect.
        answer: TypedDict of the answer's body.
        query, body: names of fields, those that can be left out with a "?" behind; of the query,
            or of a JSON object of texts.
        raw_body: media type of a body that is no JSON object; "" = there is none.
        lines: it answers as JSON lines when asked with `follow=1`.
        local_acts: the local root may also where named administrators do the rest.
        own: it is about nobody but who asks, so everybody may; recorded as an act is.
        covered: an act that was recorded stands for it: it is neither recorded nor bounded itself.
        media: type of the answer.
    """

    method: str
    path: str
    summary: str
    roles: frozenset[Role]
    acts: bool
    answer: type
    query: tuple[str, ...] = ()
    body: tuple[str, ...] = ()
    raw_body: str = ""
    lines: bool = False
    local_acts: bool = False
    own: bool = False
    covered: bool = False
    media: str = "application/json"

    @property
    def is_recorded(self) -> bool:
        """Whether the journal has an event of it before it takes effect."""
        return (self.acts and not self.covered) or self.own

    @property
    def name(self) -> str:
        """As people say it: `POST /v1/jobs/{name}/run`."""
        return f"{self.method} {self.path}"

    def takes(self, field: str) -> bool:
        """Whether the route knows a field of its query or body."""
        known = (*self.query, *self.body)
        return field in known or f"{field}?" in known


def reads(
    path: str, summary: str, roles: Iterable[Role], answer: type, query: str = ""
) -> RouteEntry:
    """A route that only looks: GET."""
    return RouteEntry(
        method="GET",
        path=path,
        summary=summary,
        roles=frozenset(roles),
        acts=False,
        answer=answer,
        query=tuple(query.split()),
    )


def acts(
    path: str,
    summary: str,
    roles: Iterable[Role],
    answer: type,
    query: str = "",
    *,
    body: str = "",
    raw_body: str = "",
    lines: bool = False,
    local_acts: bool = False,
    covered: bool = False,
) -> RouteEntry:
    """A route that changes something: POST."""
    return RouteEntry(
        method="POST",
        path=path,
        summary=summary,
        roles=frozenset(roles),
        acts=True,
        answer=answer,
        query=tuple(query.split()),
        body=tuple(body.split()),
        raw_body=raw_body,
        lines=lines,
        local_acts=local_acts,
        covered=covered,
    )


def asks(
    path: str,
    summary: str,
    roles: Iterable[Role],
    answer: type,
    body: str = "",
    *,
    query: str = "",
    raw_body: str = "",
) -> RouteEntry:
    """A route that changes nothing of the cluster although it is a POST."""
    entry = acts(path, summary, roles, answer, query, body=body, raw_body=raw_body)
    return replace(entry, acts=False)


def owns(path: str, summary: str, roles: Iterable[Role], answer: type, body: str) -> RouteEntry:
    """A route that changes nothing but what is who asks's own: POST."""
    return replace(asks(path, summary, roles, answer, body), own=True)


class RouteTable:
    """Entries by method and path."""

    def __init__(self, entries: Iterable[RouteEntry]) -> None:
        self.entries = tuple(entries)
        self._by_name = {(entry.method, entry.path): entry for entry in self.entries}
        assert len(self._by_name) == len(self.entries), "a route is there twice"

    def find(self, method: str, pattern: str, matched: Mapping[str, str]) -> RouteEntry | None:
        """The entry of a request; None: there is none, so nobody may.

        Args:
            pattern: of the route that aiohttp has found.
            matched: the parameters that it has found in the path.
        """
        path = pattern.format(**matched) if pattern in EXPANDED else pattern
        return self._by_name.get(("GET" if method == "HEAD" else method, path))
