"""The key service's secret, and the keys it takes over from a gateway, interrupted anywhere."""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path

import pytest

from gateway.approvals.warrant import WarrantRefused
from gateway.config_keys import KeydConfig
from gateway.data.envelope import KeyringConflict, WarrantKeeper
from gateway.data.keyring import TENANTS_FILE, FileKeyring, KeyringInvalid, RootKey
from gateway.data.keyring_form import HeldKey, Keys, open_keys, seal_keys
from gateway.keyd import adoption
from gateway.keyd.adoption import FORMER_FILE
from gateway.keyd.child import KeydFiles, lay_out_keyd
from gateway.keyd.providers import open_key_provider, passphrase_of
from gateway.keyd.secret import SECRET_FILE, KeydSecret, KeydSecretInvalid, KeydSecretLost
from gateway.model.key_states import KeyEpoch, KeyState
from storaged.base.config import read_config
from storaged.base.env import RealEnv
from storaged.base.errors import ConfigError
from tests.support.erasure_rig import two_of

TENANT, OTHER, BUCKET, KEY = b"t" * 16, b"o" * 16, b"b" * 16, b"k" * 32
CLUSTER = b"c" * 16


class Place:
    """A gateway's folder with keys, and a key service's that has none."""

    def __init__(self, folder: Path) -> None:
        self.env = RealEnv(1)
        self.gateway, self.folder = folder / "keys", folder / "keyd"
        self.root = RootKey.create(self.gateway, self.env)
        ring = FileKeyring(self.gateway, self.root, self.env)
        ring.create_tenant_key(TENANT)
        ring.create_named_key(TENANT, "named")
        self.wrapped = ring.wrap_bucket_key(TENANT, BUCKET, 1, KEY)
        self.copy = ring.export_sealed()
        KeydSecret.create(self.folder, self.root.cluster_id, self.env, None)

    @property
    def config(self) -> KeydConfig:
        return KeydConfig(
            folder=self.folder,
            cluster_id=self.root.cluster_id.hex(),
            socket=self.folder / "s",
            former_keys=self.gateway,
        )

    def check(self) -> None:
        """All keys are here, the gateway's file is gone, and the root key opens nothing here."""
        ring = open_key_provider(self.config, self.env)
        assert ring.unwrap_bucket_key(TENANT, BUCKET, 1, self.wrapped) == KEY
        assert ring.named_keys(TENANT) == ["named"]
        assert not (self.gateway / TENANTS_FILE).exists()
        ring.import_sealed(self.copy)
        assert not ring.is_whole(self.copy)
        with pytest.raises(ConfigError):
            FileKeyring(self.folder, self.root, self.env)


@pytest.mark.proves("C3", "K-05")
def test_keys_of_a_gateway_are_taken_over(tmp_path: Path) -> None:
    place = Place(tmp_path)
    place.check()
    place.check()


@pytest.mark.parametrize("at", range(12))
def test_an_interrupted_start_is_finished_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    place, left = Place(tmp_path), at

    def step(name: str) -> None:
        real = getattr(adoption, name)

        def counted(*args: object, **kwargs: object) -> object:
            nonlocal left
            left -= 1
            if left < 0:
                raise InterruptedError(name)
            return real(*args, **kwargs)

        monkeypatch.setattr(adoption, name, counted)

    for name in ("replace_file", "_keep_former", "_adopt_keys", "_remove", "FileKeyring"):
        step(name)
    try:
        open_key_provider(place.config, place.env)
    except InterruptedError:
        assert left < 0
    monkeypatch.undo()
    place.check()


def test_a_half_written_keyring_is_not_taken_for_the_whole(tmp_path: Path) -> None:
    place = Place(tmp_path)
    ring = open_key_provider(place.config, place.env)
    ring.create_tenant_key(OTHER)
    # The gateway's file comes back, as from a backup: nothing is lost, and it goes once more.
    FileKeyring(place.gateway, place.root, place.env).import_sealed(place.copy)
    assert (place.gateway / TENANTS_FILE).exists()
    place.check()
    assert open_key_provider(place.config, place.env).active_epoch(OTHER) == 1


