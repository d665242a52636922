"""Envelope and keyring: what opens, what does not, and what is on disk."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.data.envelope import (
    WRAPPED_BYTES,
    KeyProvider,
    KeyringConflict,
    NamedKeyMissing,
    SealInvalid,
    TenantKeyDisabled,
    TenantKeyMissing,
    open_secret,
    seal_secret,
    unwrap_dek,
    wrap_dek,
)
from gateway.data.keyring import FileKeyring, KeyringInvalid, RootKey, RootKeyInvalid
from gateway.model.encoding import enc
from gateway.model.key_states import KeyState
from tests.support.cluster import TestEnv

KEY, DEK, SALT = b"k" * 32, b"d" * 32, b"s" * 24
CONTEXT = enc("dek", b"c", b"t", b"b", 1, b"key", b"uuid")
T1, T2, B1, B2 = b"1" * 16, b"2" * 16, b"a" * 16, b"b" * 16


@pytest.mark.proves("CRY-06", "K-08")
def test_wrapped_deks_open_where_they_belong_only() -> None:
    wrapped = wrap_dek(KEY, CONTEXT, DEK, SALT)
    assert len(wrapped) == WRAPPED_BYTES == 105 and wrapped[0] == 1
    assert unwrap_dek(KEY, CONTEXT, wrapped) == DEK
    for key, context in [(b"x" * 32, CONTEXT), (KEY, enc("dek", b"other"))]:
        with pytest.raises(SealInvalid):
            unwrap_dek(key, context, wrapped)
    with pytest.raises(SealInvalid):
        open_secret(KEY, "another label", CONTEXT, wrapped)


@pytest.mark.proves("K-08")
@given(st.integers(0, WRAPPED_BYTES * 8 - 1))
def test_every_changed_bit_is_seen(bit: int) -> None:
    wrapped = bytearray(wrap_dek(KEY, CONTEXT, DEK, SALT))
    wrapped[bit // 8] ^= 1 << bit % 8
    with pytest.raises(SealInvalid):
        unwrap_dek(KEY, CONTEXT, bytes(wrapped))


@given(st.binary(max_size=200))
def test_any_bytes_open_or_are_refused(raw: bytes) -> None:
    with pytest.raises(SealInvalid):
        open_secret(KEY, "x", b"", raw)


def test_a_secret_of_another_length_is_no_dek() -> None:
    with pytest.raises(SealInvalid):
        unwrap_dek(KEY, CONTEXT, seal_secret(KEY, "wrap-dek", CONTEXT, b"short", SALT))


@pytest.mark.proves("CRY-04", "K-05")
def test_root_key_file(tmp_path: Path) -> None:
    folder = tmp_path / "keys"
    root = RootKey.create(folder, TestEnv())
    path = folder / "root.key"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600 and path.stat().st_size == 32
    assert RootKey.load(folder).log_key == root.log_key
    with pytest.raises(RootKeyInvalid):
        RootKey.create(folder, TestEnv())
    path.chmod(0o640)
    with pytest.raises(RootKeyInvalid):
        RootKey.load(folder)
    path.chmod(0o600)
    path.write_bytes(b"x" * 31)
    with pytest.raises(RootKeyInvalid):
        RootKey.load(folder)
    with pytest.raises(RootKeyInvalid):
        RootKey.load(tmp_path)


def test_root_key_under_a_passphrase(tmp_path: Path) -> None:
    root = RootKey.create(tmp_path, TestEnv(), b"correct horse")
    assert RootKey.load(tmp_path, b"correct horse").cluster_id == root.cluster_id
    for wrong in (b"battery staple", None):
        with pytest.raises(RootKeyInvalid):
            RootKey.load(tmp_path, wrong)


@pytest.mark.proves("K-03")
def test_derived_keys_are_distinct_and_stable() -> None:
    root, again, other = RootKey(b"r" * 32), RootKey(b"r" * 32), RootKey(b"q" * 32)
    names = ["log_key", "log_seal_key", "integrity_key", "cluster_record_key", "sums_key"]
    ids = ["cluster_id", "log_id"]
    made = {getattr(key, name) for key in (root, other) for name in names + ids}
    assert len(made) == 2 * (len(names) + len(ids))
    assert all(len(getattr(root, name)) == 32 for name in names)
    assert all(len(getattr(root, name)) == 16 for name in ids)
    assert all(getattr(root, name) == getattr(again, name) for name in names + ids)
    assert "r" * 8 not in repr(root) and root.derive("x", 1) != root.derive("x", 2)


def keyring(folder: Path, root: bytes = b"r" * 32, seed: int = 1) -> FileKeyring:
    return FileKeyring(folder, RootKey(root), TestEnv(seed))


@pytest.mark.proves("CRY-06", "I1", "K-04")
def test_bucket_keys_open_for_their_tenant_bucket_and_epoch_only(tmp_path: Path) -> None:
    ring: KeyProvider = keyring(tmp_path)
    ring.create_tenant_key(T1)
    ring.create_tenant_key(T2)
    wrapped = ring.wrap_bucket_key(T1, B1, 1, KEY)
    assert ring.unwrap_bucket_key(T1, B1, 1, wrapped) == KEY
    assert KEY not in wrapped
    for tenant, bucket, epoch in [(T2, B1, 1), (T1, B2, 1), (T1, B1, 2)]:
        with pytest.raises(SealInvalid):
            ring.unwrap_bucket_key(tenant, bucket, epoch, wrapped)
    with pytest.raises(TenantKeyMissing):
        ring.wrap_bucket_key(b"3" * 16, B1, 1, KEY)


def test_tenant_keys_survive_a_restart_and_are_made_once(tmp_path: Path) -> None:
    ring = keyring(tmp_path)
    ring.create_tenant_key(T1)
    wrapped = ring.wrap_bucket_key(T1, B1, 1, KEY)
    ring.create_tenant_key(T1)
    again = keyring(tmp_path, seed=2)
    again.create_tenant_key(T1)
    assert again.unwrap_bucket_key(T1, B1, 1, wrapped) == KEY
    path = tmp_path / "tenants.sealed"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert not list(tmp_path.glob("*.partial"))
    with pytest.raises(KeyringInvalid):
        keyring(tmp_path, root=b"q" * 32)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(KeyringInvalid):
        keyring(tmp_path)


def test_the_sealed_copy_rebuilds_a_keyring(tmp_path: Path) -> None:
    ring = keyring(tmp_path / "a")
    ring.create_tenant_key(T1)
    wrapped = ring.wrap_bucket_key(T1, B1, 1, KEY)
    copy = ring.export_sealed()
    fresh = keyring(tmp_path / "b", seed=2)
    fresh.create_tenant_key(T2)
    fresh.import_sealed(copy)
    fresh.import_sealed(copy)
    assert fresh.unwrap_bucket_key(T1, B1, 1, wrapped) == KEY
    reopened = keyring(tmp_path / "b", seed=3)
    assert reopened.unwrap_bucket_key(T1, B1, 1, wrapped) == KEY
    with pytest.raises(SealInvalid):
        keyring(tmp_path / "c", root=b"q" * 32).import_sealed(copy)
    conflicting = keyring(tmp_path / "d", seed=9)
    conflicting.create_tenant_key(T1)
    with pytest.raises(KeyringConflict):
        conflicting.import_sealed(copy)
    with pytest.raises(SealInvalid):
        fresh.import_sealed(b"junk")


@pytest.mark.proves("I1")
def test_named_keys_open_for_their_tenant_name_and_context_only(tmp_path: Path) -> None:
    ring: KeyProvider = keyring(tmp_path)
    ring.create_tenant_key(T1)
    ring.create_tenant_key(T2)
    with pytest.raises(TenantKeyMissing):
        ring.create_named_key(b"3" * 16, "key")
    for tenant, name in [(T1, "key"), (T1, "other"), (T2, "key")]:
        assert not ring.has_named_key(tenant, name)
        ring.create_named_key(tenant, name)
        assert ring.has_named_key(tenant, name)
    sealed = ring.wrap_named(T1, "key", b"object", KEY)
    assert ring.unwrap_named(T1, "key", b"object", sealed) == KEY and KEY not in sealed
    for place in [(T1, "other", b"object"), (T2, "key", b"object"), (T1, "key", b"another")]:
        with pytest.raises(SealInvalid):
            ring.unwrap_named(*place, sealed)
    for name in ("absent", ""):
        # The tenant's own key has no name that a client could choose.
        assert not ring.has_named_key(T1, name)
        with pytest.raises(NamedKeyMissing):
            ring.wrap_named(T1, name, b"object", KEY)


def test_named_keys_survive_a_restart_and_travel_with_the_sealed_copy(tmp_path: Path) -> None:
    ring = keyring(tmp_path / "a")
    ring.create_tenant_key(T1)
    before = ring.export_sealed()
    wrapped = ring.wrap_bucket_key(T1, B1, 1, KEY)
    ring.create_named_key(T1, "key")
    sealed = ring.wrap_named(T1, "key", b"object", KEY)
    ring.create_named_key(T1, "key")
    copy = ring.export_sealed()
    assert ring.is_whole(copy) and not ring.is_whole(before)
    assert (before[:4], copy[:4]) == (b"HXK\x01", b"HXK\x02")
    fresh = keyring(tmp_path / "b", seed=2)
    fresh.import_sealed(before)
    fresh.import_sealed(copy)
    for held in (keyring(tmp_path / "a", seed=3), keyring(tmp_path / "b", seed=4)):
        assert held.unwrap_named(T1, "key", b"object", sealed) == KEY
        assert held.unwrap_bucket_key(T1, B1, 1, wrapped) == KEY
    with pytest.raises(SealInvalid):
        fresh.import_sealed(before[:3] + b"\x02" + before[4:])


def test_k10_epochs_of_a_tenants_key_are_kept_and_older_copies_bring_nothing_back(
    tmp_path: Path,
) -> None:
    ring = keyring(tmp_path)
    ring.create_tenant_key(T1)
    first = ring.wrap_bucket_key(T1, B1, 1, KEY)
    before = ring.export_sealed()
    assert ring.add_tenant_epoch(T1) == ring.add_tenant_epoch(T1) == 2
    assert ring.active_epoch(T1) == 1, "a pending epoch wraps nothing"
    ring.set_tenant_epoch(T1, 2, KeyState.ACTIVE)
    assert ring.active_epoch(T1) == 2
    second = ring.wrap_bucket_key(T1, B1, 1, KEY, 2)
    assert not ring.is_whole(before) and ring.export_sealed()[:4] == b"HXK\x03"
    again = keyring(tmp_path)
    assert again.tenant_epochs(T1) == ring.tenant_epochs(T1)
    assert again.unwrap_bucket_key(T1, B1, 1, first) == KEY
    assert again.unwrap_bucket_key(T1, B1, 1, second, 2) == KEY
    with pytest.raises(SealInvalid):
        again.unwrap_bucket_key(T1, B1, 1, second, 1)
    again.set_tenant_epoch(T1, 1, KeyState.DISABLED)
    with pytest.raises(TenantKeyDisabled):
        again.unwrap_bucket_key(T1, B1, 1, first)
    again.set_tenant_epoch(T1, 1, KeyState.DESTROYED)
    again.import_sealed(before)
    for held in (again, keyring(tmp_path)):
        assert [one.state for one in held.tenant_epochs(T1)] == ["DESTROYED", "ACTIVE"]
        with pytest.raises(TenantKeyDisabled):
            held.unwrap_bucket_key(T1, B1, 1, first)
        with pytest.raises(TenantKeyMissing):
            held.set_tenant_epoch(T1, 1, KeyState.ACTIVE)
    # Who lost the file, or has an older one, takes the copy's word.
    older = keyring(tmp_path / "b")
    older.import_sealed(before)
    older.import_sealed(again.export_sealed())
    assert older.tenant_epochs(T1) == again.tenant_epochs(T1) and again.is_whole(
        older.export_sealed()
    )
