"""Writing what a backup holds into a keys folder, so that nothing that is there is lost.

Not for judging whether that may be done (`gateway.recovery.restore`, `gateway.recovery.consent`).

Source: docs/recovery.md, "Restore".
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path, PurePosixPath

from gateway.data.keyring import ROOT_FILE, TENANTS_FILE, FileKeyring, RootKey
from gateway.recovery.backup import ALSO, BACKUP_BYTES_MAX, BackupInvalid, Holding
from gateway.recovery.folder import RECORD
from storaged.base.durable import replace_file
from storaged.base.env import Env
from storaged.base.errors import Kind, StorageError


class FolderTaken(StorageError):
    """Something else than what would be restored is in the folder."""

    kind = Kind.CONFLICT
    hint = "restore into an empty folder, or move what is there out of the way"


def write_back(
    keys: Path,
    holding: Holding,
    env: Env,
    also: Mapping[str, Path] | None = None,
    merged: Collection[str] = (),
) -> list[Path]:
    """Put what a backup holds into a keys folder. Of a keyring that is there already the later
    state of each key stays.

    Args:
        also: where the rest belongs, by name; what is not named comes below the keys folder.
        merged: files that hold already what is there of them.

    Returns: what was written. Raises: FolderTaken before anything is written; BackupInvalid,
    KeyringConflict, OSError.
    """
    paths = {name: place_in(keys, name, also or {}) for name in holding.files}
    for name, path in paths.items():
        is_fixed = name not in (TENANTS_FILE, RECORD, *merged) and path.exists()
        if is_fixed and _content(path) != holding.files[name]:
            raise FolderTaken(path=path)
    keys.mkdir(mode=0o700, parents=True, exist_ok=True)
    written = []
    # The root key last: a folder without it is not taken for a whole one after a crash. What was
    # merged just before: it says that this was done.
    for name in sorted(holding.files, key=lambda name: (name == ROOT_FILE, name in merged, name)):
        path, content = paths[name], holding.files[name]
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if name == TENANTS_FILE and path.exists():
            root = RootKey(holding.files[ROOT_FILE])
            FileKeyring(keys, root, env).import_sealed(content)
        elif not path.exists() or name in (RECORD, *merged):
            replace_file(path, content)
        else:
            continue
        written.append(path)
    return written


def place_in(keys: Path, name: str, also: Mapping[str, Path]) -> Path:
    """Where a file of a backup belongs. Raises: BackupInvalid."""
    outside, _, below = name.removeprefix(f"{ALSO}/").partition("/")
    if not name.startswith(f"{ALSO}/") or outside not in also:
        return _inside(keys, name)
    return _inside(also[outside], below) if below else also[outside]


def _inside(keys: Path, name: str) -> Path:
    parts = PurePosixPath(name).parts
    if not parts or PurePosixPath(name).is_absolute() or ".." in parts or "\0" in name:
        raise BackupInvalid(reason="a file's name leads out of the folder")
    return keys.joinpath(*parts)


def _content(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(BACKUP_BYTES_MAX + 1)
