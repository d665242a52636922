"""Routes of the admin port about keys that move into an HSM, a line each; what they answer, and the
routes themselves.

Not what they do: `gateway.admin.key_move_desk`.
"""

from __future__ import annotations

from typing import NotRequired, TypedDict

from gateway.admin.answer_shapes import Row
from gateway.admin.route_table import RouteEntry, acts, reads
from gateway.model.administrators import Role


class KeysOnTheMove(TypedDict):
    """Tenants that have keys in the file still; and what could not be destroyed."""

    is_moving: bool
    tenants_left: int
    tenants: list[Row]
    refused: NotRequired[list[Row]]


_KEYS = (Role.CUSTODIAN,)

KEY_MOVE_ROUTES: tuple[RouteEntry, ...] = (
    reads(
        "/v1/key-move",
        "Keys that are in the key service's file still",
        (Role.CUSTODIAN, Role.AUDITOR),
        KeysOnTheMove,
    ),
    acts("/v1/key-move/begin", "Have keys go on in the HSM", _KEYS, KeysOnTheMove, "rate?"),
    acts(
        "/v1/key-move/disable",
        "Disable the keys in the file that nothing is under",
        _KEYS,
        KeysOnTheMove,
    ),
    acts(
        "/v1/key-move/destroy",
        "Destroy the keys in the file that are disabled",
        _KEYS,
        KeysOnTheMove,
    ),
)
