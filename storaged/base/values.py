"""Values that are made for every request: frozen for the type checker, plain at run time.

To make a frozen dataclass goes through `object.__setattr__` field by field and costs twice as much;
a small PUT makes twenty. Not for values that live long or are made seldom: those are frozen.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dataclasses import dataclass as value
else:
    from dataclasses import dataclass

    def value(*, frozen: bool, **options: Any) -> Any:
        """`dataclass(frozen=True, …)`, whose immutability only the type checker sees to."""
        assert frozen
        return dataclass(unsafe_hash=True, **options)


__all__ = ["value"]
