"""Keys on their way from a sealed file into a token: each opens what it sealed, nothing is made in
the file any more, the file goes when its last key has, and a crash anywhere changes none of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.config_keys import KeydConfig, KeydPkcs11Config, KeydProvider
from gateway.data.envelope import (
    KeyChangeRefused,
    NamedKeyDisabled,
    NamedKeyMissing,
    SealInvalid,
    TenantKeyDisabled,
    TenantKeyMissing,
)
from gateway.data.keyring import TENANTS_FILE
from gateway.data.named_form import parted
from gateway.keyd.child import KeydFiles, lay_out_keyd
from gateway.keyd.moving import MovingKeyring, parts_of
from gateway.keyd.pkcs11_keyring import Pkcs11Keyring
from gateway.keyd.pkcs11_record import KeysNotInToken
from gateway.keyd.providers import KeysElsewhere, open_key_provider
from gateway.keyd.secret import KeydSecret
from gateway.model.encoding import enc
from gateway.model.key_states import KeyState
from storaged.base.config import read_config
from storaged.base.env import RealEnv
from tests.support.key_states import destroy_epoch
from tests.support.moving_keys import moving, of_before
from tests.support.softhsm import SoftToken, keyring, make_token, module_path

ALICE, BOB, CAROL = (name.ljust(16, b".") for name in (b"alice", b"bob", b"carol"))
PHOTOS = b"photos".ljust(16, b".")
KEY, PLACE = bytes(range(32)), enc("place", b"here")


@pytest.fixture(scope="module")
def token() -> SoftToken:
    return make_token()


@pytest.fixture
def env() -> Iterator[RealEnv]:
    found = RealEnv(threads_max=1)
    yield found
    found.close()


def begun(folder: Path, env: RealEnv) -> tuple[bytes, bytes]:
    """A file with two tenants' keys and a named one; what was wrapped under them."""
    old = of_before(folder, env)
    for tenant in (ALICE, BOB):
        old.create_tenant_key(tenant)
    old.create_named_key(ALICE, "letters")
    bucket = old.wrap_bucket_key(ALICE, PHOTOS, 1, KEY, 1)
    return bucket, old.wrap_named(ALICE, "letters", PLACE, KEY)


def rotated(keys: MovingKeyring, tenant: bytes) -> int:
    """The tenant's key one epoch further, as a rotation has it."""
    epoch = keys.add_tenant_epoch(tenant)
    keys.set_tenant_epoch(tenant, epoch, KeyState.ACTIVE)
    keys.set_tenant_epoch(tenant, epoch - 1, KeyState.DECRYPT_ONLY)
    return epoch


@pytest.mark.proves("K-05", "K-10", "C3")
def test_keys_are_made_in_the_token_and_those_of_the_file_open_until_their_end(
    tmp_path: Path, token: SoftToken, env: RealEnv
) -> None:
    bucket, letter = begun(tmp_path, env)
    keys = moving(token, tmp_path, env)
    assert keys.move_status()["left"] == {
        ALICE.hex(): {"epochs": [1], "names": ["letters"], "waiting": 1},
        BOB.hex(): {"epochs": [1], "names": [], "waiting": 0},
    }
    for tenant in (ALICE, BOB):
        assert rotated(keys, tenant) == 2
    keys.create_tenant_key(CAROL)
    keys.create_named_key(ALICE, "letters")
    assert keys.move_status()["left"][ALICE.hex()]["waiting"] == 0
    anew = keys.wrap_bucket_key(ALICE, PHOTOS, 1, KEY, 2)
    letter_anew = keys.wrap_named(ALICE, "letters", PLACE, KEY)
    for again in (keys, moving(token, tmp_path, env)):
        assert again.unwrap_bucket_key(ALICE, PHOTOS, 1, bucket, 1) == KEY
        assert again.unwrap_bucket_key(ALICE, PHOTOS, 1, anew, 2) == KEY
        assert again.unwrap_named(ALICE, "letters", PLACE, letter) == KEY
        assert again.unwrap_named(ALICE, "letters", PLACE, letter_anew) == KEY
        assert again.named_keys(ALICE) == ["letters"]
        assert again.active_epoch(ALICE) == 2 and again.active_epoch(CAROL) == 1
    only_new = keyring(token, tmp_path, env)
    assert only_new.unwrap_named(ALICE, "letters", PLACE, letter_anew) == KEY
    assert [one.epoch for one in only_new.tenant_epochs(ALICE)] == [2], "only this is in the token"
    with pytest.raises(SealInvalid):
        only_new.unwrap_named(ALICE, "letters", PLACE, letter)


