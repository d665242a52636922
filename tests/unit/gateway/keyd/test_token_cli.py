"""`hexagone keyd token-check` and `token-erase` on tokens of SoftHSM."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from gateway.config_keys import KeydConfig, KeydProvider
from gateway.data.keyring import TENANTS_FILE
from gateway.keyd.pkcs11_keyring import Pkcs11Keyring
from gateway.keyd.providers import open_key_provider, open_secret_of, open_token
from gateway.keyd.secret import KeydSecret
from gateway.main import app
from storaged.base.config import read_config
from storaged.base.env import RealEnv
from storaged.base.errors import ConfigError
from tests.support.softhsm import PIN, SoftToken, make_token, module_path

CLUSTER = b"cluster of tests"
ALICE = b"alice".ljust(16, b".")
ORPHAN = b"orphan".ljust(16, b".")


def run(*words: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


@pytest.fixture
def soft() -> SoftToken:
    return make_token()


@pytest.fixture
def config(soft: SoftToken, tmp_path: Path) -> Path:
    KeydSecret.create(tmp_path / "keyd", CLUSTER, RealEnv(threads_max=1), None)
    path = tmp_path / "keyd.toml"
    path.write_text(
        f'''folder = "keyd"
cluster_id = "{CLUSTER.hex()}"
socket = "keyd.sock"
provider = "pkcs11"

[pkcs11]
module = "{module_path()}"
token = "{soft.label}"
pin_file = "{soft.pin_file}"
deadline_ms = 20000
'''
    )
    return path


def checked(config: Path, code: int) -> dict[str, Any]:
    result = run("keyd", "token-check", "--config", config, "--json")
    assert result.exit_code == code, result.output
    document: dict[str, Any] = json.loads(result.output)
    return document


def test_a_token_that_lacks_nothing(config: Path, soft: SoftToken) -> None:
    provider = open_key_provider(read_config(KeydConfig, config), RealEnv(threads_max=1))
    provider.create_tenant_key(ALICE)
    found = checked(config, 0)
    assert found["lacking"] == []
    assert found["is_logged_in"] and found["token"] == soft.label and found["keys"] == 1
    assert {"AES_GCM", "AES_KEY_GEN"} <= set(found["mechanisms"])
    assert soft.label in found["tokens"]
    assert "SoftHSM" in found["library"]
    result = run("keyd", "token-check", "--config", config)
    assert result.exit_code == 0
    assert "keys can be kept in this token" in result.output
    assert PIN not in result.output


def test_a_wrong_pin_is_what_is_missing(config: Path, soft: SoftToken) -> None:
    soft.pin_file.write_text("4711-wrong")
    for reason in ("PinIncorrect", "refused before"):
        found = checked(config, 1)
        assert not found["is_logged_in"]
        assert reason in found["lacking"][0] and "4711" not in json.dumps(found)


def test_no_such_token_or_module(config: Path, soft: SoftToken) -> None:
    text = config.read_text()
    config.write_text(text.replace(f'token = "{soft.label}"', 'token = "nobody"'))
    found = checked(config, 1)
    assert "no token has this label" in found["lacking"][0] and soft.label in found["tokens"]
    config.write_text(text.replace(str(module_path()), "/nowhere/module.so"))
    assert "/nowhere/module.so" in checked(config, 1)["lacking"][0]
    config.write_text(text.partition("[pkcs11]")[0])
    result = run("keyd", "token-check", "--config", config)
    assert result.exit_code == 1 and "pkcs11" in result.output


def test_orphans_are_shown_and_erased_one_by_one(config: Path, soft: SoftToken) -> None:
    settings, env = read_config(KeydConfig, config), RealEnv(threads_max=1)
    provider = open_key_provider(settings, env)
    assert isinstance(provider, Pkcs11Keyring)
    provider.create_tenant_key(ALICE)
    open_token(settings, open_secret_of(settings), env).ensure_key(
        ORPHAN, provider.label_prefix + "lost"
    )
    found = checked(config, 0)
    assert found["orphans"] == [{"id": ORPHAN.hex(), "label": provider.label_prefix + "lost"}]
    assert f"orphan: {ORPHAN.hex()}" in run("keyd", "token-check", "--config", config).output
    held = [one.key_id for one in provider._file.record.values()]

    def erase(*more: object, key: str = ORPHAN.hex()) -> Result:
        return run("keyd", "token-erase", "--config", config, "--key", key, *more)

    refusals: list[Callable[[], Result]] = [
        lambda: erase(),  # nobody is there to ask
        lambda: erase("--yes", key=held[0].hex()),  # a key in use
        lambda: erase("--yes", key="00" * 16),
        lambda: erase("--yes", key="xyz"),
    ]
    for refused in refusals:
        assert refused().exit_code == 2
    assert erase("--dry-run").exit_code == 0
    assert len(checked(config, 0)["orphans"]) == 1
    assert erase("--yes").exit_code == 0
    found = checked(config, 0)
    assert found["orphans"] == [] and found["keys"] == 1


def test_a_key_service_that_has_keys_in_a_file_does_not_begin_with_a_token(config: Path) -> None:
    settings = read_config(KeydConfig, config)
    (settings.folder / TENANTS_FILE).write_bytes(b"HXK")
    with pytest.raises(ConfigError, match="are in a sealed file"):
        open_key_provider(settings, RealEnv(threads_max=1))


def test_a_key_service_that_has_keys_in_a_token_does_not_go_on_with_a_file(config: Path) -> None:
    settings, env = read_config(KeydConfig, config), RealEnv(threads_max=1)
    open_key_provider(settings, env).create_tenant_key(ALICE)
    with pytest.raises(ConfigError, match="are in an HSM"):
        open_key_provider(replace(settings, provider=KeydProvider.FILE), env)
