"""How often keys of a token have wrapped: durably, and never less than it was.

AES-GCM under random nonces bounds what one key may seal. The record counts ahead of what is done,
so neither a crash nor a restart forgets a wrap: what was counted ahead is taken for done. A key
whose record was lost comes back with the count of its copy, which is older: BEHIND_MAX is added to
that, and a copy that has fallen behind by half of it is not whole any more, so another one is made.

Source: NIST SP 800-38D § 8.3; docs/hsm.md. Requirement: K-02.
"""

from __future__ import annotations

from dataclasses import replace

from gateway.data.keyring_form import KeyId
from gateway.keyd.pkcs11_port import WrapLimitReached
from gateway.keyd.pkcs11_record import HeldInToken, Record
from gateway.keyd.pkcs11_record_file import RecordFile

WRAPS_MAX = 1 << 20  # a thousandth of what SP 800-38D allows random nonces of 96 bits
RESERVED_MIN, RESERVED_MAX = 16, 4096  # wraps that the record counts ahead
BEHIND_MAX = 1 << 14  # wraps that a copy need not know of

assert RESERVED_MAX * 2 <= BEHIND_MAX < WRAPS_MAX


class WrapCounts:
    """Counts of one record. Not for several threads at once."""

    def __init__(self, file: RecordFile) -> None:
        self._file = file
        self._done: dict[KeyId, int] = {}
        self._begun_at: dict[KeyId, int] = {}

    def use(self, key: KeyId) -> None:
        """Count a wrap, durably. Raises: WrapLimitReached, and as the record."""
        held = self._file.record[key]
        done = self._done.get(key, held.wraps)
        if done >= WRAPS_MAX:
            raise WrapLimitReached(tenant=key[0].hex(), epoch=key[2], wraps=done)
        if done >= held.wraps:
            here = done - self._begun_at.get(key, done)
            ahead = min(RESERVED_MAX, max(RESERVED_MIN, here))
            self._file.put(key, replace(held, wraps=min(WRAPS_MAX, done + ahead)))
        self._begun_at.setdefault(key, done)
        self._done[key] = done + 1

    def merged(self, before: Record, merged: Record) -> Record:
        """A record that a copy was merged into, with what the copy cannot have known."""
        found = dict(merged)
        for key, held in merged.items():
            here = before.get(key)
            if here is None or here.key_id != held.key_id:
                found[key] = replace(held, wraps=min(WRAPS_MAX, held.wraps + BEHIND_MAX))
        return found

    def forget_raised(self, before: Record) -> None:
        """A record has taken the place of this one: what it counts more was done elsewhere."""
        for key, held in self._file.record.items():
            if key not in before or held.wraps > before[key].wraps:
                self._done.pop(key, None)
                self._begun_at.pop(key, None)


def is_behind(copied: HeldInToken, held: HeldInToken) -> bool:
    """Whether a copy counts so much less than the record that another one is due."""
    return held.wraps - copied.wraps >= BEHIND_MAX // 2