@pytest.mark.proves("K-11", "K-10")
def test_the_file_goes_with_its_last_key_and_numbers_stay_taken(
    tmp_path: Path, token: SoftToken, env: RealEnv
) -> None:
    _, letter = begun(tmp_path, env)
    (tmp_path / "former.sealed").write_bytes(b"what copies were sealed under before")
    keys = moving(token, tmp_path, env)
    for tenant in (ALICE, BOB):
        rotated(keys, tenant)
    keys.set_tenant_epoch(ALICE, 1, KeyState.DISABLED)
    with pytest.raises(TenantKeyDisabled):
        keys.unwrap_named(ALICE, "letters", PLACE, letter)
    with pytest.raises(KeyChangeRefused):  # its named key would go along
        keys.set_tenant_epoch(ALICE, 1, KeyState.DESTROYED)
    keys.create_named_key(ALICE, "letters")
    keys.set_tenant_epoch(ALICE, 1, KeyState.DESTROYED)
    assert (tmp_path / TENANTS_FILE).exists(), "another tenant has a key there"
    destroy_epoch(keys, BOB, 1)
    assert list(tmp_path.glob("tenants*")) == list(tmp_path.glob("former*")) == []
    assert keys.move_status() == {"from": "file", "tenants": 0, "left": {}}
    for again in (keys, moving(token, tmp_path, env), keyring(token, tmp_path, env)):
        for tenant in (ALICE, BOB):
            found = again.tenant_epochs(tenant)
            assert [one.state for one in found] == [KeyState.DESTROYED, KeyState.ACTIVE]
        assert again.add_tenant_epoch(ALICE) == 3


@pytest.mark.proves("K-05", "K-10")
def test_a_named_key_with_epochs_goes_on_in_the_token_where_it_is(
    tmp_path: Path, token: SoftToken, env: RealEnv
) -> None:
    _, first = begun(tmp_path, env)
    old = of_before(tmp_path, env)
    old.add_named_epoch(ALICE, "letters")
    old.set_named_epoch(ALICE, "letters", 2, KeyState.ACTIVE)
    second = old.wrap_named(ALICE, "letters", PLACE, KEY)
    keys = moving(token, tmp_path, env)
    for tenant in (ALICE, BOB):
        rotated(keys, tenant)
    keys.create_named_key(ALICE, "letters")
    third = keys.wrap_named(ALICE, "letters", PLACE, KEY)
    assert [parted(one)[0] for one in (first, second, third)] == [1, 2, 2]
    assert len(third) > len(second), "the token's has sealed it"
    assert keys.move_status()["left"][ALICE.hex()]["waiting"] == 0
    assert keys.add_named_epoch(ALICE, "letters") == 3
    assert parted(keys.wrap_named(ALICE, "letters", PLACE, KEY))[0] == 2
    keys.set_named_epoch(ALICE, "letters", 3, KeyState.ACTIVE)
    fourth = keys.wrap_named(ALICE, "letters", PLACE, KEY)
    for again in (keys, moving(token, tmp_path, env)):
        for one in (first, second, third, fourth):
            assert again.unwrap_named(ALICE, "letters", PLACE, one) == KEY
        held = again.named_epochs(ALICE, "letters")
        assert [one.epoch for one in held] == [1, 2, 3]
    for state in (KeyState.DECRYPT_ONLY, KeyState.DISABLED):
        keys.set_named_epoch(ALICE, "letters", 2, state)
    for one in (second, third):
        with pytest.raises(NamedKeyDisabled):
            keys.unwrap_named(ALICE, "letters", PLACE, one)
    with pytest.raises(KeyChangeRefused):  # it goes with the file
        keys.set_named_epoch(ALICE, "letters", 2, KeyState.DESTROYED)
    keys.set_named_epoch(ALICE, "letters", 2, KeyState.DECRYPT_ONLY)
    copy = keys.export_sealed()
    for tenant in (ALICE, BOB):
        destroy_epoch(keys, tenant, 1)
    for again in (keys, moving(token, tmp_path, env), keyring(token, tmp_path, env)):
        again.import_sealed(copy) if again is keys else None
        again.create_named_key(ALICE, "letters")
        assert [one.epoch for one in again.named_epochs(ALICE, "letters")] == [2, 3]
        for one in (third, fourth):
            assert again.unwrap_named(ALICE, "letters", PLACE, one) == KEY
    assert not (tmp_path / TENANTS_FILE).exists()


