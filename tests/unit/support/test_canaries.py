"""Keys that are in use are seen wherever a test run tells one; so a run in which none is seen says
something.
"""

from __future__ import annotations

import base64
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import pytest

from tests.support import canaries

ROOT = Path(__file__).resolve().parents[3]
KEY = sha256(b"canary of the tests of canaries").digest()
FORMS = {
    "hex": KEY.hex(),
    "HEX": KEY.hex().upper(),
    "base64": base64.b64encode(KEY).decode(),
    "url": base64.urlsafe_b64encode(KEY).decode(),
    "bytes": repr(KEY),
    "bytearray": repr(bytearray(KEY)),
    "list": repr(list(KEY)),
    "tuple": repr(tuple(KEY)),
}
RUN = """
import logging
from dataclasses import dataclass
from hashlib import sha256

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from gateway.data.cipher import expand
from gateway.journal.notes import ED25519, SignerKey
from gateway.s3.sigv4 import derive_signing_key
from storaged.base.errors import StorageError
from storaged.base.log import Log

KEYS = [sha256(bytes([number])).digest() for number in range(5)]
HELD = []


@dataclass
class Telling:
    key: bytes


Telling.__module__ = "gateway.planted"
expand(KEYS[0], b"label")


@pytest.mark.parametrize("tell", [
    lambda: print(KEYS[0].hex()),
    lambda: Log("x").debug("told", key=KEYS[0]),
    lambda: logging.getLogger("somebody").warning("told %r", KEYS[0]),
    lambda: StorageError(key=KEYS[0]),
    lambda: print(SignerKey(ED25519, KEYS[1]), KEYS[1]),
    lambda: print(AESGCM(KEYS[2]), KEYS[2]),
    lambda: print(derive_signing_key("x", date="20261123", region="fr").hex()),
])
def test_telling(tell):
    tell()


def test_silent():
    print("harmless", KEYS[3].hex(), "is in use nowhere")
    expand(KEYS[4], b"label")


def test_the_last_is_told_by_a_repr():
    HELD.append(Telling(KEYS[4]))
"""


@pytest.mark.proves("CRY-17", "C14")
@pytest.mark.parametrize("form", FORMS)
def test_a_key_is_seen_in_every_form(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(canaries, "_known", set())
    assert not canaries.tells(FORMS[form])
    canaries.plant(KEY)
    assert canaries.tells(f"before {FORMS[form]} behind") and canaries.tells(f"x{FORMS[form]}")
    assert not canaries.tells(FORMS[form][::-1])


@pytest.mark.proves("CRY-17", "C14")
def test_a_run_in_which_a_key_is_told_fails(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(RUN)
    (tmp_path / "conftest.py").write_text("from tests.conftest import *\n")
    words = ["-p", "no:cacheprovider", "-o", f"pythonpath={ROOT}", "--rootdir", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--canaries", *words, str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert "7 failed, 2 passed, 1 error" in done.stdout, done.stdout + done.stderr
    for where in ("Captured stdout", "log event", "log of somebody", "error Storage", "repr of"):
        assert where in done.stdout
