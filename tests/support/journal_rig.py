"""A journal in a folder, for tests: fixed keys, a clock that stands, events of two tenants."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from gateway.journal.chain import encode_keys
from gateway.journal.events import CLUSTER, Event, NameHasher, Phase
from gateway.journal.notes import ED25519, MLDSA65, SignerKey, VerifierKey
from gateway.journal.shelf import JournalKeys, Placed, Shelf
from gateway.journal.verify import (
    KEYS,
    MANIFEST,
    Report,
    encode_manifest,
    verify_folder,
)
from storaged.base.env import RealEnv

PREFIX = "hexagone/" + "c" * 32
TENANT, OTHER = "a" * 32, "b" * 32
SIGNERS = (SignerKey(ED25519, b"1" * 32), SignerKey(MLDSA65, b"2" * 32))
NAMES = NameHasher(b"n" * 32)


def names_key(log: str) -> bytes:
    return (log.encode() * 32)[:32]


def keys_with(signers: Sequence[SignerKey] = SIGNERS) -> JournalKeys:
    return JournalKeys(PREFIX, signers, names_key)


def public(signers: Sequence[SignerKey] = SIGNERS) -> list[VerifierKey]:
    return keys_with(signers).verifiers()


def event(number: int = 0, kind: str = "s3.PutBucketPolicy", **body: str | int) -> Event:
    at_ms = 1_790_000_000_000 + number
    return Event(at_ms, kind, Phase.INTENT, {"who": "HXTEST", **body}, "bucket", f"key-{number}")


def filled(
    folder: Path, counts: dict[str, int], signers: Sequence[SignerKey] = SIGNERS, *, seed: int = 7
) -> None:
    """A signed journal with so many events of each log; what `seed` says is what differs."""
    env = RealEnv(threads_max=1)
    shelf = Shelf(folder, keys_with(signers), env)
    for log, count in counts.items():
        batch = [Placed(log, event(at, seed=seed)) for at in range(count)]
        salts = b"".join((seed * 1000 + at).to_bytes(16, "big") for at in range(count))
        assert not shelf.write(batch, salts, "")
        shelf.sign(())
    shelf.close()
    env.close()


def as_export(folder: Path, signers: Sequence[SignerKey] = SIGNERS) -> None:
    """Make an export of a journal's folder, in its place."""
    (folder / "lock").unlink()
    sizes = {}
    for log in (folder / "logs").iterdir():
        (log / "hashes").unlink()
        lines = b"".join(path.read_bytes() for path in log.glob("events/*"))
        sizes[log.name] = lines.count(b"\n")
    (folder / KEYS).write_bytes(encode_keys(public(signers)))
    (folder / MANIFEST).write_bytes(encode_manifest(PREFIX, sizes))


def findings(folder: Path, signers: Sequence[SignerKey] = SIGNERS, **options: object) -> Report:
    return verify_folder(folder, public(signers), **options)  # type: ignore[arg-type]


__all__ = ["CLUSTER", "NAMES", "OTHER", "PREFIX", "SIGNERS", "TENANT"]
