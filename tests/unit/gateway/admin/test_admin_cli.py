"""`hexagone admin`, `hexagone ca admin` and commands over TLS: which gateway is meant, what is
written, what is said when it does not work; and the section [admin] of the configuration.
"""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from typer.testing import CliRunner, Result

from gateway.admin.certificates import read_shown
from gateway.cli.authority import issue_administrator, read_admin_authority
from gateway.cli.places import AdminAddressInvalid, RemotePlace
from gateway.cli.profile import remote_place
from gateway.config_admin import AdminConfig, check_admin
from gateway.main import app
from gateway.model.administrators import LocalRights, Role, RolesExcludeEachOther
from gateway.terminal.remote import GivenPlace
from storaged.base.config import build_config
from storaged.base.env import RealEnv
from storaged.base.errors import ConfigError
from tests.support.admin_plane import AdminPlaneServed, admin_plane_served

CLI = CliRunner()


@pytest.fixture(autouse=True)
def _own_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("HEXAGONE_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


def run(*words: str | Path, code: int = 0) -> Result:
    result = CLI.invoke(app, [str(word) for word in words])
    assert result.exit_code == code, result.output
    return result


def told(*words: str | Path) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(run(*words, "--json").stdout)
    return answer


def options(served: AdminPlaneServed, name: str) -> tuple[str, ...]:
    place = served.place(name)
    files = ("--cert", str(place.certificate), "--key", str(place.key))
    return ("--admin", place.url, *files, "--ca", str(place.authority))


@pytest.mark.proves("A-02", "A-05")
def test_from_the_ca_to_a_command_over_tls(tmp_path: Path) -> None:
    ca, home, socket = tmp_path / "ca", tmp_path / "home", tmp_path / "a.sock"
    run("ca", "admin", "init", "--dir", ca)
    assert stat.S_IMODE((ca / "admin-ca.key").stat().st_mode) == 0o600
    assert "There is an admin CA" in run("ca", "admin", "init", "--dir", ca, code=1).output
    run("ca", "admin", "request", "alice", "--out", home)
    key = (home / "alice.key").read_bytes()
    assert stat.S_IMODE((home / "alice.key").stat().st_mode) == 0o600
    run("ca", "admin", "request", "alice", "--out", home, code=1)
    assert (home / "alice.key").read_bytes() == key
    issue = (
        "ca",
        "admin",
        "issue",
        "alice",
        "--dir",
        ca,
        "--person",
        "Alice Martin",
        "--out",
        home,
    )
    both = ("--role", "custodian", "--role", "auditor")
    assert "cannot hold both" in run(*issue, *both, code=1).output
    answer = told(*issue, "--role", "custodian", "--request", home / "alice.csr")
    assert "key" not in answer and (home / "alice.key").read_bytes() == key
    certificate = x509.load_pem_x509_certificate((home / "alice.pem").read_bytes())
    shown = read_shown(certificate.public_bytes(Encoding.DER))
    assert (shown.name, shown.person, shown.roles) == ("alice", "Alice Martin", {Role.CUSTODIAN})
    authority = read_admin_authority(ca)
    with admin_plane_served(tmp_path, authority=authority) as served:
        add = ("admin", "add", "alice", "--person", "Alice Martin", "--role", "custodian")
        assert told(*add, "--socket", socket)["administrator"]["roles"] == ["custodian"]
        files = ("--cert", home / "alice.pem", "--key", home / "alice.key")
        remote = ("--admin", served.url, *files, "--ca", home / "admin-authority.pem")
        whoami = told(*remote, "admin", "whoami")
        assert (whoami["name"], whoami["roles"]) == ("alice", ["custodian"])
        assert "rotate" in str(whoami["may"]) and "pause" not in str(whoami["may"])
        assert told(*remote, "keys", "status")["rotations"] == []
        refused = run(*remote, "jobs", "pause", "count", code=1).output
        assert "may not do this" in refused and "storage-admin" in refused
        # What names a folder or socket means that.
        assert told(*remote, "admin", "whoami", "--socket", socket)["name"] == "local-root"


def test_verbs_of_accounts(tmp_path: Path) -> None:
    with admin_plane_served(tmp_path, listens=False):
        here = ("--socket", tmp_path / "a.sock")
        assert "may do everything" in run("admin", "list", *here).output
        add = ("admin", "add", "bob", "--person", "Bob", "--role", "billing")
        assert "billing" in run(*add, *here).output
        assert "is an administrator" in run(*add, *here, code=1).output
        roles = told("admin", "grant", "bob", "tenant-admin", *here)["administrator"]["roles"]
        assert roles == ["billing", "tenant-admin"]
        roles = told("admin", "revoke", "bob", "billing", *here)["administrator"]["roles"]
        assert roles == ["tenant-admin"]
        for verb, is_enabled in (("disable", False), ("enable", True)):
            found = told("admin", verb, "bob", *here)["administrator"]
            assert found["enabled"] is is_enabled
        assert told("admin", "distrust", "bob", *here)["administrator"]["certificates_from_ms"] > 0
        run("admin", "disable", "nobody", *here, code=1)
        run("admin", "grant", "bob", "custodian", *here, code=1)
        listed = run("admin", "list", *here).output
        assert "nobody is: auditor, billing, custodian, storage-admin" in listed
        assert json.loads(run("admin", "api", *here).stdout)["openapi"] == "3.1.0"
        assert "POST /v1/administrators/add" in run("admin", "whoami", *here).output


def test_the_environment_and_the_file_say_where_the_gateway_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with admin_plane_served(tmp_path) as served:
        served.add("carole")
        folder = tmp_path / "config" / "hexagone"
        folder.mkdir(parents=True)
        (folder / "config.toml").write_text(
            f'[admin]\nurl = "{served.url}"\ncertificate = "../../carole.pem"\n'
            'key = "../../carole.key"\nauthority = "../../authority.pem"\n'
        )
        assert told("admin", "whoami")["name"] == "carole"
        monkeypatch.setenv("HEXAGONE_DATA", str(tmp_path / "elsewhere"))
        assert "admin socket" in run("admin", "whoami", code=2).output
        monkeypatch.setenv("HEXAGONE_ADMIN_URL", "https://127.0.0.1:1")
        assert "No gateway answers at the address" in run("admin", "whoami", code=2).output
        assert told("--admin", served.url, "admin", "whoami")["name"] == "carole"
        monkeypatch.delenv("HEXAGONE_DATA")
        (folder / "config.toml").unlink()
        monkeypatch.setenv("HEXAGONE_ADMIN_URL", served.url)
        assert "HEXAGONE_ADMIN_CERT" in run("admin", "whoami", code=2).output
        for name, file in (("CERT", "carole.pem"), ("KEY", "carole.key"), ("CA", "authority.pem")):
            monkeypatch.setenv(f"HEXAGONE_ADMIN_{name}", str(tmp_path / file))
        assert told("admin", "whoami")["name"] == "carole"
        (tmp_path / "carole.key").chmod(0o644)
        assert "chmod 600" in run("admin", "whoami", code=2).output


def test_what_is_no_address_is_refused(tmp_path: Path) -> None:
    files = {"certificate": tmp_path, "key": tmp_path, "authority": tmp_path}
    for url in (
        "http://h:1",
        "https://h",
        "https://h:0",
        "https://h:99999",
        "https://a b:1",
        "h:1",
    ):
        with pytest.raises(AdminAddressInvalid):
            RemotePlace(url=url, **files).connection(1)
    with pytest.raises(AdminAddressInvalid, match="need --admin"):
        remote_place(GivenPlace(certificate="x"), {"XDG_CONFIG_HOME": str(tmp_path)})
    assert remote_place(GivenPlace(), {"XDG_CONFIG_HOME": str(tmp_path)}) is None


@pytest.mark.proves("A-03")
def test_a_certificate_is_not_made_for_roles_that_exclude_each_other(tmp_path: Path) -> None:
    run("ca", "admin", "init", "--dir", tmp_path)
    authority = read_admin_authority(tmp_path)
    env = RealEnv(threads_max=1)
    with pytest.raises(RolesExcludeEachOther):
        roles = frozenset({Role.CUSTODIAN, Role.BILLING})
        issue_administrator(authority, "alice", "Alice", roles, env)


@pytest.mark.proves("A-01", "A-08")
def test_the_section_of_the_configuration(tmp_path: Path) -> None:
    key = tmp_path / "admin.key"
    key.write_text("x")
    key.chmod(0o600)
    whole: dict[str, Any] = {
        "socket": "a.sock",
        "port": 9443,
        "certificate": "admin.pem",
        "key": "admin.key",
        "authority": "admin-authority.pem",
    }
    taken, others = {"s3": ("127.0.0.1", 9000)}, {"node_tls.authority": tmp_path / "nodes.pem"}

    def checked(**changes: Any) -> AdminConfig:
        raw = {name: value for name, value in {**whole, **changes}.items() if value is not None}
        config = build_config(AdminConfig, raw, folder=tmp_path)
        check_admin(config, taken, others)
        return config

    assert checked().host == "127.0.0.1" and checked().local is LocalRights.BOOTSTRAP
    assert checked(host="10.0.0.1", beyond_loopback=True).port == 9443
    plain = build_config(AdminConfig, {"socket": "a.sock"}, folder=tmp_path)
    check_admin(plain, taken, others)
    for changes in (
        {"port": None},
        {"certificate": None},
        {"key": None},
        {"authority": None},
        {"host": "10.0.0.1"},
        {"host": "0.0.0.0"},
        {"host": "::"},
        {"port": 9000},
        {"authority": "nodes.pem"},
        {"local": "root"},
        {"port": 70000},
    ):
        with pytest.raises(ConfigError):
            checked(**changes)
    key.chmod(0o640)
    with pytest.raises(ConfigError, match="chmod 600"):
        checked()
