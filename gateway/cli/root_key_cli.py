"""`hexagone keys init` and `keys show`: the root key of a cluster, as a file. Asks no gateway.

Neither overwrites a root key: where there is one, they refuse.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from gateway.data.attestation_key import create_cluster_keys
from gateway.data.keyring import ROOT_FILE, RootKey
from gateway.terminal import language
from gateway.terminal.refusals import stop
from storaged.base.env import RealEnv
from storaged.base.errors import StorageError

KeysOption = Annotated[Path, typer.Option("--keys", help="folder of the keys")]
JsonOption = Annotated[bool, typer.Option("--json", help="for programs")]


def init_root_key(keys: KeysOption, as_json: JsonOption = False) -> None:
    """Make the root key of a cluster (mode 0600). Back it up before the first object is stored.

    Example: hexagone keys init --keys /srv/hexagone/keys
    """
    try:
        root = create_cluster_keys(keys, RealEnv(threads_max=1))
    except (StorageError, OSError) as error:
        stop(error)
    _tell(keys, root, as_json=as_json)


def show_root_key(keys: KeysOption, as_json: JsonOption = False) -> None:
    """The cluster that a root key (or a copy of it) belongs to; nothing secret is printed.

    Example: hexagone keys show --keys /srv/hexagone/keys
    """
    try:
        root = RootKey.load(keys)
    except (StorageError, OSError) as error:
        stop(error)
    _tell(keys, root, as_json=as_json)


def _tell(keys: Path, root: RootKey, *, as_json: bool) -> None:
    answer = {"root_key": str(keys / ROOT_FILE), "cluster": root.cluster_id.hex()}
    if as_json:
        typer.echo(json.dumps(answer))
        return
    for name, value in answer.items():
        typer.echo(f"{language.say(name.replace('_', ' ')):<12} {value}")
