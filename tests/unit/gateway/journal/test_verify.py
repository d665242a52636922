"""JRN-01: whatever is done to an export or to a journal's folder, verification tells."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gateway.journal.notes import ED25519, SignerKey
from gateway.journal.verify import verify_folder
from tests.support.journal_rig import (
    CLUSTER,
    OTHER,
    SIGNERS,
    TENANT,
    as_export,
    filled,
    findings,
    public,
)

pytestmark = pytest.mark.proves("L-04", "C9")

COUNTS = {TENANT: 5, OTHER: 3, CLUSTER: 2}
ONE = SIGNERS[:1]  # Ed25519 alone keeps a campaign over every byte short


def events(folder: Path, log: str = TENANT) -> Path:
    return next((folder / "logs" / log / "events").glob("*.events"))


def lines(folder: Path, log: str = TENANT) -> list[bytes]:
    return events(folder, log).read_bytes().splitlines(keepends=True)


def put(folder: Path, found: list[bytes], log: str = TENANT) -> None:
    events(folder, log).write_bytes(b"".join(found))


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("journal") / "export"
    filled(folder, COUNTS)
    as_export(folder)
    return folder


@pytest.fixture
def copy(export: Path, tmp_path: Path) -> Path:
    shutil.copytree(export, tmp_path / "copy")
    return tmp_path / "copy"


def test_l_08_what_was_written_verifies_without_the_service(export: Path) -> None:
    report = findings(export)
    assert not report.findings
    sizes = {log.name: (log.events, log.signed) for log in report.logs}
    assert sizes[TENANT] == (5, 5) and sizes[OTHER] == (3, 3)
    assert sizes[CLUSTER] == (4, 4)  # with two anchors


@pytest.mark.parametrize("step", [7, pytest.param(1, marks=pytest.mark.slow)])
def test_jrn_01_every_byte_of_every_file_counts(tmp_path: Path, step: int) -> None:
    folder = tmp_path / "export"
    filled(folder, {TENANT: 2, CLUSTER: 1}, ONE)
    as_export(folder, ONE)
    assert not findings(folder, ONE).findings
    for path in sorted(folder.rglob("*")):
        if not path.is_file():
            continue
        content = path.read_bytes()
        for at in range(0, len(content), step):
            path.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
            assert findings(folder, ONE).findings, f"byte {at} of {path.name}"
        for cut in range(0, len(content), 7 * step):
            path.write_bytes(content[:cut])
            assert findings(folder, ONE).findings, f"{path.name} cut at {cut}"
        path.write_bytes(content)
    assert not findings(folder, ONE).findings


def changes() -> Iterator[tuple[str, Callable[[list[bytes]], list[bytes]]]]:
    for at in range(5):
        yield f"delete {at}", lambda found, at=at: found[:at] + found[at + 1 :]  # type: ignore[misc]
        yield f"double {at}", lambda found, at=at: found[: at + 1] + found[at:]  # type: ignore[misc]
        yield f"cut {at}", lambda found, at=at: found[:at]  # type: ignore[misc]
        yield f"cut the front {at + 1}", lambda found, at=at: found[at + 1 :]  # type: ignore[misc]
    for one, two in itertools.combinations(range(5), 2):

        def swap(found: list[bytes], one: int = one, two: int = two) -> list[bytes]:
            found[one], found[two] = found[two], found[one]
            return found

        yield f"swap {one} and {two}", swap


@pytest.mark.parametrize("change", [pytest.param(change, id=name) for name, change in changes()])
def test_jrn_01_no_event_can_go_come_or_move(
    copy: Path, change: Callable[[list[bytes]], list[bytes]]
) -> None:
    put(copy, change(lines(copy)))
    assert any(TENANT in found for found in findings(copy).findings)


def test_jrn_01_an_event_of_another_log_or_journal_is_found(copy: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    filled(other, COUNTS, seed=8)
    own = lines(copy)
    for stranger in (lines(copy, OTHER)[1], lines(other)[1]):
        put(copy, [own[0], stranger, *own[2:]])
        assert findings(copy).findings


def test_jrn_01_events_behind_the_checkpoint_are_found(copy: Path, tmp_path: Path) -> None:
    longer = tmp_path / "longer"
    filled(longer, {TENANT: 6})
    put(copy, lines(longer))
    assert any("signed by nobody" in found for found in findings(copy).findings)


@pytest.mark.parametrize("log", [TENANT, OTHER, CLUSTER])
def test_jrn_01_a_log_cannot_go(copy: Path, log: str) -> None:
    shutil.rmtree(copy / "logs" / log)
    assert findings(copy).findings


@pytest.mark.parametrize("name", ["checkpoint", "events/0000000000000000.events"])
@pytest.mark.parametrize("log", [TENANT, CLUSTER])
def test_jrn_01_no_file_can_go(copy: Path, log: str, name: str) -> None:
    (copy / "logs" / log / name).unlink()
    assert findings(copy).findings


@pytest.mark.parametrize("name", ["manifest.json", "journal.pub"])
def test_jrn_01_neither_manifest_nor_keys_can_go(copy: Path, name: str) -> None:
    (copy / name).unlink()
    assert findings(copy).findings


def test_jrn_01_nothing_can_be_put_beside(copy: Path) -> None:
    (copy / "logs" / TENANT / "events" / "0000000000000009.events").write_bytes(b"")
    assert findings(copy).findings


def test_jrn_01_a_history_rewritten_under_another_key_is_found(tmp_path: Path) -> None:
    forged = (SignerKey(ED25519, b"x" * 32), SIGNERS[1])
    filled(tmp_path / "f", COUNTS, forged)
    as_export(tmp_path / "f", forged)
    assert not findings(tmp_path / "f", forged).findings
    assert findings(tmp_path / "f").findings


def checkpoint(folder: Path, log: str) -> bytes:
    return (folder / "logs" / log / "checkpoint").read_bytes()


def test_jrn_01_a_fork_under_the_same_key_is_found_by_a_kept_checkpoint(
    export: Path, tmp_path: Path
) -> None:
    fork = tmp_path / "fork"
    filled(fork, {TENANT: 9, OTHER: 9, CLUSTER: 9}, seed=9)
    as_export(fork)
    assert not findings(fork).findings, "by itself it is a journal like any other"
    for log in (TENANT, CLUSTER):
        report = verify_folder(fork, public(), against=[checkpoint(export, log)])
        assert any("not those of" in found for found in report.findings)


def test_jrn_01_a_fork_of_one_tenant_is_found_by_its_anchor(copy: Path, tmp_path: Path) -> None:
    fork = tmp_path / "fork"
    filled(fork, COUNTS, seed=9)
    shutil.rmtree(copy / "logs" / TENANT)
    shutil.copytree(fork / "logs" / TENANT, copy / "logs" / TENANT)
    (copy / "logs" / TENANT / "hashes").unlink()
    assert any("the anchor in event" in found for found in findings(copy).findings)


def test_jrn_01_going_back_to_an_older_checkpoint_is_found(copy: Path, tmp_path: Path) -> None:
    """A tenant's log by its anchor; the cluster's by a checkpoint that somebody has kept."""
    older = tmp_path / "older"
    filled(older, {TENANT: 3})
    kept = checkpoint(copy, CLUSTER)
    shutil.copy(older / "logs" / TENANT / "checkpoint", copy / "logs" / TENANT / "checkpoint")
    put(copy, lines(older))
    assert any("cut short" in found for found in findings(copy).findings)
    filled(tmp_path / "short", {CLUSTER: 2})
    assert not findings(tmp_path / "short").findings
    report = verify_folder(tmp_path / "short", public(), against=[kept])
    assert any("cut short" in found for found in report.findings)


def test_a_kept_checkpoint_that_still_fits_is_no_finding(export: Path, tmp_path: Path) -> None:
    early = tmp_path / "early"
    filled(early, {TENANT: 3})
    against = [checkpoint(early, TENANT), checkpoint(export, CLUSTER)]
    assert not verify_folder(export, public(), against=against).findings
    assert verify_folder(export, public(), against=[b"no note"]).findings


def test_a_live_folder_may_have_unsigned_events_and_torn_ends(tmp_path: Path) -> None:
    folder = tmp_path / "live"
    filled(folder, COUNTS)
    longer = tmp_path / "longer"
    filled(longer, {TENANT: 7})
    put(folder, [*lines(longer), b"torn"])
    report = findings(folder)
    assert not report.findings
    assert any("not signed yet" in notice for notice in report.notices)
    put(folder, [*lines(longer)[:4], b"torn"])
    assert findings(folder).findings


def test_an_empty_folder_is_no_journal(tmp_path: Path) -> None:
    assert findings(tmp_path).findings
