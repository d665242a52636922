"""The journal's signing key is changed: who has the first one verifies on, no other key counts."""

from __future__ import annotations

import asyncio
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.journal.chain import (
    CHAIN,
    Chain,
    Link,
    announcement,
    encode_chain,
    encode_keys,
    read_chain,
)
from gateway.journal.journal import Journal, JournalConfig
from gateway.journal.notes import (
    ED25519,
    MLDSA65,
    NoteInvalid,
    SignerKey,
    open_checkpoint,
    sign_checkpoint,
)
from gateway.journal.opening import open_journal
from gateway.journal.proofs import encode_proof, open_proof_by
from gateway.journal.signing import (
    CHAIN_COPY,
    KEYS_FILE,
    ChainLost,
    SigningKeysInvalid,
)
from gateway.journal.store import JournalUnavailable, read_lines
from gateway.journal.tree import inclusion_proof
from gateway.journal.verify import COSIGNED, KEYS, MANIFEST, encode_manifest, verify_folder
from tests.support.journal_rig import CLUSTER, OTHER, SIGNERS, TENANT, event
from tests.support.signing_rig import CLUSTER_ID, ENV, FIRST, Rig, derive


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    rig = Rig(tmp_path)
    for log in (CLUSTER, TENANT, OTHER):
        rig.write(log)
    return rig


@pytest.mark.proves("K-10", "C6")
def test_the_first_key_leads_to_the_present_one(rig: Rig) -> None:
    kept = rig.shelf.store(CLUSTER).signed_note()
    for _ in range(3):
        rig.rotate()
        rig.write(TENANT)
    report = rig.verify(against=[kept])
    assert report.findings == [] and len(rig.shelf.keys.chain.links) == 3
    assert all(log.signed == log.events for log in report.logs) and len(report.logs) == 3
    for keys in rig.shelf.keys.chain.generations:
        assert rig.verify(list(keys)).findings == []
    # All logs are signed by the present key, also those where nothing happens any more.
    for name in (CLUSTER, TENANT, OTHER):
        note = rig.shelf.store(name).signed_note()
        open_checkpoint(note, rig.shelf.keys.verifiers())
        with pytest.raises(NoteInvalid):
            open_checkpoint(note, FIRST.verifiers())


@pytest.mark.proves("K-10")
def test_a_restart_signs_on_with_the_present_key(rig: Rig) -> None:
    rig.rotate()
    present = rig.shelf.keys.verifiers()
    assert rig.restart().verifiers() == present != FIRST.verifiers()
    rig.write(OTHER)
    assert rig.verify().findings == []
    content = (rig.keys / KEYS_FILE).read_bytes()
    assert (rig.keys / KEYS_FILE).stat().st_mode & 0o777 == 0o600
    # Neither the new seeds nor the former ones are there to be read.
    assert derive("journal-ed25519", "") not in content
    rig.rotate()
    assert len(rig.signing._read().seeds()) == 1


@pytest.mark.proves("K-10", "CRY-16")
@pytest.mark.parametrize("at", ["announced", "handed over", "some signed"])
def test_a_crash_in_a_rotation_leaves_a_journal_that_verifies(rig: Rig, at: str) -> None:
    class Crash(Exception):
        pass

    def keep(chain: Chain) -> None:
        if at == "announced":
            raise Crash
        rig.signing.hand_over(chain)
        if at == "handed over":
            raise Crash
        for name in (TENANT, CLUSTER):  # of three logs
            store = rig.shelf.store(name)
            store.signers = signers
            store.sign()
        raise Crash

    signers = rig.signing.prepare()
    with pytest.raises(Crash):
        rig.shelf.hand_over(signers, keep)
    present = rig.restart().verifiers()
    assert (present == FIRST.verifiers()) == (at == "announced")
    rig.shelf.sign(())
    rig.write(TENANT)
    assert rig.verify().findings == []
    rig.rotate()
    assert rig.verify().findings == []


@pytest.mark.proves("K-10")
def test_a_key_that_was_not_announced_is_refused(rig: Rig, tmp_path: Path) -> None:
    """Somebody signs the whole journal anew with keys of his own, and makes a chain to them."""
    rig.rotate()
    mine = (SignerKey(ED25519, b"7" * 32), SignerKey(MLDSA65, b"8" * 32))
    own = FIRST._replace(signers=mine)
    rig.shelf.close()
    for name in (CLUSTER, TENANT, OTHER):
        path = rig.folder / "logs" / name / "checkpoint"
        note = open_checkpoint(path.read_bytes(), rig.signing.load().verifiers())
        path.write_bytes(sign_checkpoint(note, mine))
    assert rig.verify().findings
    held = rig.signing.load().chain
    cluster = open_checkpoint(
        (rig.folder / "logs/cluster/checkpoint").read_bytes(), own.verifiers()
    )
    announced = cluster.__class__(
        origin=cluster.origin,
        size=cluster.size,
        root=cluster.root,
        extensions=(announcement(3, own.verifiers()),),
    )
    forged = Link(tuple(own.verifiers()), sign_checkpoint(announced, mine))
    for chain in (
        Chain(held.first, (*held.links, forged)),
        Chain(held.first, (forged,)),
        Chain(tuple(own.verifiers())),
        Chain(held.first, (Link(tuple(own.verifiers()), held.links[0].handover),)),
    ):
        (rig.folder / CHAIN).write_bytes(encode_chain(chain))
        report = rig.verify()
        assert any(CHAIN in text or "not signed" in text for text in report.findings)
        with pytest.raises(NoteInvalid):
            if len(chain.links) == 0:
                chain.since(FIRST.verifiers())
            read_chain(encode_chain(chain))


