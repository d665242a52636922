"""Erasures: what is erased, and the steps from the request to the certificate.

Pure. Each step ends in a state that is written before the next one begins, and each can be done
again: a process that dies goes on where it was.

Source: docs/erasure.md.
"""

from __future__ import annotations

from enum import StrEnum


class ErasureKind(StrEnum):
    """What is erased."""

    OBJECT = "object"
    BUCKET = "bucket"
    TENANT = "tenant"


class ErasureStep(StrEnum):
    """Where an erasure is."""

    NOTICE = "notice"  # waits for the end of the notice, and for approvals
    DISABLE = "disable"  # keys refuse everything; can be taken back
    DISABLED = "disabled"  # the last day on which somebody may still miss it
    DELETE = "delete"  # versions of an object
    ROTATE_BUCKET = "rotate-bucket"
    RETIRE_BUCKET = "retire-bucket"  # older epochs of the bucket's key are destroyed
    DESTROY = "destroy"  # all epochs are destroyed
    ROTATE_TENANT = "rotate-tenant"
    RETIRE_TENANT = "retire-tenant"
    PURGE = "purge"  # rows, and with them the space
    FORGET = "forget"  # users, access keys, policies, limits, metering of a tenant
    SETTLE = "settle"  # older groups of the log, which hold copies of keys, are freed
    CERTIFY = "certify"
    DONE = "done"
    CANCEL = "cancel"  # what was disabled is enabled again
    CANCELLED = "cancelled"


S = ErasureStep
STEPS: dict[ErasureKind, tuple[ErasureStep, ...]] = {
    ErasureKind.OBJECT: (
        S.NOTICE,
        S.DELETE,
        S.ROTATE_BUCKET,
        S.RETIRE_BUCKET,
        S.ROTATE_TENANT,
        S.RETIRE_TENANT,
        S.SETTLE,
        S.CERTIFY,
        S.DONE,
    ),
    ErasureKind.BUCKET: (
        S.NOTICE,
        S.DISABLE,
        S.DISABLED,
        S.DESTROY,
        S.ROTATE_TENANT,
        S.RETIRE_TENANT,
        S.PURGE,
        S.SETTLE,
        S.CERTIFY,
        S.DONE,
    ),
    ErasureKind.TENANT: (
        S.NOTICE,
        S.DISABLE,
        S.DISABLED,
        S.DESTROY,
        S.PURGE,
        S.FORGET,
        S.SETTLE,
        S.CERTIFY,
        S.DONE,
    ),
}
ENDED = frozenset({S.DONE, S.CANCELLED})
CANCELLABLE = frozenset({S.NOTICE, S.DISABLE, S.DISABLED})

NOTICE_DAYS_MIN = 21  # the law's; no configuration goes below
DISABLED_HOURS_MIN = 24


def next_step(kind: ErasureKind, step: ErasureStep) -> ErasureStep:
    """The step after one of a kind's."""
    steps = STEPS[kind]
    return steps[steps.index(step) + 1]
