"""The PKCS#11 provider over a token that fails: crashes between record and token, full tokens,
foreign keys, counts of wraps, and what can be made of its bytes without the token.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.data.envelope import SealInvalid, TenantKeyDisabled, TenantKeyMissing
from gateway.data.keyring import FileKeyring, KeyringInvalid
from gateway.keyd.pkcs11_keyring import KeyInUse, Pkcs11Keyring
from gateway.keyd.pkcs11_port import (
    HsmFull,
    HsmKeyMissing,
    HsmKeyUnfit,
    HsmUnavailable,
)
from gateway.keyd.pkcs11_record import KeysNotInToken, Phase
from gateway.keyd.pkcs11_record_file import RECORD_FILE
from gateway.keyd.pkcs11_sealing import HEAD_BYTES, SHARED_S
from gateway.model.encoding import enc
from gateway.model.key_states import KeyState
from storaged.base.env import RealEnv
from storaged.base.errors import Kind
from tests.support.key_states import destroy_epoch
from tests.support.memory_token import MemoryToken
from tests.support.softhsm import SealingSecret

ALICE, BOB = b"alice".ljust(16, b"."), b"bob".ljust(16, b".")
PHOTOS = b"photos".ljust(16, b".")
KEY, OTHER_KEY = bytes(range(32)), bytes(range(32, 64))
AWAY = HsmUnavailable(reason="test")


class Clock(RealEnv):
    """Time stands until a test moves it."""

    def __init__(self) -> None:
        super().__init__(threads_max=1)
        self.now_s = 1000.0

    def monotonic_s(self) -> float:
        return self.now_s


@pytest.fixture
def env() -> Clock:
    return Clock()


@pytest.fixture
def token() -> MemoryToken:
    return MemoryToken()


@pytest.fixture
def opened(tmp_path: Path, token: MemoryToken, env: Clock) -> Callable[[], Pkcs11Keyring]:
    return lambda: Pkcs11Keyring(tmp_path / "keys", SealingSecret(), token, env)


Opened = Callable[[], Pkcs11Keyring]


# -- crashes


@pytest.mark.proves("CRY-11", "CRY-14")
@pytest.mark.parametrize(("verb", "moment"), [("ensure_key", "before"), ("ensure_key", "after")])
def test_a_crash_while_a_key_is_made_leaves_one_that_the_next_call_finishes(
    opened: Opened, token: MemoryToken, verb: str, moment: str
) -> None:
    with token.failing(verb, **{moment: AWAY}), pytest.raises(HsmUnavailable):
        opened().create_tenant_key(ALICE)
    provider = opened()
    assert provider.tenant_epochs(ALICE) == []
    with pytest.raises(TenantKeyMissing):
        provider.wrap_bucket_key(ALICE, PHOTOS, 1, KEY)
    (key_id,) = provider.unfinished()
    assert provider.orphans_among(token.keys("")) == []
    provider.create_tenant_key(ALICE)
    assert list(token.held) == [key_id]
    assert provider.unfinished() == []
    wrapped = provider.wrap_bucket_key(ALICE, PHOTOS, 1, KEY)
    assert opened().unwrap_bucket_key(ALICE, PHOTOS, 1, wrapped) == KEY


@pytest.mark.proves("CRY-14")
@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_crash_while_a_key_is_erased_leaves_it_refused_and_then_erased(
    opened: Opened, token: MemoryToken, moment: str
) -> None:
    provider = opened()
    provider.create_tenant_key(ALICE)
    wrapped = provider.wrap_bucket_key(ALICE, PHOTOS, 1, KEY)
    with token.failing("destroy_key", **{moment: AWAY}), pytest.raises(HsmUnavailable):
        destroy_epoch(provider, ALICE, 1)
    for again in (provider, opened()):
        assert [about.state for about in again.tenant_epochs(ALICE)] == [KeyState.DISABLED]
        with pytest.raises(TenantKeyDisabled):
            again.unwrap_bucket_key(ALICE, PHOTOS, 1, wrapped)
        with pytest.raises(TenantKeyMissing):
            again.set_tenant_epoch(ALICE, 1, KeyState.ACTIVE)  # what was approved is not taken back
    provider = opened()
    provider.begin()
    assert token.held == {}
    assert [about.state for about in provider.tenant_epochs(ALICE)] == [KeyState.DESTROYED]


def test_erasing_that_failed_is_finished_by_the_same_call(
    opened: Opened, token: MemoryToken
) -> None:
    provider = opened()
    provider.create_tenant_key(ALICE)
    with token.failing("destroy_key", before=AWAY), pytest.raises(HsmUnavailable):
        destroy_epoch(provider, ALICE, 1)
    provider.set_tenant_epoch(ALICE, 1, KeyState.DESTROYED)
    assert provider.tenant_epochs(ALICE)[0].state is KeyState.DESTROYED
    assert token.held == {}


def test_a_token_that_is_away_at_the_start_is_no_reason_not_to_start(
    opened: Opened, token: MemoryToken
) -> None:
    opened().create_tenant_key(ALICE)
    provider = opened()
    with token.failing("ready", before=AWAY):
        provider.begin()
    assert provider.active_epoch(ALICE) == 1


# -- a full token, a foreign key


@pytest.mark.proves("CRY-14")
def test_a_full_token_refuses_and_loses_nothing(opened: Opened, token: MemoryToken) -> None:
    provider = opened()
    provider.create_tenant_key(ALICE)
    wrapped = provider.wrap_bucket_key(ALICE, PHOTOS, 1, KEY)
    with token.failing("ensure_key", before=HsmFull()):
        for make in (
            lambda: provider.create_tenant_key(BOB),
            lambda: provider.add_tenant_epoch(ALICE),
            lambda: provider.create_named_key(ALICE, "letters"),
        ):
            with pytest.raises(HsmFull) as refused:
                make()
            assert refused.value.kind is Kind.EXHAUSTED
    assert provider.tenant_epochs(BOB) == []
    assert not provider.has_named_key(ALICE, "letters")
    assert provider.unwrap_bucket_key(ALICE, PHOTOS, 1, wrapped) == KEY
    assert provider.add_tenant_epoch(ALICE) == 2
    provider.create_named_key(ALICE, "letters")
    assert len(token.held) == 3


@pytest.mark.proves("K-08", "B-05")
def test_a_token_without_the_key_opens_nothing(opened: Opened, token: MemoryToken) -> None:
    provider = opened()
    provider.create_tenant_key(ALICE)
    wrapped = provider.wrap_bucket_key(ALICE, PHOTOS, 1, KEY)
    token.held.clear()
    with pytest.raises(HsmKeyMissing):
        provider.unwrap_bucket_key(ALICE, PHOTOS, 1, wrapped)
    with pytest.raises(HsmKeyMissing):
        provider.wrap_bucket_key(ALICE, PHOTOS, 1, KEY)


@pytest.mark.proves("K-08")
def test_another_key_under_the_same_id_is_not_used(opened: Opened, token: MemoryToken) -> None:
    provider = opened()
    provider.create_tenant_key(ALICE)
    wrapped = provider.wrap_bucket_key(ALICE, PHOTOS, 1, KEY)
    ((key_id, (_, label)),) = token.held.items()
    token.held[key_id] = bytes(32), label
    with pytest.raises(HsmKeyUnfit):
        provider.wrap_bucket_key(ALICE, PHOTOS, 1, KEY)
    with pytest.raises(HsmKeyUnfit):
        provider.unwrap_bucket_key(ALICE, PHOTOS, 1, wrapped)


@pytest.mark.proves("CRY-09")
def test_what_does_not_open_is_no_reason_to_try_again(opened: Opened, token: MemoryToken) -> None:
    provider = opened()
    provider.create_tenant_key(ALICE)
    wrapped = provider.wrap_bucket_key(ALICE, PHOTOS, 1, KEY)
    token.calls.clear()
    with pytest.raises(SealInvalid) as refused:
        provider.unwrap_bucket_key(ALICE, PHOTOS, 2, wrapped)
    assert not refused.value.retryable
    assert token.calls == ["decrypt", "decrypt"]  # the second one asks whether the token works


# -- orphans


def test_keys_that_no_record_names_are_told_of_and_erased(
    opened: Opened, token: MemoryToken
) -> None:
    provider = opened()
    provider.create_tenant_key(ALICE)
    (used,) = token.held
    orphan = b"orphan".ljust(16, b".")
    token.ensure_key(orphan, provider.label_prefix + "of a record that was lost")
    token.ensure_key(b"of another", "vendor's own")
    found = token.keys(provider.label_prefix)
    assert [key.key_id for key in provider.orphans_among(found)] == [orphan]
    with pytest.raises(KeyInUse):
        provider.erase_orphan(used)
    provider.erase_orphan(orphan)
    assert set(token.held) == {used, b"of another"}


def test_without_a_record_every_key_may_be_in_use(
    opened: Opened, token: MemoryToken, tmp_path: Path
) -> None:
    opened().create_tenant_key(ALICE)
    (used,) = token.held
    (tmp_path / "keys" / RECORD_FILE).unlink()
    with pytest.raises(KeyInUse):
        opened().erase_orphan(used)
    assert set(token.held) == {used}


# -- named keys


def test_a_named_key_asks_the_token_once_for_many_secrets(
    opened: Opened, token: MemoryToken, env: Clock
) -> None:
    provider = opened()
    provider.create_tenant_key(ALICE)
    provider.create_named_key(ALICE, "letters")
    token.calls.clear()
    wrapped = [provider.wrap_named(ALICE, "letters", enc("p", n), KEY) for n in range(50)]
    assert token.calls.count("encrypt") == 1
    token.calls.clear()
    for number, one in enumerate(wrapped):
        assert provider.unwrap_named(ALICE, "letters", enc("p", number), one) == KEY
    assert token.calls == ["decrypt"]
    env.now_s += SHARED_S + 1
    assert provider.unwrap_named(ALICE, "letters", enc("p", 0), wrapped[0]) == KEY
    provider.wrap_named(ALICE, "letters", enc("p", 0), KEY)
    assert token.calls.count("encrypt") == 1
    assert token.calls.count("decrypt") == 4  # again, the key's check, and what was just sealed


@pytest.mark.proves("CRY-02")
def test_the_commitment_is_compared_on_a_cached_open_too(opened: Opened) -> None:
    provider = opened()
    provider.create_tenant_key(ALICE)
    provider.create_named_key(ALICE, "letters")
    wrapped = provider.wrap_named(ALICE, "letters", b"place", KEY)
    assert provider.unwrap_named(ALICE, "letters", b"place", wrapped) == KEY
    for at in (HEAD_BYTES + 5, HEAD_BYTES + 40, len(wrapped) - 1):
        changed = wrapped[:at] + bytes([wrapped[at] ^ 1]) + wrapped[at + 1 :]
        with pytest.raises(SealInvalid):
            provider.unwrap_named(ALICE, "letters", b"place", changed)
    with pytest.raises(SealInvalid):
        provider.unwrap_named(ALICE, "letters", b"another place", wrapped)


def test_a_destroyed_key_is_not_in_any_cache(opened: Opened) -> None:
    provider = opened()
    provider.create_tenant_key(ALICE)
    provider.create_named_key(ALICE, "letters")
    wrapped = provider.wrap_named(ALICE, "letters", b"place", KEY)
    provider.unwrap_named(ALICE, "letters", b"place", wrapped)
    destroy_epoch(provider, ALICE, 1)
    assert repr(provider._sealing) == "TokenSealing(0 held)"
    assert provider._sealing._shared == {}


# -- the record


def test_keys_of_a_sealed_file_are_not_brought_into_a_token(
    opened: Opened, tmp_path: Path, env: Clock
) -> None:
    of_file = FileKeyring(tmp_path / "file", SealingSecret(), env)
    of_file.create_tenant_key(ALICE)
    provider = opened()
    with pytest.raises(KeysNotInToken) as refused:
        provider.import_sealed(of_file.export_sealed())
    assert "hexagone keys move" in (refused.value.hint or "")
    assert provider.tenant_epochs(ALICE) == []


def test_the_record_holds_no_key_and_opens_under_its_secret_only(
    opened: Opened, token: MemoryToken, tmp_path: Path, env: Clock
) -> None:
    provider = opened()
    provider.create_tenant_key(ALICE)
    content = (tmp_path / "keys" / RECORD_FILE).read_bytes()
    assert (tmp_path / "keys" / RECORD_FILE).stat().st_mode & 0o777 == 0o600
    ((key_id, (key, _)),) = token.held.items()
    assert key_id not in content and key not in content and ALICE not in content
    opened_record = provider._file.opened(provider.export_sealed())
    (held,) = opened_record.values()
    assert (held.key_id, held.phase) == (key_id, Phase.HELD)
    assert key not in held.check and "check" not in repr(held)
    with pytest.raises(KeyringInvalid):
        Pkcs11Keyring(tmp_path / "keys", SealingSecret(b"another"), token, env)


def test_a_copy_of_a_destroyed_key_erases_it_from_a_replica(
    opened: Opened, token: MemoryToken, tmp_path: Path, env: Clock
) -> None:
    provider = opened()
    provider.create_tenant_key(ALICE)
    replica = MemoryToken()
    replica.held = dict(token.held)
    early = provider.export_sealed()
    destroy_epoch(provider, ALICE, 1)
    other = Pkcs11Keyring(tmp_path / "other", SealingSecret(), replica, env)
    other.import_sealed(early)
    assert len(replica.held) == 1
    with replica.failing("destroy_key", before=AWAY):
        other.import_sealed(provider.export_sealed())  # the copy is taken, the token is away
    assert len(replica.held) == 1
    with pytest.raises(TenantKeyDisabled):
        other.wrap_bucket_key(ALICE, PHOTOS, 1, KEY)
    other.begin()
    assert replica.held == {}
    assert other.tenant_epochs(ALICE)[0].state is KeyState.DESTROYED
