"""Codes of an authenticator by time (TOTP), and what an authenticator reads to make them.

SHA-1, six digits and 30 seconds are what every authenticator takes: many ignore what else a URI
asks for, and would then show codes that never fit. HMAC does not need the collision resistance that
SHA-1 has lost. Codes are compared in constant time.

Not for sessions, limits and enrolment (`gateway.admin.second_factors`).

Source: RFC 6238. Requirement: A-02.
"""

from __future__ import annotations

import hmac

from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.twofactor.totp import TOTP

from gateway.model.second_factor import DIGITS

STEP_S = 30
WINDOW_STEPS = 1  # a code is taken so many steps before and after its own: clocks differ


def step_at(now_ms: int) -> int:
    """Number of the step that a moment is in."""
    return now_ms // (STEP_S * 1000)


def code_of(secret: bytes, step: int) -> str:
    """The code of a step."""
    return _codes(secret).generate(step * STEP_S).decode()


def matching_step(secret: bytes, code: str, now_ms: int) -> int | None:
    """The step whose code it is, the latest of the window; None: it is none's.

    It takes as long whichever it is.
    """
    codes, said, now = _codes(secret), code.encode(), step_at(now_ms)
    found = None
    for step in range(max(0, now - WINDOW_STEPS), now + WINDOW_STEPS + 1):
        if hmac.compare_digest(codes.generate(step * STEP_S), said):
            found = step
    return found


def provisioning_uri(secret: bytes, account: str, issuer: str) -> str:
    """What an authenticator reads: otpauth://… with the secret in it."""
    return _codes(secret).get_provisioning_uri(account, issuer)


def _codes(secret: bytes) -> TOTP:
    return TOTP(secret, DIGITS, SHA1(), STEP_S)
