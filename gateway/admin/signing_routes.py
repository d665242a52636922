"""Routes of the admin port about keys that sign, a line each; and what they answer.

Not what they do: `gateway.admin.signing_api`.
"""

from __future__ import annotations

from typing import TypedDict

from gateway.admin.route_table import RouteEntry, acts, reads
from gateway.model.administrators import Role


class SigningKey(TypedDict):
    """What signs `attestation` or `journal`; `drawn_at_ms`: 0 where that is not known."""

    signs: str
    drawn: bool
    drawn_at_ms: int
    public_keys: list[str]


class SigningKeys(TypedDict):
    """The keys that sign for the cluster."""

    keys: list[SigningKey]


SIGNING_ROUTES: tuple[RouteEntry, ...] = (
    reads(
        "/v1/signing-keys",
        "What signs for the cluster",
        (Role.CUSTODIAN, Role.AUDITOR),
        SigningKeys,
    ),
    acts(
        "/v1/signing-keys/attestation/rotate",
        "Sign statements about places with another key",
        (Role.CUSTODIAN,),
        SigningKey,
    ),
)
