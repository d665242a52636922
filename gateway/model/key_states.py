"""States of a key's epochs: what a key may still be used for, and what it may become.

PENDING → ACTIVE → DECRYPT_ONLY → DISABLED → DESTROYED, forward only, but that a disabled key may be
enabled again, to what it was. Any key may be disabled, only a disabled one destroyed; one that was
made and never used may be DECRYPT_ONLY at once. A rotation makes an epoch that is ACTIVE from then
on. The one before stays ACTIVE as well, retiring, while something is still under it, for rows are
written under the epoch that they have; DECRYPT_ONLY says that nothing was left. Pure.

Source: docs/data-layout.md, "Epochs of keys".
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

FIRST_EPOCH = 1


class KeyState(StrEnum):
    """What an epoch of a key may be used for."""

    PENDING = "PENDING"  # made, not yet used: its copy may not be kept
    ACTIVE = "ACTIVE"  # wraps and unwraps
    DECRYPT_ONLY = "DECRYPT_ONLY"  # nothing was left under it
    DISABLED = "DISABLED"  # refuses everything, until it is enabled again
    DESTROYED = "DESTROYED"  # the key is gone, its number stays taken


REFUSING = frozenset({KeyState.DISABLED, KeyState.DESTROYED})

_RANK = {
    KeyState.PENDING: 0,
    KeyState.ACTIVE: 1,
    KeyState.DECRYPT_ONLY: 2,
    KeyState.DISABLED: 2,
    KeyState.DESTROYED: 3,
}


_AHEAD = {
    KeyState.PENDING: {KeyState.ACTIVE, KeyState.DECRYPT_ONLY, KeyState.DISABLED},
    KeyState.ACTIVE: {KeyState.DECRYPT_ONLY, KeyState.DISABLED},
    KeyState.DECRYPT_ONLY: {KeyState.DISABLED},
    KeyState.DISABLED: {KeyState.DESTROYED},
    KeyState.DESTROYED: set[KeyState](),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyEpoch:
    """One epoch of a key.

    Args:
        before: what it was when it was disabled; of no meaning in another state.
        created_at_ms, changed_at_ms: 0 = not known: from before dates were kept.
    """

    epoch: int
    state: KeyState = KeyState.ACTIVE
    before: KeyState = KeyState.ACTIVE
    created_at_ms: int = 0
    changed_at_ms: int = 0


def may_become(about: KeyEpoch, state: KeyState) -> bool:
    """Whether a change is a legal one."""
    is_enabled_again = about.state is KeyState.DISABLED and state is about.before
    return state in _AHEAD[about.state] or is_enabled_again


def become(about: KeyEpoch, state: KeyState, now_ms: int) -> KeyEpoch:
    """An epoch in another state; later than what it was, whatever the clock says."""
    changed_at_ms = max(now_ms, about.changed_at_ms + 1)
    return replace(about, state=state, before=about.state, changed_at_ms=changed_at_ms)


def is_later(one: KeyEpoch, other: KeyEpoch) -> bool:
    """Whether, of two accounts of one epoch, `one` tells of a later time. The way to DISABLED is
    the only one that is gone back: there the dates say which is later.
    """
    ranks = _RANK[one.state], _RANK[other.state]
    is_either_way = KeyState.DISABLED in (one.state, other.state) and KeyState.DESTROYED not in (
        one.state,
        other.state,
    )
    if ranks[0] != ranks[1] and not is_either_way:
        return ranks[0] > ranks[1]
    return one.state is not other.state and one.changed_at_ms > other.changed_at_ms