@pytest.mark.proves("K-10")
def test_a_named_key_of_the_file_is_rotated_into_the_token(
    tmp_path: Path, token: SoftToken, env: RealEnv
) -> None:
    """Its next epoch is the counterpart that the move asks for."""
    _, first = begun(tmp_path, env)
    keys = moving(token, tmp_path, env)
    with pytest.raises(NamedKeyMissing):
        keys.add_named_epoch(ALICE, "bills")
    assert keys.add_named_epoch(ALICE, "letters") == 2
    assert keys.add_named_epoch(ALICE, "letters") == 2
    pending = keys.wrap_named(ALICE, "letters", PLACE, KEY)
    assert len(pending) == len(first), "the file's has sealed it still"
    keys.set_named_epoch(ALICE, "letters", 2, KeyState.ACTIVE)
    keys.create_named_key(ALICE, "letters")
    assert [one.epoch for one in keys.named_epochs(ALICE, "letters")] == [1, 2]
    second = keys.wrap_named(ALICE, "letters", PLACE, KEY)
    assert parted(second)[0] == 2 and len(second) > len(first)
    for one in (first, pending, second):
        assert keys.unwrap_named(ALICE, "letters", PLACE, one) == KEY


@pytest.mark.proves("K-11", "E-01")
def test_a_tenant_on_the_way_is_erased_as_a_whole(
    tmp_path: Path, token: SoftToken, env: RealEnv
) -> None:
    begun(tmp_path, env)
    keys = moving(token, tmp_path, env)
    rotated(keys, ALICE)  # and no counterpart of his named key
    for epoch in (1, 2):
        keys.set_tenant_epoch(ALICE, epoch, KeyState.DISABLED)
    for epoch in (1, 2):
        keys.set_tenant_epoch(ALICE, epoch, KeyState.DESTROYED)
    assert keys.named_keys(ALICE) == []
    assert keys.move_status()["tenants"] == 1, "the other's are there"


@pytest.mark.proves("K-10", "CRY-11")
def test_a_crash_between_the_record_and_the_file_is_put_right_by_the_next_start(
    tmp_path: Path, token: SoftToken, env: RealEnv
) -> None:
    begun(tmp_path, env)
    keys = moving(token, tmp_path, env)
    keys.create_named_key(ALICE, "letters")
    for tenant in (ALICE, BOB):
        rotated(keys, tenant)
    destroy_epoch(keys, ALICE, 1)
    before = (tmp_path / TENANTS_FILE).read_bytes()
    keys.set_tenant_epoch(BOB, 1, KeyState.DISABLED)
    old = of_before(tmp_path, env)
    old.set_tenant_epoch(BOB, 1, KeyState.DESTROYED)  # and there it died
    assert (tmp_path / TENANTS_FILE).exists()
    again = moving(token, tmp_path, env)
    assert not (tmp_path / TENANTS_FILE).exists()
    # An older file that somebody brings back opens nothing: the token's record knows better.
    (tmp_path / TENANTS_FILE).write_bytes(before)
    back = moving(token, tmp_path, env)
    assert back.tenant_epochs(BOB) == again.tenant_epochs(BOB)
    assert back.tenant_epochs(BOB)[0].state is KeyState.DESTROYED
    with pytest.raises((TenantKeyMissing, TenantKeyDisabled)):
        back.wrap_bucket_key(BOB, PHOTOS, 1, KEY, 1)


