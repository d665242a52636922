"""Packs, marks and plain files of an export's folder."""

from __future__ import annotations

import json
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from random import Random
from typing import Any

import pytest

from gateway.cli import export_folder
from gateway.cli.client import AdminClient
from gateway.cli.export_folder import (
    BodyReader,
    ExportDamaged,
    ExportFolderFailed,
    ExportFolderInvalid,
    Extent,
    Mark,
    PackNumbers,
    PackWriter,
    append_lines,
    cut_to,
    file_digest,
    read_json,
    read_lines,
    read_mark,
)
from gateway.cli.export_plain import unusable_key, write_plain
from gateway.cli.export_run import Asked, Exporter
from gateway.cli.export_verify import verify_export


@pytest.mark.parametrize("seed", range(5))
def test_bodies_over_several_packs_are_read_back(
    seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export_folder, "PACK_BYTES", 1000)
    random = Random(seed)
    (tmp_path / "bodies").mkdir()
    numbers = PackNumbers(0)
    writers = [PackWriter(tmp_path / "bodies", numbers) for _ in range(2)]
    bodies: list[tuple[bytes, list[Extent]]] = []
    for _ in range(60):
        content, extents = random.randbytes(random.choice((0, 1, 999, 1000, 3500))), list[Extent]()
        at = 0
        while at < len(content):
            piece = content[at : at + random.randint(1, 700)]
            writers[len(bodies) % 2].append(piece, extents)
            at += len(piece)
        bodies.append((content, extents))
    for writer in writers:
        writer.close()
        for name, told in writer.closed.items():
            assert told == file_digest(tmp_path / "bodies" / name) and told[0] <= 1000
    reader = BodyReader(tmp_path)
    for content, extents in bodies:
        assert b"".join(reader.pieces(extents)) == content
        assert all(one[2] for one in extents)
    with pytest.raises(ExportDamaged):
        list(reader.pieces([["../bodies/000001.bin", 0, 1]]))
    with pytest.raises(ExportDamaged):
        list(reader.pieces([["000001.bin", 0, 1001]]))
    reader.close()


def test_what_came_after_the_last_mark_is_cut_off(tmp_path: Path) -> None:
    bodies, bucket = tmp_path / "bodies", tmp_path / "buckets" / "0001"
    bodies.mkdir()
    bucket.mkdir(parents=True)
    writer = PackWriter(bodies, PackNumbers(0))
    writer.append(b"whole", [])
    writer.sync()
    mark = Mark(open_packs=writer.open_pack())
    mark.versions_bytes = append_lines(bucket / "versions.jsonl", b'{"key": "a"}\n')
    mark.cursor = {"key": "a", "sequence": 1}
    append_lines(tmp_path / "progress.jsonl", json.dumps(mark.document()).encode() + b"\n")
    writer.append(b" and torn", [])
    writer.sync()
    (bodies / "000002.bin").write_bytes(b"of a page that was not whole")
    append_lines(bucket / "versions.jsonl", b'{"key": "b"')
    append_lines(tmp_path / "progress.jsonl", b'{"bucket": 0, "cur')
    found = read_mark(tmp_path)
    assert (found.cursor, found.bucket) == (mark.cursor, 0)
    cut_to(tmp_path, found)
    assert [path.name for path in bodies.iterdir()] == ["000001.bin"]
    assert (bodies / "000001.bin").read_bytes() == b"whole"
    assert list(read_lines(bucket / "versions.jsonl")) == [{"key": "a"}]
    whole = [5, sha256(b"whole").hexdigest()]
    assert found.closed_packs == found.fresh_packs == {"000001.bin": whole}
    append_lines(tmp_path / "progress.jsonl", json.dumps(found.document()).encode() + b"\n")
    again = read_mark(tmp_path)
    cut_to(tmp_path, again)
    assert again.closed_packs == {"000001.bin": whole}
    (bodies / "000001.bin").write_bytes(b"who")
    with pytest.raises(ExportDamaged):
        cut_to(tmp_path, again)


