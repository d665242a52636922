"""TOML → frozen dataclass, the same way for both daemons.

A configuration is a dataclass of scalars, paths, enums, tuples, nested dataclasses, and optional
ones of these. An unknown key is an error that names the nearest known one. Secrets are given as
paths to files that only their owner can read: `SecretPath`. Relative paths are taken from the
folder of the configuration file.

Not for values that change while a daemon runs.
"""

from __future__ import annotations

import dataclasses
import difflib
import os
import stat
import tomllib
import types
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin, get_type_hints

from storaged.base.errors import ConfigError

CONFIG_BYTES_MAX = 1024 * 1024

T = TypeVar("T")


@dataclasses.dataclass(frozen=True, slots=True)
class Bounds:
    """Lowest and highest value of a number: `Annotated[int, Bounds(1, 65535)]`."""

    low: float
    high: float


@dataclasses.dataclass(frozen=True, slots=True)
class OwnerOnly:
    """Mark of a path whose file holds a secret."""


SecretPath = Annotated[Path, OwnerOnly()]


def read_config(shape: type[T], path: Path) -> T:
    """Read a TOML file into `shape`.

    Raises:
        ConfigError: with `key` (dotted) and `reason`: unreadable, not TOML, unknown or
            missing key, type, bounds, a secret that others can read.
    """
    try:
        with path.open("rb") as file:
            content = file.read(CONFIG_BYTES_MAX + 1)
        if len(content) > CONFIG_BYTES_MAX:
            raise ConfigError(path=path, reason=f"larger than {CONFIG_BYTES_MAX} bytes")
        raw = tomllib.loads(content.decode("utf-8"))
    except OSError as error:
        raise ConfigError(path=path, reason=error.strerror) from error
    except UnicodeDecodeError as error:
        raise ConfigError(path=path, reason="it is no text in UTF-8") from error
    except (ValueError, RecursionError) as error:  # numbers and nesting that are too long as well
        raise ConfigError(path=path, reason=f"not TOML: {error}") from error
    return build_config(shape, raw, folder=path.absolute().parent)


def build_config(shape: type[T], raw: dict[str, Any], *, folder: Path) -> T:
    """`raw`, as tomllib gives it, as a `shape`. Raises ConfigError."""
    return _build(shape, raw, "", folder)


def effective_values(config: object) -> dict[str, Any]:
    """Every value with its defaults filled in, as plain tables, strings and numbers.

    Secrets stay paths.
    """
    assert dataclasses.is_dataclass(config)
    return {field.name: _plain(getattr(config, field.name)) for field in dataclasses.fields(config)}


def render_effective(config: object) -> str:
    """The effective values as TOML; keys that are not set are comments."""
    return "\n".join(_render_table(effective_values(config), "")) + "\n"


def check_secret_file(path: Path, key: str) -> None:
    """Hold a secret's file against the rules: regular, ours (or root's), closed to others.

    Raises:
        ConfigError: with the key and what to do.
    """
    try:
        status = path.stat()
    except OSError as error:
        raise ConfigError(key=key, path=path, reason=error.strerror) from error
    if not stat.S_ISREG(status.st_mode):
        raise ConfigError(key=key, path=path, reason="not a regular file")
    if status.st_uid not in (os.geteuid(), 0):
        raise ConfigError(key=key, path=path, reason=f"owned by user {status.st_uid}")
    if status.st_mode & 0o077:
        mode = f"{stat.S_IMODE(status.st_mode):04o}"
        raise ConfigError(key=key, path=path, reason=f"mode {mode}, others can read it: chmod 600")


def _build(shape: type[T], raw: dict[str, Any], prefix: str, folder: Path) -> T:
    assert dataclasses.is_dataclass(shape)
    fields = {field.name: field for field in dataclasses.fields(shape)}
    hints = get_type_hints(shape, include_extras=True)
    for name in raw:
        if name not in fields:
            near = difflib.get_close_matches(name, fields, n=1, cutoff=0.0)
            raise ConfigError(
                key=prefix + name,
                reason="unknown key",
                nearest=prefix + near[0] if near else "none",
            )
    values: dict[str, Any] = {}
    for name, field in fields.items():
        key = prefix + name
        if name in raw:
            values[name] = _convert(hints[name], raw[name], key, folder)
        elif _is_required(field):
            inner = hints[name]
            if not dataclasses.is_dataclass(inner):
                raise ConfigError(key=key, reason="missing")
            values[name] = _convert(inner, {}, key, folder)  # names the key that is missing inside
    built: T = shape(**values)
    return built


