"""A journal that is signed, with its keys beside it; derived ones first, as before, or drawn."""

from __future__ import annotations

import hmac
from pathlib import Path

from gateway.journal.notes import VerifierKey
from gateway.journal.opening import journal_keys
from gateway.journal.shelf import JournalKeys, Placed, Shelf
from gateway.journal.signing import KEYS_FILE, SigningKeys
from gateway.journal.verify import Report, verify_folder
from storaged.base.env import RealEnv
from tests.support.journal_rig import event

ENV = RealEnv(threads_max=1)
CLUSTER_ID = b"c" * 16


def derive(label: str, context: str) -> bytes:
    return hmac.digest(b"root", f"{label}/{context}".encode(), "sha256")


FIRST = journal_keys(CLUSTER_ID, derive)


class Rig:
    """A journal with its keys beside it, on one drive."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "journal"
        self.keys = folder / "keys"
        self.keys.mkdir()
        self.signing = SigningKeys(self.keys / KEYS_FILE, self.folder, FIRST, derive, ENV)
        self.shelf = Shelf(self.folder, self.signing.load(), ENV)

    def write(self, log: str, count: int = 3) -> None:
        batch = [Placed(log, event(at)) for at in range(count)]
        assert not self.shelf.write(batch, bytes(16 * count), "")
        self.shelf.sign(())

    def rotate(self) -> None:
        self.shelf.hand_over(self.signing.prepare(), self.signing.hand_over)
        self.signing.forget_former()

    def restart(self) -> JournalKeys:
        self.shelf.close()
        self.shelf = Shelf(self.folder, self.signing.load(), ENV)
        self.shelf.write([], b"", "")  # looks at all logs
        return self.shelf.keys

    def verify(self, keys: list[VerifierKey] | None = None, **more: object) -> Report:
        return verify_folder(self.folder, keys or FIRST.verifiers(), **more)  # type: ignore[arg-type]


class Drawn(Rig):
    """A journal that begins with keys of its own, as `open_journal` makes one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "journal"
        self.keys = folder / "keys"
        self.keys.mkdir(parents=True)
        self.signing = SigningKeys(self.keys / KEYS_FILE, self.folder, FIRST, derive, ENV)
        self.signing.begin()
        self.shelf = Shelf(self.folder, self.signing.load(), ENV)
        self.first = self.shelf.keys.verifiers()
