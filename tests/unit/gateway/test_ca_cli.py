"""`hexagone ca` and `hexagone keys`: what they write, and what they refuse to overwrite."""

from __future__ import annotations

import json
import stat
from pathlib import Path

from click.testing import Result
from typer.testing import CliRunner

from gateway.main import app
from storaged.identity import read_gateway_identity, read_node_identity
from storaged.tls import node_client_context, node_server_context, s3_server_context


def _run(*words: str | Path) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_certificates_name_their_holders_and_load(tmp_path: Path) -> None:
    ca, out = tmp_path / "ca", tmp_path / "out"
    assert _run("ca", "init", "--dir", ca, "--domain", "x.internal").exit_code == 0
    where = ("--dir", ca, "--out", out, "--json")
    who = ("--id", "lyon-1", "--datacenter", "lyon", "--country", "de")
    answer = json.loads(_run("ca", "issue-node", *where, *who).stdout)
    assert answer["name"] == "spiffe://x.internal/country/de/site/lyon/node/lyon-1"
    assert _run("ca", "issue-gateway", *where, "--id", "gw").exit_code == 0
    assert (
        _run("ca", "issue-server", *where, "--name", "*.s3.x", "--name", "10.0.0.1").exit_code == 0
    )
    authority = out / "authority.pem"
    assert authority.read_bytes() == (ca / "ca.crt").read_bytes()
    identity = read_node_identity(out / "lyon-1.pem")
    assert (identity.node, identity.datacenter, identity.country) == ("lyon-1", "lyon", "de")
    assert read_gateway_identity(out / "gw.pem").gateway == "gw"
    node_server_context(out / "lyon-1.pem", out / "lyon-1.key", authority)
    node_client_context(out / "gw.pem", out / "gw.key", authority)
    s3_server_context(out / "s3.pem", out / "s3.key")
    assert {_mode(path) for path in (*out.glob("*.key"), ca / "ca.key")} == {0o600}


def test_a_renewed_pair_is_another_with_the_same_name(tmp_path: Path) -> None:
    ca, out = tmp_path / "ca", tmp_path / "out"
    _run("ca", "init", "--dir", ca)
    words = ("ca", "issue-node", "--dir", ca, "--id", "n1", "--datacenter", "d1", "--out", out)
    assert _run(*words).exit_code == 0
    first, identity = (out / "n1.key").read_bytes(), read_node_identity(out / "n1.pem")
    assert _run(*words).exit_code == 0
    assert (out / "n1.key").read_bytes() != first
    assert read_node_identity(out / "n1.pem") == identity


def test_a_ca_is_never_overwritten(tmp_path: Path) -> None:
    _run("ca", "init", "--dir", tmp_path)
    before = (tmp_path / "ca.key").read_bytes()
    refused = _run("ca", "init", "--dir", tmp_path)
    assert refused.exit_code == 1 and "There is a CA" in refused.output
    assert (tmp_path / "ca.key").read_bytes() == before


def test_names_that_are_none_get_no_certificate(tmp_path: Path) -> None:
    _run("ca", "init", "--dir", tmp_path)
    where = ("--dir", tmp_path, "--out", tmp_path / "out")
    for name, site, country in (("../x", "d", "fr"), ("n", "D/", "fr"), ("n", "d", "France")):
        who = ("--id", name, "--datacenter", site, "--country", country)
        assert _run("ca", "issue-node", *where, *who).exit_code == 1
    assert _run("ca", "issue-gateway", *where, "--id", "a/b").exit_code == 1
    assert _run("ca", "issue-node", "--dir", tmp_path / "none", *where[2:], *who).exit_code == 1
    assert not (tmp_path / "out").exists()


def test_a_root_key_is_made_once_and_named_without_being_shown(tmp_path: Path) -> None:
    made = json.loads(_run("keys", "init", "--keys", tmp_path, "--json").stdout)
    key = (tmp_path / "root.key").read_bytes()
    assert len(key) == 32 and _mode(tmp_path / "root.key") == 0o600
    assert _run("keys", "init", "--keys", tmp_path).exit_code == 1
    assert (tmp_path / "root.key").read_bytes() == key
    shown = _run("keys", "show", "--keys", tmp_path, "--json")
    assert json.loads(shown.stdout) == made and key.hex() not in shown.output
    (tmp_path / "root.key").chmod(0o640)
    assert _run("keys", "show", "--keys", tmp_path).exit_code == 1
