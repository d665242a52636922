"""Lines of events: what is in them, what never is, and that no byte of one can be changed."""

from __future__ import annotations

import pytest

from gateway.journal.events import (
    TEXT_CHARACTERS_MAX,
    EntryInvalid,
    Event,
    NameHasher,
    Phase,
    check_line,
    encode_line,
    read_line,
)
from tests.support.journal_rig import NAMES, event

SALT = bytes(range(16))
NASTY = "\r\nforged line\x1b[2J\u202e\x00\t" + "x" * 2000


def test_a_line_is_read_as_it_was_written() -> None:
    line, leaf = encode_line(7, event(3, status=200), SALT, NAMES)
    entry = read_line(line, 7)
    assert (entry.seq, entry.at_ms, entry.type) == (7, 1_790_000_000_003, "s3.PutBucketPolicy")
    assert (entry.phase, entry.leaf, check_line(line, 7)) == ("intent", leaf, leaf)
    assert entry.body["status"] == 200 and entry.body["salt"] == SALT.hex()


def test_e_03_names_are_only_there_as_keyed_hashes() -> None:
    line, _ = encode_line(0, event(3), SALT, NAMES)
    assert b"bucket-name" not in line and b"key-3" not in line
    body = read_line(line, 0).body
    assert body["bucket"] == NAMES.bucket("bucket")
    assert body["key"] == NAMES.key("bucket", "key-3")
    other = NameHasher(b"o" * 32)
    assert other.key("bucket", "key-3") != body["key"] and other.bucket("bucket") != body["bucket"]
    assert NAMES.key("a", "b/c") != NAMES.key("a/b", "c")
    assert repr(NAMES) == "NameHasher(…)"


def test_jrn_03_what_clients_choose_cannot_break_a_line() -> None:
    made = Event(1, "s3.GetObject", Phase.ACCESS, {"who": NASTY}, "b\n", "k\udcff\n")
    line, _ = encode_line(0, made, SALT, NAMES)
    assert line.count(b"\n") == 1 and line.isascii() and b"\x1b" not in line
    assert line.count(b"\t") == 1
    who = read_line(line, 0).body["who"]
    assert who == NASTY[:TEXT_CHARACTERS_MAX]


@pytest.mark.parametrize("name", ["\ud800", "\udcff\ud800", "a\udfff"])
def test_jrn_03_a_name_that_no_bytes_make_is_hashed_as_any_other(name: str) -> None:
    line, _ = encode_line(0, Event(1, "s3.GetObject", Phase.ACCESS, {}, name, name), SALT, NAMES)
    body = read_line(line, 0).body
    assert body["bucket"] == NAMES.bucket(name) != NAMES.bucket("\ud801")
    assert body["key"] == NAMES.key(name, name)
    assert NAMES.bucket("k\udcff") != NAMES.bucket("k\ud800")


def test_jrn_01_no_byte_of_a_line_can_be_changed() -> None:
    line, _ = encode_line(7, event(3), SALT, NAMES)
    for at in range(len(line)):
        for bit in (1, 0x80):
            changed = bytearray(line)
            changed[at] ^= bit
            with pytest.raises(EntryInvalid):
                read_line(bytes(changed), 7)
        with pytest.raises(EntryInvalid):
            read_line(line[:at], 7)
        with pytest.raises(EntryInvalid):
            read_line(line[:at] + b"x" + line[at:], 7)


def test_jrn_01_a_line_stands_at_its_own_place_only() -> None:
    line, _ = encode_line(7, event(3), SALT, NAMES)
    with pytest.raises(EntryInvalid, match="event 7 stands here"):
        check_line(line, 8)
