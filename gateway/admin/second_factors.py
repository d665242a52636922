"""The second factor of administrators at the gate: sessions begun with a code, invitations and
enrolments, and the limit of wrong codes.

Secrets are in the rows of accounts, sealed; all else is in this process's memory and is over when
it ends. A code counts once: what a gateway before this one may have taken is not taken, so after a
start codes count from the step on that none of its could have been of. A session belongs to the
certificate that it was begun with, so its token alone is no use to anybody.

Not for the certificate, which was looked at before (`gateway.admin.gate`), nor for computing codes
(`gateway.model.totp`).

Requirements: A-02, A-06.
"""

from __future__ import annotations

import base64
import hmac
from collections import OrderedDict
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from typing import NamedTuple

from gateway.model import second_factor_errors as errors
from gateway.model import totp as codes
from gateway.model.second_factor import SECRET_BYTES, SecondFactor, SecondFactorRule
from gateway.objects.administrators import Administrators
from storaged.base.env import Env

SESSION_HOURS = 8
SESSIONS_MAX = 8  # of one administrator; one more ends the oldest
TOKEN_BYTES = 32
INVITATION_HOURS = 24
ENROLMENT_S = 900  # from the secret to its first code
WRONG_MAX = 5  # wrong codes and invitations in a row that come with one certificate …
LOCKED_S = 900  # … then none is taken for so long, twice as long the next time …
LOCKED_MAX_S = 86_400  # … and a day at most: who has the certificate tries five codes a day


class Who(NamedTuple):
    """An administrator with a name, by a certificate that was taken; `fingerprint` is its."""

    name: str
    fingerprint: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Begun:
    """A session, or an invitation: its token, which is told once, and its end."""

    token: str = field(repr=False)
    expires_at_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Session:
    who: Who
    until_s: float
    enrolled_at_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Invitation:
    digest: bytes = field(repr=False)
    until_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pending:
    who: Who
    secret: bytes = field(repr=False)
    until_s: float


