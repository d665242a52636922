"""Bodies of events go, and every proof of before still holds (E-07)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from gateway.journal import tree
from gateway.journal.events import erased_body, is_erased
from gateway.journal.forgetting import FORGOTTEN, NotForgettable, events_of, forget
from gateway.journal.journal import Journal, JournalConfig
from gateway.journal.proofs import encode_proof, open_proof
from gateway.journal.store import LogStore, read_lines
from gateway.journal.verify import Report, verify_folder
from storaged.base.env import RealEnv
from tests.support.journal_rig import TENANT, event, keys_with, public


def run(folder: Path, scene: Callable[[Journal], Awaitable[None]]) -> Report:
    """A scene over a journal with 20 events of a tenant; what is verified after it."""

    async def main() -> None:
        env = RealEnv(threads_max=1)
        journal = Journal(JournalConfig(folder=folder), keys_with(), env)
        journal.start()
        for number in range(20):
            who = "HXEVEN" if number % 2 == 0 else "HXODD"
            await journal.record(TENANT, event(number, "s3.GetObject", who=who, source="192.0.2.7"))
        await journal.record(TENANT, event(20, "admin.keys.destroy", who="HXEVEN"))
        await scene(journal)
        await journal.checkpoint()
        await journal.close()
        env.close()

    asyncio.run(asyncio.wait_for(main(), 30))
    return verify_folder(folder, public())


def text_of(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in (folder / "logs" / TENANT / "events").iterdir())


@pytest.mark.proves("E-07")
def test_who_is_forgotten_is_nowhere_and_all_proofs_verify(tmp_path: Path) -> None:
    proofs: list[bytes] = []

    async def scene(journal: Journal) -> None:
        signed = await journal.checkpoint([TENANT])

        def made(store: LogStore, seq: int) -> bytes:
            line = b"".join(read_lines(store.folder, seq, 1))
            hashes = tree.inclusion_proof(seq, 21, store.read_hash)
            return encode_proof(line, seq, hashes, signed.notes[TENANT])

        for seq in range(21):
            proofs.append(await journal.reading(TENANT, lambda store, seq=seq: made(store, seq)))
        seqs = events_of(journal, TENANT, "HXEVEN")
        assert seqs == list(range(0, 20, 2)), "not what administrators do"
        assert await forget(journal, TENANT, seqs) == 10
        assert await forget(journal, TENANT, seqs[:1]) == 1
        assert not events_of(journal, TENANT, "HXEVEN")
        for seq in (0, 1):
            again = await journal.reading(TENANT, lambda store, seq=seq: made(store, seq))
            entry = open_proof(again, public()).entry
            assert ("who" in entry.body) is bool(seq % 2) and entry.type == "s3.GetObject"

    report = run(tmp_path, scene)
    assert report.findings == [] and any("erased: 10" in one for one in report.notices)
    assert text_of(tmp_path).count(b"HXEVEN") == 1
    for seq, proof in enumerate(proofs):
        assert open_proof(proof, public()).entry.seq == seq


@pytest.mark.proves("E-07", "JRN-01")
def test_a_body_that_goes_unsaid_is_found(tmp_path: Path) -> None:
    async def scene(journal: Journal) -> None:
        await forget(journal, TENANT, [3, 4, 5])

    assert run(tmp_path, scene).findings == []
    (path,) = (tmp_path / "logs" / TENANT / "events").iterdir()
    lines = path.read_bytes().splitlines(keepends=True)
    for seq, expected in ((7, "no event says so"), (20, "such events stay")):
        changed = list(lines)
        before, _, body = changed[seq].partition(b"\t")
        changed[seq] = before + b"\t" + erased_body(len(body) - 1) + b"\n"
        path.write_bytes(b"".join(changed))
        (found,) = verify_folder(tmp_path, public()).findings
        assert f"event {seq} " in found and expected in found
    assert FORGOTTEN.encode() in b"".join(lines)


def test_only_events_of_s3_that_exist_are_forgotten(tmp_path: Path) -> None:
    async def scene(journal: Journal) -> None:
        for seqs in ([], [20], [99], [1, 20]):
            with pytest.raises(NotForgettable):
                await forget(journal, TENANT, seqs)

    report = run(tmp_path, scene)
    assert report.findings == [] and FORGOTTEN.encode() not in text_of(tmp_path)


def test_what_stands_for_an_erased_body_is_no_other_body() -> None:
    assert is_erased(erased_body(60)) and len(erased_body(60)) == 60
    for body in (b"", b'{"erased":"', b'{"erased":"x"}', b'{"erased":"..","who":"x"}'):
        assert not is_erased(body)