def test_a_chain_is_bound_to_the_events(rig: Rig) -> None:
    """The handover is a checkpoint of the history; the announcement is an event of it."""
    rig.rotate()
    again = rig.folder.parent / "again"
    again.mkdir()
    other = Rig(again)
    for log in (CLUSTER, TENANT, OTHER):
        other.write(log, 5)
    other.shelf.close()
    shutil.copy(rig.folder / CHAIN, other.folder / CHAIN)
    findings = other.verify().findings
    assert any("handover" in text for text in findings)
    assert any("no event of the cluster's log announces" in text for text in findings)


def test_every_changed_byte_of_a_chain_is_seen(rig: Rig) -> None:
    rig.rotate()
    content = (rig.folder / CHAIN).read_bytes()
    for at in range(0, len(content), 7):
        altered = content[:at] + bytes((content[at] ^ 1,)) + content[at + 1 :]
        with pytest.raises(NoteInvalid):
            read_chain(altered).since(FIRST.verifiers())
    for cut in (b"", content[:-1], content + b"\n", b"[]", b'{"first":[],"links":[]}'):
        with pytest.raises(NoteInvalid):
            read_chain(cut)


@pytest.mark.proves("K-10")
def test_a_former_key_signs_nothing_any_more(rig: Rig) -> None:
    """It was changed because somebody else may have it: it makes no later checkpoint of the log."""
    rig.rotate()
    rig.write(CLUSTER)
    store = rig.shelf.store(CLUSTER)
    checkpoint = open_checkpoint(store.signed_note(), rig.shelf.keys.verifiers())
    forged = sign_checkpoint(checkpoint, FIRST.signers)
    report = rig.verify(against=[forged])
    assert any("after it was handed over" in text for text in report.findings)
    (rig.folder / "logs" / CLUSTER / "checkpoint").write_bytes(forged)
    assert any("not signed by" in text for text in rig.verify().findings)


@pytest.mark.proves("K-10", "JRN-01")
def test_what_was_kept_before_a_change_of_keys_is_held_against_the_log_by_the_present_ones(
    rig: Rig,
) -> None:
    kept = rig.shelf.store(CLUSTER).signed_note()
    (rig.folder / "logs" / CLUSTER / COSIGNED).write_bytes(kept)
    rig.rotate()
    present = rig.shelf.keys.verifiers()
    report = rig.verify(present, against=[kept])
    assert report.findings == []
    assert sum("keys of before those given" in one for one in report.notices) == 2
    honest = open_checkpoint(kept, FIRST.verifiers())
    other = sign_checkpoint(replace(honest, root=b"\1" * 32), FIRST.signers)
    (rig.folder / "logs" / CLUSTER / COSIGNED).write_bytes(other)
    assert any("are not those of" in one for one in rig.verify(present).findings)
    stranger = sign_checkpoint(honest, SIGNERS)
    assert any("not signed by" in one for one in rig.verify(present, against=[stranger]).findings)


def test_an_export_brings_the_chain_along(rig: Rig) -> None:
    rig.rotate()
    present = rig.shelf.keys.verifiers()
    rig.shelf.close()
    (rig.folder / "lock").unlink()
    sizes = {}
    for log in (rig.folder / "logs").iterdir():
        (log / "hashes").unlink()
        sizes[log.name] = sum(path.read_bytes().count(b"\n") for path in log.glob("events/*"))
    (rig.folder / KEYS).write_bytes(encode_keys(present))
    (rig.folder / MANIFEST).write_bytes(encode_manifest(FIRST.prefix, sizes))
    assert rig.verify().findings == [] == rig.verify(present).findings
    (rig.folder / KEYS).write_bytes(encode_keys(FIRST.verifiers()))
    assert rig.verify().findings
    (rig.folder / KEYS).write_bytes(encode_keys(present))
    (rig.folder / CHAIN).unlink()
    assert rig.verify().findings and not rig.verify(present).findings


