"""The logs of a journal on one drive: opened when they are wanted, written, anchored and signed.

Not for queues or tasks. Everything here blocks; one call at a time. A log that is not what was
signed takes no more events until the process starts again; the others go on.
"""

from __future__ import annotations

import fcntl
import logging
import os
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from gateway.journal.chain import ANNOUNCED, Chain, announcement, keys_digest
from gateway.journal.events import CLUSTER, LOG_NAME, SALT_BYTES, Event, NameHasher, Phase, Value
from gateway.journal.notes import SignerKey, VerifierKey
from gateway.journal.store import JournalUnavailable, LogStore
from storaged.base.env import Env
from storaged.base.errors import StorageError

logger = logging.getLogger(__name__)

LOGS, LOCK = "logs", "lock"
ANCHOR = "journal.anchor"
OPEN_LOGS_MAX = 128  # two files each
NAMES_MAX = 100_000
SETTLED_AT_ONCE = 16  # logs looked at in a batch, after a start


class LogDamaged(JournalUnavailable):
    """A log of the journal is not what was signed."""

    hint = "`hexagone journal verify` says where; keep a copy before anything else"


class Signed(NamedTuple):
    """Checkpoints that were taken together: notes by name of the log; events that anchor them."""

    notes: dict[str, bytes]
    anchors: dict[str, int]


class Placed(NamedTuple):
    """An event and the log it belongs to."""

    log: str
    event: Event


class JournalKeys(NamedTuple):
    """What a journal signs and hashes with.

    Args:
        prefix: of the origins of its logs, without a slash at its end.
        signers: every checkpoint has a signature of each.
        names_key: name of a log → 32-byte key for names in it.
        held: the public keys of the signers, and those that they have followed; None: they were
            always the same.
        trouble: why nothing can be signed, "" where it can.
    """

    prefix: str
    signers: Sequence[SignerKey]
    names_key: Callable[[str], bytes]
    held: Chain | None = None
    trouble: str = ""

    def origin(self, log: str) -> str:
        return f"{self.prefix}/{log}"

    def verifiers(self) -> list[VerifierKey]:
        """The public keys, under the name of the cluster's log."""
        return [signer.verifier(self.origin(CLUSTER)) for signer in self.signers]

    @property
    def chain(self) -> Chain:
        """All public keys that have signed, the present ones last."""
        return self.held or Chain(tuple(self.verifiers()))


