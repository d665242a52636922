"""Why a second factor is asked for, or not taken. The command reads these without loading any
cryptography.

Requirement: A-02.
"""

from __future__ import annotations

from storaged.base.errors import Kind, StorageError


class SecondFactorInvalid(StorageError):
    """That is no second factor."""

    kind = Kind.INVALID


class SecondFactorNeeded(StorageError):
    """A second factor is needed."""

    kind = Kind.DENIED
    hint = "begin a session with a code of your authenticator: any `hexagone` command asks for it"


class SecondFactorMissing(StorageError):
    """This administrator has no second factor yet, and can only enrol one."""

    kind = Kind.DENIED
    hint = (
        "on the gateway's machine: `hexagone admin second-factor invite NAME`; then, as that "
        "administrator: `hexagone admin second-factor enrol`"
    )


class SecondFactorThere(StorageError):
    """There is a second factor already."""

    kind = Kind.CONFLICT
    hint = "on the gateway's machine: `hexagone admin second-factor reset NAME` takes it away"


class NoSecondFactorHere(StorageError):
    """The socket has no second factor: it is for administrators with a name."""

    kind = Kind.INVALID
    hint = "hexagone --admin URL --cert FILE --key FILE --ca FILE …"


class InvitationNotTaken(StorageError):
    """The invitation is not taken: another one, over, or used."""

    kind = Kind.DENIED
    hint = "on the gateway's machine: `hexagone admin second-factor invite NAME` makes another"


class EnrolmentNotBegun(StorageError):
    """No enrolment is under way."""

    kind = Kind.CONFLICT
    hint = "begin anew: `hexagone admin second-factor enrol`"


class CodeNotTaken(StorageError):
    """The code is not taken: wrong, of another time, or used before."""

    kind = Kind.DENIED
    hint = "wait for the next code; is the clock of the authenticator right?"


class CodesTooEarly(StorageError):
    """The gateway has just started: codes that may have been used before are not taken."""

    kind = Kind.UNAVAILABLE
    hint = "wait as many seconds, and take the code that is shown then"


class SecondFactorLocked(StorageError):
    """Too many wrong codes: none is taken for a while."""

    kind = Kind.DENIED
    status = 429
    hint = (
        "wait until then; if it was not you, somebody has your certificate and its key: "
        "`hexagone admin distrust NAME`, on the gateway's machine"
    )
