"""Witnesses and proofs of single events: what they sign, and what they refuse."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.journal import tree
from gateway.journal.notes import (
    COSIGNATURE,
    Checkpoint,
    NoteInvalid,
    SignerKey,
    read_checkpoint,
    read_note,
)
from gateway.journal.proofs import encode_hashes, encode_proof, open_proof
from gateway.journal.store import LogStore, read_lines
from gateway.journal.verify import COSIGNED
from gateway.journal.witness import WitnessRefused, cosign, judge, read_request
from storaged.base.errors import StorageError
from tests.support.journal_rig import CLUSTER, NAMES, PREFIX, SIGNERS, event, findings, public

KEY = SignerKey(COSIGNATURE, b"w" * 32)
NAME = "example.org/w1"
SALTS = b"s" * 16 * 100


def grown(folder: Path, count: int, seed: int = 1) -> LogStore:
    store = LogStore(folder / "logs" / CLUSTER, f"{PREFIX}/{CLUSTER}", SIGNERS, NAMES)
    store.append([event(at, seed=seed) for at in range(store.size, count)], SALTS)
    store.sign()
    return store


def asked(store: LogStore, old: int) -> bytes:
    hashes = tree.consistency_proof(old, store.size, store.read_hash)
    return f"old {old}\n{encode_hashes(hashes)}\n".encode() + store.signed_note()


def seen(store: LogStore) -> Checkpoint:
    return read_checkpoint(read_note(store.signed_note()).text)


def test_l_06_a_witness_follows_a_log_that_grows(tmp_path: Path) -> None:
    store = grown(tmp_path, 5)
    request = read_request(asked(store, 0))
    first = judge(request, None, public())
    cosigned = cosign(request, first, key=KEY, name=NAME, at_s=99)
    (store.folder / COSIGNED).write_bytes(cosigned)
    store.append([event(at) for at in range(30)], SALTS)
    store.sign()
    second = judge(read_request(asked(store, 5)), first, public())
    assert (first.size, second.size) == (5, 35)
    assert judge(read_request(asked(store, 35)), second, public()) == second
    report = findings(tmp_path, witnesses=[KEY.verifier(NAME)])
    assert not report.findings and any(NAME in notice for notice in report.notices)
    assert findings(tmp_path, witnesses=[KEY.verifier("example.org/w2")]).findings
    store.close()


@pytest.mark.proves("B-09", "B-11", "L-06")
def test_l_06_a_witness_cosigns_no_fork_and_nothing_older(tmp_path: Path) -> None:
    store, fork = grown(tmp_path / "a", 20), grown(tmp_path / "b", 30, seed=2)
    known = seen(store)
    with pytest.raises(WitnessRefused, match="another history"):
        judge(read_request(asked(fork, 20)), known, public())
    with pytest.raises(WitnessRefused, match="seen last"):
        judge(read_request(asked(fork, 0)), known, public())
    shorter = grown(tmp_path / "c", 10)
    with pytest.raises(WitnessRefused):
        judge(read_request(asked(shorter, 10)), known, public())
    with pytest.raises(NoteInvalid):
        judge(read_request(asked(store, 0)), None, public([KEY]))
    for held in (store, fork, shorter):
        held.close()


def test_jrn_01_what_a_witness_has_seen_cannot_be_taken_back(tmp_path: Path) -> None:
    store = grown(tmp_path / "a", 20)
    request = read_request(asked(store, 0))
    cosigned = cosign(request, judge(request, None, public()), key=KEY, name=NAME, at_s=99)
    for folder, count, seed in (("b", 30, 2), ("c", 10, 1)):
        other = grown(tmp_path / folder, count, seed)
        (other.folder / COSIGNED).write_bytes(cosigned)
        assert findings(tmp_path / folder).findings
        other.close()
    store.close()


@pytest.mark.parametrize(
    "content", [b"", b"old 01\n\nx", b"old 1\nAAAA\n\nx", b"\xff\n\n", b"old 1\n"]
)
def test_other_bytes_are_no_request(content: bytes) -> None:
    with pytest.raises(NoteInvalid):
        read_request(content)


def test_l_08_one_event_is_proven_alone(tmp_path: Path) -> None:
    store = grown(tmp_path, 21)
    for seq in range(21):
        line = next(read_lines(store.folder, seq, 1))
        hashes = tree.inclusion_proof(seq, 21, store.read_hash)
        text = encode_proof(line, seq, hashes, store.signed_note())
        proven = open_proof(text, public())
        assert (proven.entry.seq, proven.checkpoint.size) == (seq, 21)
    store.close()


def test_jrn_01_no_byte_of_a_proof_can_be_changed(tmp_path: Path) -> None:
    store = grown(tmp_path, 6)
    line = next(read_lines(store.folder, 2, 1))
    hashes = tree.inclusion_proof(2, 6, store.read_hash)
    text = encode_proof(line, 2, hashes, store.signed_note())
    store.close()
    for at in (*range(0, 1500, 3), *range(1500, len(text), 41)):
        changed = bytearray(text)
        changed[at] ^= 1
        with pytest.raises(StorageError):
            open_proof(bytes(changed), public())
