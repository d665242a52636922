"""Every key that a test run uses is a canary: with `pytest --canaries` it is looked for in whatever
the run says.

`install` has every key noted when it is first used: keys that seal or are derived from, in
`cryptography`, seeds that sign, signing keys of days. Looked through are log events of any level,
Hexagone's errors with their fields when they are made, what tests capture, and `repr` of the
program's objects at the end of each module of tests. A test that a key is found in fails.

Not for other processes, whose keys nobody here knows: `tests/adversaries/test_real_cluster.py`
searches a cluster's. Not for keys that tests write out themselves.
"""

from __future__ import annotations

import ast
import base64
import gc
import logging
import re
from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import Any

import pytest

KEY_BYTES = 32
KNOWN_BYTES = 27  # of a key, from its start: whole groups of base64, more than an id or a salt has
DISTINCT_MIN = 12  # fewer different bytes are a test's own: bytes(32), b"k" * 32
KEYS_MAX = 1_000_000
REPRS_MAX = 20  # of one class
FOUND_MAX = 20
_HEX = re.compile(r"[0-9a-fA-F]{54,}")
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{36,}")
_LITERAL = re.compile(r"b'(?:[^'\\\n]|\\.)*'|b\"(?:[^\"\\\n]|\\.)*\"")
_LIST = re.compile(r"(?:\d{1,3}, ){26,}\d{1,3}")

_known: set[bytes] = set()
_public: set[bytes] = set()
_found: list[str] = []


def plant(key: bytes) -> None:
    """Note a key that is in use."""
    if len(key) < KEY_BYTES or len(_known) > KEYS_MAX:
        return
    start = bytes(key[:KNOWN_BYTES])
    steps = {(after - before) & 255 for before, after in pairwise(start)}
    if len(set(start)) >= DISTINCT_MIN and len(steps) > 1:
        _known.add(start)


def publish(owner_id: str) -> None:
    """Note an id that everybody may see. Simulated randomness gives ids the bytes of keys that were
    drawn elsewhere under the same seed.
    """
    if _HEX.fullmatch(owner_id):
        _public.update(_runs(owner_id))


def _runs(text: str) -> Iterable[bytes]:
    """Bytes that a text may tell, at every place where a key could begin."""
    for match in _HEX.finditer(text):
        run = match[0]
        for at in range(len(run) - 2 * KNOWN_BYTES + 1):
            yield bytes.fromhex(run[at : at + 2 * KNOWN_BYTES])
    for match in _BASE64.finditer(text):
        run = match[0].replace("-", "+").replace("_", "/")
        for at in range(len(run) - 35):
            yield base64.b64decode(run[at : at + 36])
    for match in _LITERAL.finditer(text):
        try:
            told = ast.literal_eval(match[0])
        except (ValueError, SyntaxError):
            continue
        yield from (told[at : at + KNOWN_BYTES] for at in range(len(told) - KNOWN_BYTES + 1))
    for match in _LIST.finditer(text):
        numbers = [int(one) & 255 for one in match[0].split(", ")]
        yield from (bytes(numbers[at : at + KNOWN_BYTES]) for at in range(len(numbers) - 26))


def tells(text: str) -> bool:
    """Whether a key that was in use is in a text."""
    return bool(_known) and any(start in _known and start not in _public for start in _runs(text))


def look(where: str, text: str) -> None:
    """Note that a text tells a key; never the text itself."""
    if tells(text) and len(_found) < FOUND_MAX:
        _found.append(where)


def taken() -> list[str]:
    """What was found since it was last asked."""
    found = _found.copy()
    _found.clear()
    return found


def end_module() -> None:
    """Look at what its tests have made, and forget its keys: the next module's simulated randomness
    gives the same bytes to what is no key.
    """
    _look_through_objects()
    _known.clear()