class Shelf:
    """See the module."""

    def __init__(self, folder: Path, keys: JournalKeys, env: Env) -> None:
        self.dirty: set[str] = set()  # logs with events that no checkpoint has
        self._folder = folder
        self._keys = keys
        self._env = env
        self._stores: OrderedDict[str, LogStore] = OrderedDict()
        self.damaged: dict[str, LogDamaged] = {}  # logs that take nothing until a start
        self._names: dict[str, NameHasher] = {}
        self._unsettled: list[str] = []
        self._lock_fd = -1

    @property
    def keys(self) -> JournalKeys:
        """What is signed with."""
        return self._keys

    @property
    def is_settled(self) -> bool:
        """Whether all logs of before the start have been looked at."""
        return not self._unsettled

    def names_of(self, log: str) -> NameHasher:
        """The hasher of names in a log."""
        held = self._names.get(log)
        if held is None:
            if len(self._names) >= NAMES_MAX:
                self._names.clear()
            held = self._names[log] = NameHasher(self._keys.names_key(log))
        return held

    def logs(self) -> list[str]:
        """Names of the logs there are, the cluster's first."""
        folder = self._folder / LOGS
        found = [path.name for path in folder.iterdir()] if folder.is_dir() else []
        known = (name for name in found if LOG_NAME.fullmatch(name))
        return sorted(known, key=lambda name: (name != CLUSTER, name))

    def write(
        self, batch: Sequence[Placed], salts: bytes, failure: str
    ) -> dict[str, JournalUnavailable]:
        """Put events into their logs; those of a log that is in the answer are not in it.

        Args:
            failure: why the last call failed; without events it is seen whether that is over.
        """
        by_log: dict[str, list[int]] = {}
        for at, placed in enumerate(batch):
            by_log.setdefault(placed.log, []).append(at)
        failures = {}
        for log, places in by_log.items():
            chosen = b"".join(salts[SALT_BYTES * at : SALT_BYTES * (at + 1)] for at in places)
            try:
                self.store(log).append([batch[at].event for at in places], chosen)
                self.dirty.add(log)
            except JournalUnavailable as error:
                failures[log] = error
        if failure and not batch:
            try:
                self._append_own(CLUSTER, "journal.resumed", {"after": failure})
            except JournalUnavailable as error:
                failures[CLUSTER] = error
        if not failures:
            self._settle()
        return failures

    def sign(self, wanted: Sequence[str], again: Sequence[str] = ()) -> Signed:
        """Anchor and sign the logs that have changed, the cluster's last.

        Args:
            wanted: logs whose checkpoints are answered.
            again: logs that are anchored also when they have not changed.

        Raises: JournalUnavailable.
        """
        while wanted and self._unsettled:
            self._settle()
        anchors = {}
        cluster = self.store(CLUSTER)
        for name in sorted((self.dirty | set(again)) - {CLUSTER}):
            try:
                store = self.store(name)
            except LogDamaged as error:
                self.dirty.discard(name)
                logger.error("%s", error)
                continue
            anchors[name] = cluster.size
            root = store.root().hex()
            body: dict[str, Value] = {"origin": store.origin, "size": store.size, "root": root}
            self._append_own(CLUSTER, ANCHOR, body)
            store.sign()
            self.dirty.discard(name)
        self.store(CLUSTER).sign()
        self.dirty.discard(CLUSTER)
        return Signed({name: self.store(name).signed_note() for name in wanted}, anchors)

    def hand_over(self, signers: Sequence[SignerKey], keep: Callable[[Chain], None]) -> JournalKeys:
        """Sign with other keys from here on, which the present ones announce; all logs are signed
        again at once.

        Args:
            keep: is told the chain that leads to the new keys; when it returns, they are in use.

        Raises: JournalUnavailable, OSError: the present keys sign on.
        """
        self.sign(())
        cluster, former = self.store(CLUSTER), self._keys
        keys = former._replace(signers=tuple(signers))
        number, public = len(former.chain.links) + 2, keys.verifiers()
        body: dict[str, Value] = {"number": number, "keys_sha256": keys_digest(public)}
        self._append_own(CLUSTER, ANNOUNCED, body)
        cluster.sign((announcement(number, public),))
        chain = former.chain.extended(public, cluster.signed_note())
        keep(chain)
        self._keys = keys._replace(held=chain)
        for store in self._stores.values():
            store.signers = self._keys.signers
        self.sign((), self.logs())
        return self._keys

    def store(self, log: str) -> LogStore:
        """The store of a log. Raises: JournalUnavailable; LogDamaged."""
        held = self._stores.get(log)
        if held is not None:
            self._stores.move_to_end(log)
            return held
        if log in self.damaged:
            raise self.damaged[log]
        held = self._open(log)
        while len(self._stores) >= OPEN_LOGS_MAX:
            self._stores.pop(next(name for name in self._stores if name != CLUSTER)).close()
        self._stores[log] = held
        if held.size > held.signed_size:
            self.dirty.add(log)
        if held.put_aside_bytes:
            self._append_own(log, "journal.tail", {"bytes": held.put_aside_bytes})
            held.put_aside_bytes = 0
        return held

    def close(self) -> None:
        """Release the files. Idempotent."""
        for store in self._stores.values():
            store.close()
        self._stores.clear()
        if self._lock_fd >= 0:
            os.close(self._lock_fd)
            self._lock_fd = -1

    def _open(self, log: str) -> LogStore:
        assert LOG_NAME.fullmatch(log), log
        origin, names = self._keys.origin(log), self.names_of(log)
        try:
            self._claim()
            former = self._keys.chain.generations[:-1]
            return LogStore(self._folder / LOGS / log, origin, self._keys.signers, names, former)
        except OSError as error:
            raise JournalUnavailable(log=log, reason=error.strerror) from error
        except JournalUnavailable:
            raise
        except StorageError as error:
            self.damaged[log] = LogDamaged(log=log, reason=error.message())
            raise self.damaged[log] from error

    def _claim(self) -> None:
        """Be the only process that writes here. Raises: JournalUnavailable, OSError."""
        if self._lock_fd >= 0:
            return
        if self._keys.trouble:
            raise JournalUnavailable(reason=self._keys.trouble)
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        fd = os.open(self._folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(fd)
            raise JournalUnavailable(reason="another process writes this journal") from error
        self._lock_fd = fd
        self._unsettled = self.logs()

    def _settle(self) -> None:
        """Open logs of before the start: what a crash kept from being signed is signed soon."""
        for _ in range(min(SETTLED_AT_ONCE, len(self._unsettled))):
            try:
                self.store(self._unsettled.pop())
            except JournalUnavailable as error:
                logger.error("%s", error)

    def _append_own(self, log: str, kind: str, body: dict[str, Value]) -> None:
        event = Event(self._env.now_ms(), kind, Phase.NOTE, body)
        self.store(log).append([event], self._env.random_bytes(SALT_BYTES))
        self.dirty.add(log)