class SecondFactors:
    """What the gate asks about second factors, and what enrols them.

    Args:
        issuer: whose codes they are, as an authenticator shows it.
    """

    def __init__(
        self,
        env: Env,
        administrators: Administrators,
        rule: SecondFactorRule,
        issuer: str = "Hexagone",
    ) -> None:
        self._env = env
        self._administrators = administrators
        self._rule = rule
        self._issuer = issuer
        # Another gateway may have taken a code as far ahead as the window goes.
        self._floor = codes.step_at(env.now_ms()) + codes.WINDOW_STEPS
        self._used: dict[str, int] = {}
        self._wrong: dict[Who, int] = {}  # since the last right one
        self._locked_until_s: dict[Who, float] = {}
        self._sessions: OrderedDict[bytes, _Session] = OrderedDict()
        self._invitations: dict[str, _Invitation] = {}
        self._pending: dict[str, _Pending] = {}

    def check(self, who: Who, token: str, *, is_enrolment: bool, is_session: bool) -> None:
        """Let through who has what is needed.

        Args:
            is_enrolment: the request begins or confirms an enrolment.
            is_session: the request begins a session.

        Raises: SecondFactorNeeded, SecondFactorMissing, SecondFactorLocked, RowCorrupt.
        """
        held = self._administrators.find(who.name).second_factor
        if is_session or is_enrolment:
            self._check_lock(who)
        if held is None:
            is_wanted = self._rule is SecondFactorRule.REQUIRED and not is_enrolment
            if is_session or is_wanted:
                raise errors.SecondFactorMissing(who=who.name)
            return
        if is_session or self._is_open(who, held, token):
            return
        raise errors.SecondFactorNeeded(reason="the session is over" if token else "no session")

    def begin(self, who: Who, code: str) -> Begun:
        """A session, for a code.

        Raises: SecondFactorMissing, CodeNotTaken, CodesTooEarly, SecondFactorLocked.
        """
        held = self._administrators.find(who.name).second_factor
        if held is None:
            raise errors.SecondFactorMissing(who=who.name)
        self._take(who, held.secret, code)
        return self._open(who, held)

    def end(self, who: Who, token: str) -> None:
        """End a session of who asks. Idempotent."""
        held = self._sessions.get(_digest(token))
        if held is not None and held.who == who:
            del self._sessions[_digest(token)]

    def invite(self, name: str) -> Begun:
        """A new invitation to enrol, which is told once; one from before is over.

        Raises: NoSuchAdministrator, SecondFactorThere.
        """
        if self._administrators.find(name).second_factor is not None:
            raise errors.SecondFactorThere(who=name)
        token, life_s = self._random(), INVITATION_HOURS * 3600
        until_s = self._env.monotonic_s() + life_s
        self._invitations[name] = _Invitation(digest=_digest(token), until_s=until_s)
        return Begun(token=token, expires_at_ms=self._env.now_ms() + life_s * 1000)

    def begin_enrolment(self, who: Who, invitation: str) -> str:
        """The URI of a new secret, which is told once, for an invitation. It takes effect with its
        first code: `confirm`.

        Raises: SecondFactorThere, InvitationNotTaken, SecondFactorLocked.
        """
        self._check_lock(who)
        if self._administrators.find(who.name).second_factor is not None:
            raise errors.SecondFactorThere(who=who.name)
        if not self._is_invited(who.name, invitation):
            self._count_wrong(who)
            raise errors.InvitationNotTaken(who=who.name)
        secret = self._env.random_bytes(SECRET_BYTES)
        until_s = self._env.monotonic_s() + ENROLMENT_S
        self._pending[who.name] = _Pending(who=who, secret=secret, until_s=until_s)
        return codes.provisioning_uri(secret, who.name, self._issuer)

    async def confirm(self, who: Who, code: str) -> Begun:
        """Have a secret take effect, for its first code; a session with that. Durable when: this
        returns.

        Raises: EnrolmentNotBegun, CodeNotTaken, CodesTooEarly, SecondFactorLocked,
            SecondFactorThere, OperationAborted.
        """
        pending = self._pending.get(who.name)
        if pending is None or pending.who != who or self._is_past(pending.until_s):
            raise errors.EnrolmentNotBegun(who=who.name)
        self._take(who, pending.secret, code)
        del self._pending[who.name]  # whatever comes of it: the URI is good for one enrolment
        made = SecondFactor(secret=pending.secret, enrolled_at_ms=self._env.now_ms())
        await self._administrators.enrol(who.name, made)
        self._invitations.pop(who.name, None)
        return self._open(who, made)

    async def reset(self, name: str) -> None:
        """Take an administrator's second factor away, with his sessions, and end a lock-out.

        Raises: NoSuchAdministrator, OperationAborted.
        """
        await self._administrators.enrol(name, None)
        self._invitations.pop(name, None)
        self._pending.pop(name, None)
        for who in [one for one in (*self._wrong, *self._locked_until_s) if one.name == name]:
            self._forgive(who)
        for digest in [d for d, held in self._sessions.items() if held.who.name == name]:
            del self._sessions[digest]

    def means(self) -> str:
        """The rule, as it is configured."""
        return self._rule.value

    def warnings(self) -> list[str]:
        """What an operator should know."""
        found, now_s = [], self._env.monotonic_s()
        locked = {who.name for who, until_s in self._locked_until_s.items() if until_s > now_s}
        if names := ", ".join(sorted(locked)):
            found.append(f"too many wrong codes of second factors, none is taken for now: {names}")
        held = self._administrators.all()
        names = ", ".join(one.name for one in held if one.enabled and one.second_factor is None)
        if names and self._rule is SecondFactorRule.OPTIONAL:
            found.append(f"no second factor (admin.second_factor = optional): {names}")
        return found

    def _take(self, who: Who, secret: bytes, code: str) -> None:
        """Take a code, which is then used. No await in here: of two that come at once, one is
        refused. Raises: CodeNotTaken, CodesTooEarly, SecondFactorLocked.
        """
        self._check_lock(who)
        now_ms = self._env.now_ms()
        if codes.step_at(now_ms) <= self._floor:
            wait_ms = (self._floor + 1) * codes.STEP_S * 1000 - now_ms
            raise errors.CodesTooEarly(wait_s=-(-wait_ms // 1000))
        step = codes.matching_step(secret, code, now_ms)
        if step is None or step <= max(self._floor, self._used.get(who.name, 0)):
            self._count_wrong(who)
            raise errors.CodeNotTaken(who=who.name)
        self._used[who.name] = step
        self._forgive(who)

    def _count_wrong(self, who: Who) -> None:
        """One more. By certificate: who has stolen one locks out nobody who has another."""
        count = self._wrong[who] = self._wrong.get(who, 0) + 1
        times, left = divmod(count, WRONG_MAX)
        if not left:
            locked_s = min(LOCKED_S * 2 ** (times - 1), LOCKED_MAX_S)
            self._locked_until_s[who] = self._env.monotonic_s() + locked_s

    def _forgive(self, who: Who) -> None:
        self._wrong.pop(who, None)
        self._locked_until_s.pop(who, None)

    def _check_lock(self, who: Who) -> None:
        left_s = self._locked_until_s.get(who, 0.0) - self._env.monotonic_s()
        if left_s > 0:
            until = datetime.fromtimestamp(int(self._env.now_ms() / 1000 + left_s) + 1, UTC)
            raise errors.SecondFactorLocked(who=who.name, until=until.isoformat())

    def _is_invited(self, name: str, invitation: str) -> bool:
        held = self._invitations.get(name)
        if held is None or self._is_past(held.until_s):
            return False
        return hmac.compare_digest(held.digest, _digest(invitation))

    def _open(self, who: Who, held: SecondFactor) -> Begun:
        token, life_s = self._random(), SESSION_HOURS * 3600
        until_s = self._env.monotonic_s() + life_s
        own = [digest for digest, one in self._sessions.items() if one.who.name == who.name]
        for digest in own[: max(0, len(own) - SESSIONS_MAX + 1)]:
            del self._sessions[digest]
        self._sessions[_digest(token)] = _Session(
            who=who, until_s=until_s, enrolled_at_ms=held.enrolled_at_ms
        )
        return Begun(token=token, expires_at_ms=self._env.now_ms() + life_s * 1000)

    def _is_open(self, who: Who, held: SecondFactor, token: str) -> bool:
        """Whether a token is of a session of this administrator with this certificate. It is found
        by its digest, whose beginning nobody can choose, so the search tells nothing.
        """
        found = self._sessions.get(_digest(token))
        if found is None:
            return False
        if self._is_past(found.until_s):
            del self._sessions[_digest(token)]
            return False
        return found.who == who and found.enrolled_at_ms == held.enrolled_at_ms

    def _is_past(self, until_s: float) -> bool:
        return self._env.monotonic_s() >= until_s

    def _random(self) -> str:
        return base64.urlsafe_b64encode(self._env.random_bytes(TOKEN_BYTES)).decode().rstrip("=")


def _digest(token: str) -> bytes:
    return sha256(token.encode("utf-8", "replace")).digest()
