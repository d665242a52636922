"""K-07: a journal draws the keys that sign it; one of before changes to such keys when rotated."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.journal.chain import CHAIN
from gateway.journal.notes import NoteInvalid
from gateway.journal.signing import KEYS_FILE, SigningKeysInvalid
from tests.support.journal_rig import CLUSTER, TENANT
from tests.support.signing_rig import FIRST, Drawn, Rig


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    rig = Rig(tmp_path)
    rig.write(CLUSTER)
    yield rig
    rig.shelf.close()


@pytest.mark.proves("K-07")
def test_a_journal_begins_with_keys_that_no_root_key_leads_to(tmp_path: Path) -> None:
    rigs = [Drawn(tmp_path / name) for name in ("one", "other")]  # of one root key
    one, other = rigs
    assert one.first != other.first and FIRST.verifiers() not in (one.first, other.first)
    kept = (one.keys / KEYS_FILE).read_bytes()
    one.signing.begin()
    assert (one.keys / KEYS_FILE).read_bytes() == kept, "once"
    one.write(TENANT)
    note = one.shelf.store(CLUSTER).signed_note()
    assert one.restart().verifiers() == one.first
    one.write(CLUSTER)
    assert one.verify(one.first, against=[note]).findings == []
    # Who has the root key and nothing else makes no checkpoint that anybody takes.
    assert one.verify(FIRST.verifiers()).findings != []
    seeds = one.signing._read().seeds()
    assert len(seeds) == 1 and seeds[0] not in kept
    one.shelf.close()
    other.shelf.close()


@pytest.mark.proves("K-07", "K-10")
def test_drawn_keys_are_rotated_as_derived_ones_are(tmp_path: Path) -> None:
    rig = Drawn(tmp_path)
    rig.write(TENANT)
    for _ in range(2):
        rig.rotate()
        rig.write(TENANT)
        assert rig.restart().chain.first == tuple(rig.first)
    report = rig.verify(rig.first)
    assert report.findings == [] and len(rig.shelf.keys.chain.links) == 2
    # The chain is taken from the copy only where its first keys are those that were drawn.
    (rig.folder / CHAIN).unlink()
    assert len(rig.restart().chain.links) == 2
    stranger = Drawn(tmp_path / "stranger")
    stranger.write(TENANT)
    stranger.rotate()
    (rig.folder / CHAIN).write_bytes((stranger.folder / CHAIN).read_bytes())
    with pytest.raises(NoteInvalid, match="of another journal"):
        rig.signing.load()
    rig.shelf.close()
    stranger.shelf.close()


@pytest.mark.proves("K-07")
def test_drawn_keys_that_are_gone_are_not_replaced_by_derived_ones(tmp_path: Path) -> None:
    rig = Drawn(tmp_path)
    rig.write(TENANT)
    kept = (rig.keys / KEYS_FILE).read_bytes()
    (rig.keys / KEYS_FILE).unlink()
    rig.signing.begin()
    assert not (rig.keys / KEYS_FILE).exists(), "there is a journal"
    for act in (rig.signing.load, rig.signing.prepare, rig.signing.forget_former):
        with pytest.raises(SigningKeysInvalid, match="not the keys that sign"):
            act()
    (rig.keys / KEYS_FILE).write_bytes(kept)
    assert rig.restart().verifiers() == rig.first
    rig.shelf.close()


@pytest.mark.proves("K-07")
def test_a_journal_of_before_goes_on_and_draws_keys_when_it_is_rotated(rig: Rig) -> None:
    rig.signing.begin()
    assert rig.restart().verifiers() == FIRST.verifiers()
    assert not (rig.keys / KEYS_FILE).exists()
    rig.rotate()
    rig.write(TENANT)
    assert rig.shelf.keys.verifiers() != FIRST.verifiers()
    assert rig.verify().findings == []
