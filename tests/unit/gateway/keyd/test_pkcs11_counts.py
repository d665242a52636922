"""How often a key of a token wraps is never forgotten: by a crash, an import, a lost record."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.keyd import pkcs11_counts
from gateway.keyd.pkcs11_keyring import Pkcs11Keyring
from gateway.keyd.pkcs11_port import WrapLimitReached
from gateway.keyd.pkcs11_record_file import RECORD_FILE
from storaged.base.env import RealEnv
from tests.support.memory_token import MemoryToken
from tests.support.softhsm import SealingSecret

ALICE, PHOTOS = b"alice".ljust(16, b"."), b"photos".ljust(16, b".")
KEY = bytes(range(32))


@pytest.fixture
def env() -> RealEnv:
    return RealEnv(threads_max=1)


@pytest.fixture
def token() -> MemoryToken:
    return MemoryToken()


@pytest.fixture
def opened(tmp_path: Path, token: MemoryToken, env: RealEnv) -> Callable[[], Pkcs11Keyring]:
    return lambda: Pkcs11Keyring(tmp_path / "keys", SealingSecret(), token, env)


Opened = Callable[[], Pkcs11Keyring]


@pytest.mark.proves("K-02")
def test_a_key_wraps_so_often_and_then_says_to_rotate(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pkcs11_counts, "WRAPS_MAX", 40)
    provider = opened()
    provider.create_tenant_key(ALICE)
    done: list[bytes] = []
    with pytest.raises(WrapLimitReached) as refused:
        while len(done) < 100:
            done.append(provider.wrap_bucket_key(ALICE, PHOTOS, 1, KEY))
    assert len(done) == 39  # one went into making the key
    assert "rotate" in (refused.value.hint or "")
    assert provider.unwrap_bucket_key(ALICE, PHOTOS, 1, done[-1]) == KEY
    with pytest.raises(WrapLimitReached):
        opened().wrap_bucket_key(ALICE, PHOTOS, 1, KEY)
    provider.add_tenant_epoch(ALICE)
    provider.wrap_bucket_key(ALICE, PHOTOS, 1, KEY, 2)


def test_no_wrap_is_forgotten_by_a_crash(
    opened: Opened, monkeypatch: pytest.MonkeyPatch, token: MemoryToken
) -> None:
    """However often the service dies, the token never encrypts oftener than the limit."""
    monkeypatch.setattr(pkcs11_counts, "WRAPS_MAX", 500)
    provider = opened()
    provider.create_tenant_key(ALICE)
    for run in range(200):
        try:
            for _ in range(run % 7):
                opened_again = provider if run % 3 else opened()
                opened_again.wrap_bucket_key(ALICE, PHOTOS, 1, KEY)
        except WrapLimitReached:
            break
        provider = opened()
    else:
        pytest.fail("never refused")
    assert token.calls.count("encrypt") <= 500


@pytest.mark.proves("K-02")
def test_a_copy_that_counts_more_counts_for_a_service_that_is_running(
    opened: Opened,
    token: MemoryToken,
    tmp_path: Path,
    env: RealEnv,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A replica has wrapped with the same key meanwhile: together they do it no oftener."""
    monkeypatch.setattr(pkcs11_counts, "WRAPS_MAX", 500)
    monkeypatch.setattr(pkcs11_counts, "BEHIND_MAX", 10)
    provider = opened()
    provider.create_tenant_key(ALICE)
    provider.wrap_bucket_key(ALICE, PHOTOS, 1, KEY)
    other = Pkcs11Keyring(tmp_path / "other", SealingSecret(), token, env)
    other.import_sealed(provider.export_sealed())
    for _ in range(200):
        other.wrap_bucket_key(ALICE, PHOTOS, 1, KEY)
    provider.import_sealed(other.export_sealed())
    with pytest.raises(WrapLimitReached):
        for _ in range(500):
            provider.wrap_bucket_key(ALICE, PHOTOS, 1, KEY)
    assert token.calls.count("encrypt") <= 500


@pytest.mark.proves("K-02")
def test_a_record_that_was_lost_counts_what_its_copy_cannot_know(
    opened: Opened, token: MemoryToken, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pkcs11_counts, "WRAPS_MAX", 1000)
    monkeypatch.setattr(pkcs11_counts, "BEHIND_MAX", 200)
    monkeypatch.setattr(pkcs11_counts, "RESERVED_MAX", 50)
    provider = opened()
    provider.create_tenant_key(ALICE)
    copies = 0
    copy = provider.export_sealed()
    try:
        for number in range(1, 5000):
            provider.wrap_bucket_key(ALICE, PHOTOS, 1, KEY)
            if not provider.is_whole(copy):
                copy, copies = provider.export_sealed(), copies + 1
            if number % 97 == 0:  # the record is gone, the copy is what the log has
                for path in tmp_path.rglob(RECORD_FILE):
                    path.unlink()
                provider = opened()
                provider.import_sealed(copy)
    except WrapLimitReached:
        pass
    assert copies > 2
    assert 300 < token.calls.count("encrypt") <= 1000


def test_imports_of_its_own_copy_use_no_wraps_up(opened: Opened) -> None:
    provider = opened()
    provider.create_tenant_key(ALICE)
    for _ in range(5):
        provider.wrap_bucket_key(ALICE, PHOTOS, 1, KEY)
        provider.import_sealed(provider.export_sealed())
    (held,) = provider._file.record.values()
    assert held.wraps <= 1 + 16 + 16
