"""The second factor of an administrator, as an account has it.

Not for its codes (`gateway.model.totp`): who only reads accounts loads no cryptography.

Source: docs/administrators.md; RFC 4226 § 4 (160 bits). Requirement: A-02.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from gateway.model.second_factor_errors import SecondFactorInvalid

SECRET_BYTES = 20
DIGITS = 6  # of a code


class SecondFactorRule(StrEnum):
    """Whether an administrator with a name needs a second factor. Who has one needs it always."""

    OPTIONAL = "optional"
    REQUIRED = "required"


def is_code(text: str) -> bool:
    """Whether a text can be a code at all."""
    return len(text) == DIGITS and text.isascii() and text.isdigit()


@dataclass(frozen=True, slots=True, kw_only=True)
class SecondFactor:
    """What an administrator has enrolled."""

    secret: bytes = field(repr=False)
    enrolled_at_ms: int

    def __post_init__(self) -> None:
        if len(self.secret) != SECRET_BYTES:
            raise SecondFactorInvalid(reason="the secret has another length")