@pytest.mark.proves("K-10", "C6")
def test_a_copy_has_both_and_brings_both_back(
    tmp_path: Path, token: SoftToken, env: RealEnv
) -> None:
    bucket, letter = begun(tmp_path / "a", env)
    first = of_before(tmp_path / "a", env).export_sealed()
    keys = moving(token, tmp_path / "a", env)
    assert not keys.is_whole(first), "the log's copy is of the file alone"
    rotated(keys, ALICE)
    keys.create_named_key(ALICE, "letters")
    wrapped = keys.wrap_bucket_key(ALICE, PHOTOS, 1, KEY, 2)
    copy = keys.export_sealed()
    assert keys.is_whole(copy)
    for lost in range(len(copy) - 1):
        if lost % 37 == 0:
            with pytest.raises((SealInvalid, KeysNotInToken)):
                moving(token, tmp_path / "b", env).import_sealed(copy[:lost])
    back = moving(token, tmp_path / "c", env)
    back.import_sealed(copy)
    assert back.unwrap_bucket_key(ALICE, PHOTOS, 1, bucket, 1) == KEY
    assert back.unwrap_bucket_key(ALICE, PHOTOS, 1, wrapped, 2) == KEY
    assert back.unwrap_named(ALICE, "letters", PLACE, letter) == KEY
    old, new = parts_of(copy)
    assert old and new and parts_of(new) == (b"", new) and parts_of(old) == (old, b"")


def test_a_copy_from_the_way_is_no_hindrance_once_it_is_over(
    tmp_path: Path, token: SoftToken, env: RealEnv
) -> None:
    begun(tmp_path, env)
    keys = moving(token, tmp_path, env)
    keys.create_named_key(ALICE, "letters")
    for tenant in (ALICE, BOB):
        rotated(keys, tenant)
    copy = keys.export_sealed()
    for tenant in (ALICE, BOB):
        destroy_epoch(keys, tenant, 1)
    plain = keyring(token, tmp_path, env)
    assert not plain.is_whole(copy)
    plain.import_sealed(copy)
    assert plain.tenant_epochs(ALICE)[0].state is KeyState.DESTROYED
    assert plain.is_whole(plain.export_sealed())


def test_only_who_says_so_moves(tmp_path: Path, token: SoftToken, env: RealEnv) -> None:
    folder = tmp_path / "keyd"
    cluster_id = bytes(range(16))
    KeydSecret.create(folder, cluster_id, env, None)
    hsm = KeydPkcs11Config(module=module_path(), token=token.label, pin_file=token.pin_file)

    def config(provider: KeydProvider, *, from_file: bool = False) -> KeydConfig:
        return KeydConfig(
            folder=folder,
            cluster_id=cluster_id.hex(),
            provider=provider,
            pkcs11=hsm,
            from_file=from_file,
        )

    open_key_provider(config(KeydProvider.FILE), env).create_tenant_key(ALICE)
    with pytest.raises(KeysElsewhere):
        open_key_provider(config(KeydProvider.PKCS11), env)
    found = open_key_provider(config(KeydProvider.PKCS11, from_file=True), env)
    assert isinstance(found, MovingKeyring)
    rotated(found, ALICE)
    with pytest.raises(KeysElsewhere):  # there is no way back
        open_key_provider(config(KeydProvider.FILE), env)
    destroy_epoch(found, ALICE, 1)
    assert isinstance(open_key_provider(config(KeydProvider.PKCS11), env), Pkcs11Keyring)


def test_up_keeps_what_keyd_toml_says_of_moving(
    tmp_path: Path, token: SoftToken, env: RealEnv
) -> None:
    files = KeydFiles(tmp_path)
    hsm = KeydPkcs11Config(module=module_path(), token=token.label, pin_file=token.pin_file)
    for says in (False, True):
        if says:
            files.config.write_text("from_file = true\n" + files.config.read_text())
        lay_out_keyd(files, tmp_path / "keys", bytes(16), env, unsafe_sigv2=False, hsm=hsm)
        assert read_config(KeydConfig, files.config).from_file is says


@pytest.mark.proves("K-10")
def test_a_rotation_that_was_just_begun_in_the_file_goes_on_in_the_token(
    tmp_path: Path, token: SoftToken, env: RealEnv
) -> None:
    """Else the token would wrap under an epoch before the rotation's, and that would never end."""
    _, first = begun(tmp_path, env)
    of_before(tmp_path, env).add_named_epoch(ALICE, "letters")
    keys = moving(token, tmp_path, env)
    keys.create_named_key(ALICE, "letters")
    second = keys.wrap_named(ALICE, "letters", PLACE, KEY)
    keys.set_named_epoch(ALICE, "letters", 2, KeyState.ACTIVE)
    third = keys.wrap_named(ALICE, "letters", PLACE, KEY)
    assert [parted(one)[0] for one in (first, second, third)] == [1, 1, 2]
    assert len(parted(third)[1]) == len(second) > len(first), "both are the token's"
    for one in (first, second, third):
        assert keys.unwrap_named(ALICE, "letters", PLACE, one) == KEY