def _is_required(field: dataclasses.Field[Any]) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _convert(hint: Any, value: Any, key: str, folder: Path) -> Any:
    """One value of the type `hint`. Raises ConfigError."""
    origin = get_origin(hint)
    if origin is Annotated:
        inner, *marks = get_args(hint)
        converted = _convert(inner, value, key, folder)
        for mark in marks:
            _check_mark(mark, converted, key)
        return converted
    if origin in (Union, types.UnionType):
        choices = [choice for choice in get_args(hint) if choice is not type(None)]
        assert len(choices) == 1, "only `X | None` is a configuration type"
        return _convert(choices[0], value, key, folder)
    if origin is tuple:
        if not isinstance(value, list):
            raise _wrong_type(key, "a list", value)
        inner = get_args(hint)[0]
        return tuple(
            _convert(inner, item, f"{key}[{index}]", folder) for index, item in enumerate(value)
        )
    if dataclasses.is_dataclass(hint):
        if not isinstance(value, dict):
            raise _wrong_type(key, "a table", value)
        assert isinstance(hint, type)
        return _build(hint, value, f"{key}.", folder)
    return _convert_scalar(hint, value, key, folder)


def _convert_scalar(hint: Any, value: Any, key: str, folder: Path) -> Any:
    if hint is Path:
        if not isinstance(value, str) or not value or "\0" in value:
            raise _wrong_type(key, "a path", value)
        return folder / value
    if isinstance(hint, type) and issubclass(hint, Enum):
        known = [member.value for member in hint]
        if value not in known:
            raise ConfigError(key=key, reason=f"one of {', '.join(map(str, known))}", value=value)
        return hint(value)
    if hint is float and type(value) is int:
        return float(value)
    assert hint in (str, int, float, bool), f"{key}: {hint} is no configuration type"
    if type(value) is not hint:
        names = {str: "a string", int: "a whole number", float: "a number", bool: "true or false"}
        raise _wrong_type(key, names[hint], value)
    return value


def _check_mark(mark: object, value: Any, key: str) -> None:
    if isinstance(mark, Bounds) and not mark.low <= value <= mark.high:
        raise ConfigError(key=key, reason=f"from {mark.low} to {mark.high}", value=value)
    if isinstance(mark, OwnerOnly):
        check_secret_file(value, key)


def _wrong_type(key: str, expected: str, value: Any) -> ConfigError:
    return ConfigError(key=key, reason=f"{expected} is expected", found=type(value).__name__)


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return effective_values(value)
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if isinstance(value, Enum):
        return value.value
    return str(value) if isinstance(value, Path) else value


def _render_table(table: dict[str, Any], prefix: str) -> list[str]:
    lines = []
    for name, value in table.items():
        if value is None:
            lines.append(f"# {name} is not set")
        elif not isinstance(value, dict) and not _is_tables(value):
            lines.append(f"{name} = {_render_value(value)}")
    for name, value in table.items():
        if isinstance(value, dict):
            lines += ["", f"[{prefix}{name}]", *_render_table(value, f"{prefix}{name}.")]
        elif _is_tables(value):
            for item in value:
                lines += ["", f"[[{prefix}{name}]]", *_render_table(item, f"{prefix}{name}.")]
    return lines


def _is_tables(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], dict)


def _render_value(value: Any) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case list():
            return f"[{', '.join(_render_value(item) for item in value)}]"
        case str():
            escaped = value.replace("\\", "\\\\").replace('"', '\\"')
            return (
                '"' + "".join(c if c.isprintable() else f"\\U{ord(c):08x}" for c in escaped) + '"'
            )
        case _:
            return str(value)
