"""What stands before a command about where its gateway is: --admin, --cert, --key, --ca.

Not for what else says it, nor for using it: `gateway.cli.profile`.
"""

from __future__ import annotations

from typing import NamedTuple


class GivenPlace(NamedTuple):
    """As it was typed; "" = it was not."""

    url: str = ""
    certificate: str = ""
    key: str = ""
    authority: str = ""


class _Held:
    place = GivenPlace()


def give(place: GivenPlace) -> None:
    """Keep it for the command that follows."""
    _Held.place = place


def given() -> GivenPlace:
    """What was given for this command."""
    return _Held.place