def _look_through_objects() -> None:
    """`repr` of some objects of each class of the program that there are."""
    seen: dict[type, int] = {}
    for one in gc.get_objects():
        kind = type(one)
        if kind.__repr__ is object.__repr__ or not _is_ours(kind):
            continue
        seen[kind] = seen.get(kind, 0) + 1
        if seen[kind] <= REPRS_MAX:
            try:
                told = repr(one)
            except Exception:  # half made, or of a cluster that is closed
                continue
            look(f"repr of {kind.__module__}.{kind.__qualname__}", told)


def _is_ours(kind: type) -> bool:
    module = getattr(kind, "__module__", None)
    return isinstance(module, str) and module.partition(".")[0] in ("gateway", "storaged")


class _Expand:
    """HKDFExpand that notes the key it derives from."""

    def __init__(self, real: Any, *arguments: Any, **named: Any) -> None:
        self._real = real(*arguments, **named)

    def derive(self, key: bytes) -> bytes:
        """As HKDFExpand."""
        plant(key)
        derived: bytes = self._real.derive(key)
        return derived


def _planting(call: Callable[..., Any], which: int) -> Callable[..., Any]:
    """A call that notes one of its arguments as a key first."""

    def planted(*arguments: Any, **named: Any) -> Any:
        plant(arguments[which])
        return call(*arguments, **named)

    return planted


def install() -> None:
    """Before the first import of the program: its modules keep what they have imported by name."""
    from cryptography.hazmat.primitives.ciphers import aead
    from cryptography.hazmat.primitives.kdf import hkdf

    real = hkdf.HKDFExpand
    vars(aead)["AESGCM"] = _planting(aead.AESGCM, 0)
    vars(hkdf)["HKDFExpand"] = lambda *arguments, **named: _Expand(real, *arguments, **named)

    from gateway.data import credential_sealing
    from gateway.journal.notes import SignerKey
    from gateway.meta.accounts import Tenant
    from gateway.s3 import sigv4
    from storaged.base.errors import StorageError
    from storaged.base.log import Log

    setattr(SignerKey, "__init__", _planting(SignerKey.__init__, 2))  # noqa: B010
    for module, name in (
        (sigv4, "derive_signing_key"),
        (credential_sealing, "derived_signing_key"),
    ):
        vars(module)[name] = _planting_result(vars(module)[name])

    _publish_owner_ids(Tenant)
    made, wrote = StorageError.__init__, Log._write

    def look_at_error(self: StorageError, **fields: object) -> None:
        made(self, **fields)
        look(f"error {type(self).__name__}", f"{self} {fields!r}")

    def look_at_event(self: Log, level: int, event: str, fields: Any, error: Any = None) -> None:
        look(f"log event {event!r}", " ".join([event, *map(str, fields.values()), str(error)]))
        wrote(self, level, event, fields, error)

    setattr(StorageError, "__init__", look_at_error)  # noqa: B010
    setattr(Log, "_write", look_at_event)  # noqa: B010
    _look_at_the_rest()


def _look_at_the_rest() -> None:
    """Logs of others than the program, and output that tests take for themselves."""
    record, taken_out = logging.getLogRecordFactory(), pytest.CaptureFixture.readouterr

    def look_at_record(*arguments: Any, **named: Any) -> logging.LogRecord:
        told = record(*arguments, **named)
        look(f"log of {told.name}", told.getMessage())
        return told

    def look_at_output(self: Any) -> Any:
        told = taken_out(self)
        look("captured output", f"{told.out} {told.err}")
        return told

    logging.setLogRecordFactory(look_at_record)
    setattr(pytest.CaptureFixture, "readouterr", look_at_output)  # noqa: B010


def _publish_owner_ids(tenant: type) -> None:
    made = tenant.__init__

    def publishing(self: Any, **fields: Any) -> None:
        made(self, **fields)
        publish(fields["owner_id"])

    setattr(tenant, "__init__", publishing)  # noqa: B010


def _planting_result(call: Callable[..., bytes]) -> Callable[..., bytes]:
    def planted(*arguments: Any, **named: Any) -> bytes:
        made = call(*arguments, **named)
        plant(made)
        return made

    return planted