@pytest.mark.parametrize("key", ["a", "a/b", "é ñ/ü", ".hidden", "a" * 255, "..."])
def test_keys_that_files_can_have(key: str) -> None:
    assert unusable_key(key) == ""


@pytest.mark.parametrize(
    "key",
    [
        *("/a", "a/", "a//b", ".", "..", "../a", "a/./b", "a/../../b", "a" * 256, "\n", "a\\b"),
        *("c:x", "a\tb", "what?", "\x1b[0m"),
    ],
)
def test_keys_that_no_file_gets(key: str) -> None:
    assert unusable_key(key)


def _export(folder: Path, records: list[dict[str, Any]]) -> None:
    """The folder of an export with one bucket."""
    place = folder / "buckets" / "0001"
    place.mkdir(parents=True)
    (folder / "bodies").mkdir()
    (folder / "bodies" / "000001.bin").write_bytes(b"contents")
    head = {"format": "hexagone-export", "version": 1, "buckets": ["box"], "tenant": "t"}
    (folder / "export.json").write_text(json.dumps(head))
    lines = "".join(json.dumps(record) + "\n" for record in records)
    (place / "versions.jsonl").write_text(lines)
    told = []
    for path in export_folder.paths_of(folder):
        length, digest = file_digest(folder / path)
        told.append(json.dumps({"path": path, "bytes": length, "sha256": digest}) + "\n")
    (folder / "files.jsonl").write_text("".join(told))
    summary = {"files_sha256": file_digest(folder / "files.jsonl")[1]}
    (folder / "summary.json").write_text(json.dumps(summary))


def record(key: str, **more: Any) -> dict[str, Any]:
    content = b"contents"
    return {
        "key": key,
        "version_id": "null",
        "sequence": 1,
        "current": True,
        "modified_at_ms": 1_000_000,
        "owner_id": "",
        "bytes": len(content),
        "etag": "98bf7d8c15784f0a3d63204441e1e2aa",
        "body": [["000001.bin", 0, len(content)]],
        "sha256": sha256(content).hexdigest(),
        **more,
    }


def test_plain_files_never_leave_their_folder(tmp_path: Path) -> None:
    keys = ["a", "a/b", "c/d", "c", "../e", "/etc/x"]
    _export(tmp_path / "export", [record(key) for key in keys])
    left = list(write_plain(tmp_path / "export", tmp_path / "out", lambda *told: None))
    assert [key for _, key, _ in left] == ["a/b", "c", "../e", "/etc/x"]
    files = sorted(path for path in (tmp_path / "out").rglob("*") if path.is_file())
    assert files == [tmp_path / "out" / "box" / "a", tmp_path / "out" / "box" / "c" / "d"]
    assert files[0].read_bytes() == b"contents" and files[0].stat().st_mtime == 1000


@pytest.mark.parametrize("name", ["../escaped", "/absolute", "..", "a/b", "", ["x"]])
def test_an_export_whose_buckets_would_lead_elsewhere_is_refused(
    tmp_path: Path, name: object
) -> None:
    export = tmp_path / "export"
    _export(export, [record("a")])
    head = json.loads((export / "export.json").read_text())
    for names in ([name], ["box", "box"], "box"):
        (export / "export.json").write_text(json.dumps({**head, "buckets": names}))
        with pytest.raises(ExportFolderInvalid):
            list(write_plain(export, tmp_path / "in" / "out", lambda *told: None))
    assert {path.name for path in tmp_path.iterdir()} == {"export"}


def test_plain_files_are_not_written_through_links(tmp_path: Path) -> None:
    _export(tmp_path / "export", [record("a"), record("c/d")])
    (tmp_path / "out" / "box").mkdir(parents=True)
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "kept").write_bytes(b"kept")
    (tmp_path / "out" / "box" / "a").symlink_to(victim / "kept")
    (tmp_path / "out" / "box" / "c").symlink_to(victim)
    left = list(write_plain(tmp_path / "export", tmp_path / "out", lambda *told: None))
    assert [key for _, key, _ in left] == ["a", "c/d"]
    assert [path.name for path in victim.iterdir()] == ["kept"]
    assert (victim / "kept").read_bytes() == b"kept"