def test_another_clusters_folder_is_refused(tmp_path: Path) -> None:
    place = Place(tmp_path)
    shutil.rmtree(place.gateway)
    other = RootKey.create(place.gateway, place.env)
    FileKeyring(place.gateway, other, place.env).create_tenant_key(TENANT)
    with pytest.raises(ConfigError):
        open_key_provider(place.config, place.env)
    assert (place.gateway / TENANTS_FILE).exists()


def test_damage_is_refused_and_nothing_is_removed(tmp_path: Path) -> None:
    place = Place(tmp_path)
    path = place.gateway / TENANTS_FILE
    raw = bytearray(path.read_bytes())
    raw[-1] ^= 1
    path.write_bytes(raw)
    with pytest.raises(KeyringInvalid):
        open_key_provider(place.config, place.env)
    assert path.exists()


def test_a_changed_former_key_is_refused(tmp_path: Path) -> None:
    place = Place(tmp_path)
    place.check()
    path = place.folder / FORMER_FILE
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    with pytest.raises(KeyringInvalid):
        open_key_provider(place.config, place.env)


@pytest.mark.parametrize("at", range(3))
def test_approvers_come_along(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int) -> None:
    place = Place(tmp_path)
    document = two_of().document.encode()
    FileKeyring(place.gateway, place.root, place.env).set_approvers(document)
    calls = 0

    def interrupted(path: Path) -> None:
        nonlocal calls
        calls += 1
        if calls == at:
            raise InterruptedError
        os.unlink(path)

    monkeypatch.setattr(adoption, "_remove", interrupted)
    for _ in range(2):
        with contextlib.suppress(InterruptedError):
            open_key_provider(place.config, place.env)
    ring = open_key_provider(place.config, place.env)
    assert isinstance(ring, WarrantKeeper) and ring.approvers() == document
    with pytest.raises(WarrantRefused):
        ring.spend_warrant("act", b"", "somebody")
    place.check()


@pytest.mark.proves("SIG-18", "CRY-14", "K-05")
def test_the_secret_is_its_owners_and_has_to_be_there(tmp_path: Path) -> None:
    env = RealEnv(1)
    with pytest.raises(KeydSecretInvalid):
        KeydSecret.load(tmp_path, CLUSTER, None)
    secret = KeydSecret.create(tmp_path, CLUSTER, env, None)
    path = tmp_path / SECRET_FILE
    assert path.stat().st_mode & 0o777 == 0o600
    assert KeydSecret.load(tmp_path, CLUSTER, None).derive("a") == secret.derive("a")
    assert KeydSecret.load(tmp_path, b"d" * 16, None).derive("a") != secret.derive("a")
    with pytest.raises(KeydSecretInvalid):
        KeydSecret.create(tmp_path, CLUSTER, env, None)
    with pytest.raises(KeydSecretInvalid):
        KeydSecret.load(tmp_path, CLUSTER, b"a passphrase that it has not")
    for mode in (0o640, 0o604, 0o660):
        os.chmod(path, mode)
        with pytest.raises(KeydSecretInvalid):
            KeydSecret.load(tmp_path, CLUSTER, None)
    os.chmod(path, 0o600)
    path.write_bytes(b"short")
    with pytest.raises(KeydSecretInvalid):
        KeydSecret.load(tmp_path, CLUSTER, None)
    assert secret.derive("a").hex() not in repr(secret)


def test_a_wrong_passphrase_is_refused(tmp_path: Path) -> None:
    env = RealEnv(1)
    secret = KeydSecret.create(tmp_path, CLUSTER, env, b"right")
    assert KeydSecret.load(tmp_path, CLUSTER, b"right").derive("a") == secret.derive("a")
    for wrong in (b"wrong", b"", None):
        with pytest.raises(KeydSecretInvalid):
            KeydSecret.load(tmp_path, CLUSTER, wrong)


