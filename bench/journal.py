"""The journal: events a second that stay, µs for a request, a proof among ten million events.

`python -m bench.journal [--events 10000000] [--seconds 5]`. One line of JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
import time
from collections.abc import Callable
from functools import lru_cache, partial
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from gateway.journal import tree
from gateway.journal.events import CLUSTER, Event, NameHasher, Phase, encode_line
from gateway.journal.journal import Accesses, Journal, JournalConfig
from gateway.journal.notes import ED25519, MLDSA65, Checkpoint, SignerKey, sign_checkpoint
from gateway.journal.proofs import dense_proof, encode_proof, open_proof
from gateway.journal.shelf import JournalKeys
from gateway.s3 import journaling
from gateway.s3.responses import Reply
from storaged.base.env import RealEnv

TENANT = "ab" * 16
SIGNERS = (SignerKey(ED25519, b"1" * 32), SignerKey(MLDSA65, b"2" * 32))
KEYS = JournalKeys("hexagone/" + "c" * 32, SIGNERS, lambda log: sha256(log.encode()).digest())
BLOCK_LEVEL = 8  # hashes below are made again when they are asked for


def access(number: int) -> Event:
    body: dict[str, str | int] = {
        "request": "0123456789ABCDEF",
        "who": "HXMGL5ASYRNXUZ3WY2",
        "from": "192.0.2.17",
        "status": 200,
        "in": 0,
        "out": 4096,
    }
    key = f"photos/2026/{number}.jpg"
    return Event(1_790_000_000_000, "s3.GetObject", Phase.ACCESS, body, "bucket", key)


async def sustained(journal: Journal, seconds: float) -> dict[str, float]:
    """Noted events that reach the drive, synced, and the processor time of all threads for each."""
    begun, cpu, count = time.perf_counter(), time.process_time(), 0
    while time.perf_counter() - begun < seconds:
        for _ in range(500):
            journal.note(TENANT, access(count))
            count += 1
        await asyncio.sleep(0)
        while journal.waiting > 20_000:
            await asyncio.sleep(0.002)
    while journal.waiting:
        await asyncio.sleep(0.005)
    lasted = time.perf_counter() - begun
    used = (time.process_time() - cpu) / count * 1e6
    return {"events_per_s": count / lasted, "cpu_us_per_event": used, "lost": journal.lost}


async def acts(journal: Journal, callers: int, seconds: float) -> dict[str, float]:
    """Acts that wait until they are synced, from so many callers at once."""
    begun, waits = time.perf_counter(), []

    async def caller() -> None:
        while time.perf_counter() - begun < seconds:
            asked = time.perf_counter()
            await journal.record(CLUSTER, access(0))
            waits.append(time.perf_counter() - asked)

    await asyncio.gather(*(caller() for _ in range(callers)))
    waits.sort()
    return {
        "acts_per_s": len(waits) / (time.perf_counter() - begun),
        "p50_ms": waits[len(waits) // 2] * 1000,
        "p99_ms": waits[len(waits) * 99 // 100] * 1000,
    }


def per_request(env: RealEnv) -> dict[str, float]:
    """µs that a GET waits for the journal: `before` and `after`, without the writing."""
    opened: Any = SimpleNamespace(bucket=SimpleNamespace(tenant=bytes.fromhex(TENANT)))
    services: Any = SimpleNamespace(buckets=SimpleNamespace(find=lambda name: opened), env=env)
    exchange: Any = SimpleNamespace(
        operation="GetObject",
        bucket="bucket",
        key="photos/2026/1.jpg",
        tenant=b"",
        headers={},
        request_id="0123456789ABCDEF",
        access_key_id="HXMGL5ASYRNXUZ3WY2",
        peer="192.0.2.17",
        bytes_out=4096,
    )
    reply = cast(Reply, SimpleNamespace(status=200, code="", deleted=(), issued=()))

    async def loop(accesses: Accesses, count: int) -> float:
        sink: Any = SimpleNamespace(failure="", accesses=accesses, note=lambda log, event: None)
        begun = time.perf_counter()
        for _ in range(count):
            await journaling.before(sink, services, exchange)
            journaling.after(sink, services, exchange, reply, opened, 0)
        return (time.perf_counter() - begun) / count * 1e6

    return {f"{a.value}_us": asyncio.run(loop(a, 50_000)) for a in Accesses}


def proof_among(count: int) -> dict[str, float]:
    """Size of the proof of an event among so many, and the time to make and to verify it."""
    chosen = count * 7 // 9
    line, chosen_leaf = encode_line(chosen, access(chosen), bytes(16), NameHasher(b"n" * 32))

    def leaf(at: int) -> bytes:
        return chosen_leaf if at == chosen else sha256(b"%d" % at).digest()

    upper: dict[tuple[int, int], bytes] = {}
    edge, begun = tree.Edge(), time.perf_counter()
    for at in range(count):
        for level, made in enumerate(edge.append(leaf(at))):
            if level >= BLOCK_LEVEL:
                upper[level, at >> level] = made
    grown_s = time.perf_counter() - begun

    @lru_cache(maxsize=4096)
    def read(level: int, place: int) -> bytes:
        if level == 0:
            return leaf(place)
        held = upper.get((level, place))
        return held or tree.node_hash(read(level - 1, 2 * place), read(level - 1, 2 * place + 1))

    checkpoint = Checkpoint(origin=KEYS.origin(TENANT), size=count, root=edge.root())
    hashes = timed(lambda: tree.inclusion_proof(chosen, count, read))
    sizes: dict[str, float] = {}
    for name, signers in (("ed25519", SIGNERS[:1]), ("both", SIGNERS)):
        keys = [signer.verifier("x") for signer in signers]
        text = encode_proof(line, chosen, hashes[0], sign_checkpoint(checkpoint, signers))
        dense = dense_proof(text)
        verify = partial(open_proof, dense, keys)
        taken = min(timed(verify)[1] for _ in range(20))
        sizes |= {f"{name}_bytes": len(dense), f"{name}_verify_ms": taken * 1000}
        sizes[f"{name}_text_bytes"] = len(text)
    return {
        "hashes": len(hashes[0]),
        "hash_bytes": 32 * len(hashes[0]),
        "tree_leaves_per_s": count / grown_s,
        **sizes,
    }


def timed(made: Callable[[], Any]) -> tuple[Any, float]:
    begun = time.perf_counter()
    return made(), time.perf_counter() - begun


async def on_drive(seconds: float, env: RealEnv) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        config = JournalConfig(folder=Path(folder) / "journal", accesses=Accesses.ALL)
        journal = Journal(config, KEYS, env)
        journal.start()
        await journal.record(CLUSTER, access(0))
        found: dict[str, Any] = {"sustained": await sustained(journal, seconds)}
        for callers in (1, 64):
            found[f"acts_{callers}"] = await acts(journal, callers, min(seconds, 2))
        begun = time.perf_counter()
        await journal.close()
        found["close_s"] = time.perf_counter() - begun
        segments = Path(folder).rglob("*.events")
        found["bytes"] = sum(path.stat().st_size for path in segments)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.journal", description=__doc__)
    parser.add_argument("--events", type=int, default=10_000_000)
    parser.add_argument("--seconds", type=float, default=5.0)
    asked = parser.parse_args()
    env = RealEnv(threads_max=2)
    found = asyncio.run(on_drive(asked.seconds, env))
    found["request"] = per_request(env)
    found["proof"] = proof_among(asked.events)
    env.close()
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