def test_bodies_are_not_read_through_links_nor_backwards(tmp_path: Path) -> None:
    _export(tmp_path / "export", [])
    (tmp_path / "secret").write_bytes(b"of the operator")
    (tmp_path / "export" / "bodies" / "000002.bin").symlink_to(tmp_path / "secret")
    reader = BodyReader(tmp_path / "export")
    wrong: list[list[Extent]] = [
        [["000002.bin", 0, 5]],
        [["000001.bin", -1, 5]],
        [["000001.bin", 0, -1]],
        [["..", 0, 1]],
    ]
    for extents in wrong:
        with pytest.raises((ExportDamaged, ExportFolderFailed)):
            list(reader.pieces(extents))


def test_a_manifest_that_is_too_large_or_too_deep_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "export.json"
    path.write_bytes(b'{"a": ' + b"[" * 200_000 + b"]" * 200_000 + b"}")
    with pytest.raises(ExportDamaged):
        read_json(path)
    monkeypatch.setattr(export_folder, "DOCUMENT_BYTES_MAX", 1000)
    path.write_bytes(b'{"a": "' + b"x" * 1000 + b'"}')
    with pytest.raises(ExportDamaged, match="larger"):
        read_json(path)


@pytest.mark.proves("E-04")
def test_what_is_wrong_with_an_export_is_told(tmp_path: Path) -> None:
    _export(tmp_path / "good", [record("a"), record("m", delete_marker=True)])
    assert verify_export(tmp_path / "good", lambda *told: None).problems == []
    wrong = [
        record("length", body=[["000001.bin", 0, 7]]),
        record("digest", body=[["000001.bin", 1, 7], ["000001.bin", 0, 1]]),
        record("etag", etag="0" * 32),
        record("nowhere", body=[["../export.json", 0, 8]]),
        record("short", body=[["000001.bin", 4, 8]]),
        record("shape", body="x"),
    ]
    _export(tmp_path / "wrong", wrong)
    (tmp_path / "wrong" / "bodies" / "more.bin").write_bytes(b"")
    (tmp_path / "outside").write_bytes(b"")
    with (tmp_path / "wrong" / "files.jsonl").open("ab") as lines:
        told = {"path": "../outside", "bytes": 0, "sha256": sha256(b"").hexdigest()}
        lines.write(json.dumps(told).encode() + b"\n")
    problems = verify_export(tmp_path / "wrong", lambda *told: None).problems
    assert problems.pop(0) == "files.jsonl is not the one that summary.json names"
    assert problems.pop(0) == "../outside is not of the export"
    assert problems[0] == "bodies/more.bin is not of the export"
    assert [one.split("/")[3].split(" ")[0] for one in problems[1:]] == [
        one["key"] for one in wrong
    ]


def test_an_export_that_is_whole_is_not_told_as_one_of_now(tmp_path: Path) -> None:
    _export(tmp_path / "export", [record("a")])
    client = AdminClient(tmp_path / "no.sock")
    wanted = Asked(
        folder=tmp_path / "export", tenant="t", buckets=(), customer_keys=(), resume=False
    )
    again = Exporter(client, wanted)
    assert not again.is_whole
    with pytest.raises(ExportFolderInvalid, match="an export is there") as refused:
        again.begin()
    assert "new or empty folder" in (refused.value.hint or "")
    assert Exporter(client, replace(wanted, resume=True)).is_whole


def test_a_folder_that_is_not_there_is_said_in_words_that_are_translated(tmp_path: Path) -> None:
    with pytest.raises(ExportFolderFailed, match="no such file or folder"):
        export_folder.read_json(tmp_path / "export.json")
