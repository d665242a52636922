"""What happens to epochs of keys by a rotation, as events of a tenant's journal.

Not for acts of administrators (`admin.key-epochs.…`), nor for keys that an erasure destroys
(`erasure.…`). Pure.

    key.active          from here on a bucket's, a named or the tenant's key seals with this epoch
    key.decrypt-only    nothing is left under epochs before it, or nothing that opens
    key.rotated         a rotation has ended: how many rows it has put under the newest epoch

The first two are recorded before they take effect, and a second time where a crash came between;
the third once, after it. There is no event of a row or a page.

Source: docs/journal.md, "What is recorded". Requirement: C9.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from hashlib import sha256

from gateway.journal.events import Event, Phase, Value

ACTIVE, DECRYPT_ONLY, ROTATED = "key.active", "key.decrypt-only", "key.rotated"
TYPES = (ACTIVE, DECRYPT_ONLY, ROTATED)
MARK_BYTES = 16
_ROTATION = "rotation"


def active_event(at_ms: int, kind: str, owner: str, epoch: int, bucket: str) -> Event:
    """An epoch is about to be used. `bucket`: its name, "" of a tenant's key; it is hashed."""
    return Event(at_ms, ACTIVE, Phase.INTENT, {**_whose(kind, owner), "epoch": epoch}, bucket)


def decrypt_only_event(
    at_ms: int, kind: str, owner: str, epochs: Iterable[int], bucket: str
) -> Event:
    """Older epochs are about to open only."""
    body: dict[str, Value] = {**_whose(kind, owner), "epochs": ",".join(map(str, epochs))}
    return Event(at_ms, DECRYPT_ONLY, Phase.INTENT, body, bucket)


def rotated_event(
    at_ms: int, kind: str, owner: str, report: Mapping[str, int | str], bucket: str
) -> Event:
    """A rotation has ended. `report`: what it has done, with its epoch and when it began."""
    mark = mark_of(kind, owner, int(report["epoch"]), int(report["started_at_ms"]))
    body: dict[str, Value] = {**_whose(kind, owner), **report, "mark": mark}
    return Event(at_ms, ROTATED, Phase.OUTCOME, body, bucket)


def mark_of(kind: str, owner: str, epoch: int, started_at_ms: int) -> str:
    """What tells a rotation from every other one, in its event."""
    text = f"{_ROTATION}/{kind}/{owner}/{epoch}/{started_at_ms}"
    return sha256(text.encode()).digest()[:MARK_BYTES].hex()


def _whose(kind: str, owner: str) -> dict[str, Value]:
    return {"key_of": kind, f"{kind.replace('-', '_')}_id": owner}