def test_a_passphrase_comes_from_a_file_of_its_owner(tmp_path: Path) -> None:
    path = tmp_path / "passphrase"
    path.write_text("right\n")
    os.chmod(path, 0o600)
    config = tmp_path / "keyd.toml"
    config.write_text(
        f'folder = "f"\ncluster_id = "{CLUSTER.hex()}"\nsocket = "s"\npassphrase = "passphrase"\n'
    )
    settings = read_config(KeydConfig, config)
    assert passphrase_of(settings) == b"right"
    os.chmod(path, 0o644)
    with pytest.raises(ConfigError):
        passphrase_of(settings)
    with pytest.raises(ConfigError):
        read_config(KeydConfig, config)


@pytest.mark.parametrize("line", ['cluster_id = "xyz"', 'cluster_id = "00"', "secret = 1"])
def test_a_configuration_that_is_not_right_is_refused(tmp_path: Path, line: str) -> None:
    config = tmp_path / "keyd.toml"
    config.write_text(f'folder = "f"\n{line}\n')
    with pytest.raises(ConfigError):
        open_key_provider(read_config(KeydConfig, config), RealEnv(1))


@pytest.mark.proves("K-05")
def test_a_secret_that_is_gone_is_never_made_again(tmp_path: Path) -> None:
    files, env = KeydFiles(tmp_path), RealEnv(1)

    def lay_out() -> None:
        lay_out_keyd(files, tmp_path / "keys", CLUSTER, env, unsafe_sigv2=False)

    lay_out()
    lay_out()
    os.rename(files.folder, tmp_path / "lost")
    with pytest.raises(KeydSecretLost) as refused:
        lay_out()
    assert "recovery restore" in refused.value.hint
    assert not (files.folder / SECRET_FILE).exists()
    os.rename(tmp_path / "lost", files.folder)
    lay_out()


@pytest.mark.proves("K-05", "K-10")
def test_who_has_the_root_key_makes_no_copy_that_changes_keys(tmp_path: Path) -> None:
    """A gateway can seal as before. Once a copy of today was handed in, that destroys no key that
    approvers watch, and brings no key in that the gateway knows.
    """
    place = Place(tmp_path)
    ring = open_key_provider(place.config, place.env)
    ring.import_sealed(place.copy)
    assert isinstance(ring, WarrantKeeper)
    ring.set_approvers(two_of().document.encode())
    ring.import_sealed(ring.export_sealed())
    sealing_key, cluster = place.root.derive("tenant-keyring"), place.root.cluster_id
    held = open_keys(sealing_key, cluster, place.copy)

    def forged(keys: Keys) -> bytes:
        return seal_keys(sealing_key, cluster, keys, bytes(24))

    first = (TENANT, b"", 1)
    gone = KeyEpoch(epoch=1, state=KeyState.DESTROYED, changed_at_ms=1 << 50)
    known = HeldKey(b"m" * 32, KeyEpoch(epoch=2, changed_at_ms=1 << 50))
    for one in (ring, open_key_provider(place.config, place.env)):
        one.import_sealed(forged({**held, first: HeldKey(b"", gone)}))
        for planted in ((TENANT, b"", 2), (TENANT, b"other", 1)):
            with pytest.raises(KeyringConflict):
                one.import_sealed(forged({**held, planted: known}))
        assert one.unwrap_bucket_key(TENANT, BUCKET, 1, place.wrapped) == KEY
        assert one.active_epoch(TENANT) == 1 and one.named_keys(TENANT) == ["named"]
    # The gateway's folder is no other way in.
    (place.gateway / TENANTS_FILE).write_bytes(forged({**held, first: HeldKey(b"", gone)}))
    place.check()
    # A keyring that is lost comes back from such a copy all the same.
    (place.folder / TENANTS_FILE).unlink()
    ring = open_key_provider(place.config, place.env)
    ring.import_sealed(place.copy)
    assert ring.unwrap_bucket_key(TENANT, BUCKET, 1, place.wrapped) == KEY
