"""Routes about second factors and sessions of administrators: a line each, and what they answer.

Not for what they do (`gateway.admin.second_factor_api`). Part of `gateway.admin.routes`.
"""

from __future__ import annotations

from typing import TypedDict

from gateway.admin.route_table import RouteEntry, acts, owns
from gateway.model.administrators import GIVEN_ROLES

ALL = tuple(sorted(GIVEN_ROLES))


class Invitation(TypedDict):
    """An invitation to enrol a second factor, told once."""

    name: str
    invitation: str
    expires_at_ms: int


class EnrolmentBegun(TypedDict):
    """The secret of a second factor as an authenticator reads it (otpauth), told once."""

    uri: str


class Session(TypedDict):
    """A session: the token, told once, and its end."""

    token: str
    expires_at_ms: int


class SessionEnded(TypedDict):
    """The session is over."""

    ended: bool


SECOND_FACTOR_ROUTES: tuple[RouteEntry, ...] = (
    acts(
        "/v1/administrators/invite",
        "Invite an administrator to enrol a second factor",
        (),
        Invitation,
        body="name",
        local_acts=True,
    ),
    owns("/v1/session", "Begin a session with a second factor", ALL, Session, "code"),
    owns("/v1/session/end", "End the session that is shown", ALL, SessionEnded, ""),
    owns(
        "/v1/second-factor/begin",
        "Get the secret of a second factor, once, for an invitation",
        ALL,
        EnrolmentBegun,
        "invitation",
    ),
    owns(
        "/v1/second-factor/confirm",
        "Have a second factor take effect, with its first code",
        ALL,
        Session,
        "code",
    ),
)
