"""Where the lifecycle job is: the rows of a bucket that its rules speak of, in order. Pure."""

from __future__ import annotations

from enum import IntEnum

from gateway.meta import keyspace
from gateway.model.lifecycle import Act, Configuration, apart
from gateway.model.names import BucketId

ABORTED, LOCKED, FAILED = "abort", "locked", "failed"  # counted beside acts


class Phase(IntEnum):
    """What of a bucket is being walked."""

    CURRENT = 0
    NONCURRENT = 1
    UPLOADS = 2


_FAMILY = {
    Phase.CURRENT: keyspace.CURRENT,
    Phase.NONCURRENT: keyspace.NONCURRENT,
    Phase.UPLOADS: keyspace.UPLOAD,
}


def _prefixes(configuration: Configuration, phase: Phase) -> list[bytes]:
    if phase is Phase.CURRENT:
        return apart(configuration.current_prefixes())
    if phase is Phase.NONCURRENT:
        return apart(configuration.noncurrent_prefixes())
    return apart(configuration.upload_prefixes())


def next_span(
    configuration: Configuration, bucket: BucketId, phase: Phase, at: bytes
) -> keyspace.Range | None:
    """The next range of rows that rules speak of, from `at` on; None: the phase is done."""
    head = _FAMILY[phase] + bucket
    for prefix in _prefixes(configuration, phase):
        start = head + prefix
        end = keyspace.successor(start)
        if at < end:
            return max(start, at), end
    return None


_WORDS = {
    Act.EXPIRE: "expired",
    Act.REMOVE: "removed",
    Act.MOVE: "moved",
    ABORTED: "uploads aborted",
    LOCKED: "locked",
    FAILED: "failed",
}


def told(acts: dict[str, int]) -> str:
    """One line for people."""
    return ", ".join(f"{acts[act]} {word}" for act, word in _WORDS.items() if acts.get(act))
