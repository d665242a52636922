"""TOML → dataclass: what is accepted, and how each refusal names the key."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storaged.base.config import (
    Bounds,
    SecretPath,
    build_config,
    effective_values,
    read_config,
    render_effective,
)
from storaged.base.errors import ConfigError


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


@dataclass(frozen=True, slots=True, kw_only=True)
class Listen:
    host: str = "127.0.0.1"
    port: Annotated[int, Bounds(1, 65535)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    name: str
    weight: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    listen: Listen
    timeout_s: float = 1.5
    colour: Colour = Colour.RED
    folder: Path = Path("/var")
    key: SecretPath | None = None
    members: tuple[Member, ...] = ()
    names: tuple[str, ...] = field(default_factory=tuple)
    verbose: bool = False


def _build(raw: dict[str, Any], folder: Path = Path("/etc/x")) -> Config:
    return build_config(Config, raw, folder=folder)


def _refusal(raw: dict[str, Any]) -> dict[str, object]:
    with pytest.raises(ConfigError) as caught:
        _build(raw)
    return caught.value.fields


def test_a_file_becomes_values(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"x")
    (tmp_path / "secret").chmod(0o400)
    (tmp_path / "c.toml").write_text(
        'timeout_s = 2\ncolour = "blue"\nfolder = "drive"\nkey = "secret"\nnames = ["a", "b"]\n'
        '[listen]\nport = 9\n[[members]]\nname = "x"\n[[members]]\nname = "y"\nweight = 0.5\n'
    )
    config = read_config(Config, tmp_path / "c.toml")
    assert config == Config(
        listen=Listen(port=9),
        timeout_s=2.0,
        colour=Colour.BLUE,
        folder=tmp_path / "drive",
        key=tmp_path / "secret",
        members=(Member(name="x"), Member(name="y", weight=0.5)),
        names=("a", "b"),
    )
    again = tomllib.loads(render_effective(config))
    assert build_config(Config, again, folder=tmp_path) == config


@pytest.mark.parametrize(
    ("raw", "key", "nearest"),
    [
        ({"listen": {"port": 1}, "timeout": 3}, "timeout", "timeout_s"),
        ({"listen": {"port": 1, "prot": 3}}, "listen.prot", "listen.port"),
        ({"listen": {"port": 1}, "members": [{"nmae": "x"}]}, "members[0].nmae", "members[0].name"),
    ],
)
def test_an_unknown_key_names_the_nearest(raw: dict[str, Any], key: str, nearest: str) -> None:
    assert _refusal(raw) == {"key": key, "reason": "unknown key", "nearest": nearest}


@pytest.mark.parametrize(
    ("raw", "key"),
    [
        ({}, "listen.port"),
        ({"listen": {}}, "listen.port"),
        ({"listen": 5}, "listen"),
        ({"listen": {"port": "9"}}, "listen.port"),
        ({"listen": {"port": True}}, "listen.port"),
        ({"listen": {"port": 0}}, "listen.port"),
        ({"listen": {"port": 65536}}, "listen.port"),
        ({"listen": {"port": 1}, "timeout_s": "1"}, "timeout_s"),
        ({"listen": {"port": 1}, "colour": "green"}, "colour"),
        ({"listen": {"port": 1}, "folder": ""}, "folder"),
        ({"listen": {"port": 1}, "folder": "a\0b"}, "folder"),
        ({"listen": {"port": 1}, "names": "a"}, "names"),
        ({"listen": {"port": 1}, "names": ["a", 1]}, "names[1]"),
        ({"listen": {"port": 1}, "verbose": 1}, "verbose"),
        ({"listen": {"port": 1}, "members": [{}]}, "members[0].name"),
        ({"listen": {"port": 1}, "key": "/nonexistent"}, "key"),
        ({"listen": {"port": 1}, "key": "/"}, "key"),
    ],
)
def test_a_refusal_names_its_key(raw: dict[str, Any], key: str) -> None:
    assert _refusal(raw)["key"] == key


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o601, 0o660])
def test_a_secret_that_others_can_reach_is_refused(mode: int, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"x")
    (tmp_path / "secret").chmod(mode)
    with pytest.raises(ConfigError, match="chmod 600"):
        _build({"listen": {"port": 1}, "key": "secret"}, tmp_path)


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"a = ", "not TOML"), (b"a = 1\na = 2", "not TOML"), (b"\xff\xfe", "no text in UTF-8")],
)
def test_what_is_not_toml_is_refused(content: bytes, reason: str, tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_bytes(content)
    with pytest.raises(ConfigError, match=reason):
        read_config(Config, tmp_path / "c.toml")
    with pytest.raises(ConfigError, match="No such file"):
        read_config(Config, tmp_path / "other.toml")


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"])))
def test_any_text_survives_rendering(text: str) -> None:
    config = Config(listen=Listen(host=text, port=1))
    assert tomllib.loads(render_effective(config))["listen"]["host"] == text
    assert effective_values(config)["key"] is None