@pytest.mark.proves("K-10")
def test_a_proof_leads_from_the_first_key_to_the_event(rig: Rig) -> None:
    def proof(seq: int) -> bytes:
        store = rig.shelf.store(CLUSTER)
        line = b"".join(read_lines(store.folder, seq, 1))
        hashes = inclusion_proof(seq, store.signed_size, store.read_hash)
        return encode_proof(line, seq, hashes, store.signed_note())

    before = proof(1)
    rig.rotate()
    chain = read_chain((rig.folder / CHAIN).read_bytes()).since(FIRST.verifiers())
    for content in (before, proof(1), proof(rig.shelf.store(CLUSTER).size - 1)):
        assert open_proof_by(content, chain).entry.seq >= 1
    with pytest.raises(NoteInvalid):
        open_proof_by(proof(1), Chain(chain.first))


@pytest.mark.proves("K-10", "K-12", "JRN-01")
@pytest.mark.parametrize("rotations", [1, 3])
def test_a_chain_that_is_gone_is_taken_from_its_copy(rig: Rig, rotations: int) -> None:
    for _ in range(rotations):
        rig.rotate()
    held, seeds = rig.signing.load(), (rig.keys / KEYS_FILE).read_bytes()
    (rig.folder / CHAIN).unlink()
    assert rig.restart().verifiers() == held.verifiers()
    assert read_chain((rig.folder / CHAIN).read_bytes()) == held.chain
    assert (rig.keys / KEYS_FILE).read_bytes() == seeds
    rig.write(TENANT)
    rig.rotate()
    rig.write(TENANT)
    assert rig.verify().findings == []


@pytest.mark.proves("K-10", "K-12", "JRN-01")
@pytest.mark.parametrize("lost", ["chain", "folder"])
@pytest.mark.parametrize("copy", ["none", "older"])
def test_without_its_chain_no_seed_is_touched_and_nothing_signed(
    rig: Rig, lost: str, copy: str
) -> None:
    rig.rotate()
    older = (rig.keys / CHAIN_COPY).read_bytes()
    rig.rotate()
    seeds, chain = (rig.keys / KEYS_FILE).read_bytes(), (rig.folder / CHAIN).read_bytes()
    rig.shelf.close()
    aside = rig.folder.parent / "aside"
    if lost == "folder":
        rig.folder.rename(aside)
    else:
        (rig.folder / CHAIN).unlink()
    if copy == "none":
        (rig.keys / CHAIN_COPY).unlink()
    else:
        (rig.keys / CHAIN_COPY).write_bytes(older)
    for act in (rig.signing.load, rig.signing.prepare, rig.signing.forget_former):
        with pytest.raises(ChainLost) as refused:
            act()
        assert "chain.json" in str(refused.value.hint)
    assert (rig.keys / KEYS_FILE).read_bytes() == seeds
    assert not (rig.folder / CHAIN).exists()
    if lost == "folder":
        aside.rename(rig.folder)
    (rig.folder / CHAIN).write_bytes(chain)  # as the hint says
    assert rig.restart().verifiers()
    rig.write(TENANT)
    assert rig.verify().findings == []


def test_seeds_that_lead_nowhere_are_not_replaced(rig: Rig) -> None:
    rig.rotate()
    chain = (rig.folder / CHAIN).read_bytes()
    rig.rotate()
    seeds = (rig.keys / KEYS_FILE).read_bytes()
    (rig.folder / CHAIN).write_bytes(chain)  # an older one, from a backup
    for act in (rig.signing.load, rig.signing.prepare, rig.signing.forget_former):
        with pytest.raises(SigningKeysInvalid):
            act()
    assert (rig.keys / KEYS_FILE).read_bytes() == seeds


@pytest.mark.proves("K-10", "K-12")
def test_without_its_key_the_journal_refuses_acts_and_says_what_to_do(tmp_path: Path) -> None:
    async def main() -> None:
        config, keys = JournalConfig(folder=tmp_path / "journal"), tmp_path / "keys"
        keys.mkdir()

        def opened() -> Journal:
            journal = open_journal(config, CLUSTER_ID, derive, ENV, keys)
            assert journal is not None
            journal.start()
            return journal

        journal = opened()
        first = journal.keys.verifiers()
        await journal.record(TENANT, event(1))
        await journal.rotate_key()
        await journal.record(TENANT, event(2))
        await journal.close()
        assert verify_folder(config.folder, first).findings == []
        held = (keys / KEYS_FILE).read_bytes()
        (keys / KEYS_FILE).unlink()
        journal = opened()
        with pytest.raises(JournalUnavailable, match=r"not the keys that sign"):
            await journal.record(TENANT, event(3))
        await journal.close()
        assert verify_folder(config.folder, first).findings == []
        (keys / KEYS_FILE).write_bytes(held)
        journal = opened()
        await journal.record(TENANT, event(3))
        await journal.rotate_key()
        assert len(journal.keys.chain.links) == 2
        await journal.close()
        assert verify_folder(config.folder, first).findings == []

    asyncio.run(main())
