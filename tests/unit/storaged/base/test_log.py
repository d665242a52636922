"""Logs: no forged lines, no floods, no secrets."""

from __future__ import annotations

import io
import json
import logging
import pickle
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storaged.base.log import (
    FIELD_CHARS_MAX,
    FIELDS_MAX,
    Log,
    LogFormat,
    Secret,
    clean,
    configure_logs,
    request_id,
)


@pytest.fixture(autouse=True)
def _restore() -> Iterator[None]:
    root = logging.getLogger()
    before, level = list(root.handlers), root.level
    yield
    root.handlers[:] = before
    root.setLevel(level)


def _write(format: LogFormat, event: str, **fields: object) -> str:
    stream = io.StringIO()
    configure_logs(format, stream=stream)
    Log("test").info(event, **fields)
    return stream.getvalue()


def test_json_keeps_numbers_and_names() -> None:
    entry = json.loads(_write(LogFormat.JSON, "stored", count=5, ok=True, part=0.5, who="p1"))
    assert (entry["event"], entry["level"], entry["component"]) == ("stored", "info", "test")
    assert (entry["count"], entry["ok"], entry["part"], entry["who"]) == (5, True, 0.5, "p1")
    assert entry["time"].endswith("Z") and len(entry["time"]) == 24


def test_a_field_cannot_replace_what_the_log_says_itself() -> None:
    entry = json.loads(_write(LogFormat.JSON, "stored", level="x", component="y", time="z"))
    assert (entry["level"], entry["component"]) == ("info", "test") and entry["time"] != "z"


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=60))
def test_whatever_a_field_holds_a_line_stays_one_printable_line(text: str) -> None:
    for format in (LogFormat.JSON, LogFormat.TEXT):
        line = _write(format, "event", value=text)
        assert line.endswith("\n") and line[:-1].isprintable()


def test_line_breaks_and_escapes_are_shown_not_sent() -> None:
    line = _write(LogFormat.TEXT, "event", value="a\r\nERROR forged\x1b[2J\u2028")
    assert "value=a\\r\\nERROR forged\\x1b[2J\\u2028" in line


def test_long_values_and_many_fields_are_cut() -> None:
    assert len(clean("x" * 10_000)) == FIELD_CHARS_MAX + 1
    entry = json.loads(_write(LogFormat.JSON, "event", **{f"f{n}": n for n in range(100)}))
    assert sum(name.startswith("f") for name in entry) == FIELDS_MAX


def test_the_request_id_is_on_every_line() -> None:
    token = request_id.set("r-1")
    try:
        assert json.loads(_write(LogFormat.JSON, "event"))["request_id"] == "r-1"
    finally:
        request_id.reset(token)
    assert "request_id" not in _write(LogFormat.JSON, "event")


def test_a_secret_shows_nothing() -> None:
    secret = Secret(b"hunter2")
    shown = f"{secret} {secret!r} {secret!s:>30} {[secret]} {clean(secret)}"
    assert "hunter2" not in shown + _write(LogFormat.JSON, "event", key=secret)
    with pytest.raises(TypeError):
        pickle.dumps(secret)
    assert secret.reveal() == b"hunter2"


@pytest.mark.parametrize("format", [LogFormat.JSON, LogFormat.TEXT])
def test_an_error_brings_its_traceback(format: LogFormat) -> None:
    stream = io.StringIO()
    configure_logs(format, stream=stream)
    try:
        raise ValueError("what\nhappened")
    except ValueError as error:
        Log("test").error("failed", error=error)
    assert "ValueError" in stream.getvalue()
    first = stream.getvalue().splitlines()[0]
    assert "failed" in first


def test_auto_is_json_when_nobody_watches() -> None:
    json.loads(_write(LogFormat.AUTO, "event"))
