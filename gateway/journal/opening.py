"""The journal of a cluster from its configuration and its root key.

The keys that hash names are derived from the root key. Keys that sign are drawn, and are in a file
(`gateway.journal.signing`); a journal from before that goes on under its derived ones until they
are rotated.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

from gateway.journal.events import Event, Phase
from gateway.journal.journal import Journal, JournalConfig
from gateway.journal.notes import ED25519, MLDSA65, SignerKey
from gateway.journal.shelf import JournalKeys
from gateway.journal.signing import KEYS_FILE, SigningKeys
from storaged.base.env import Env
from storaged.base.errors import StorageError

logger = logging.getLogger(__name__)

PREFIX = "hexagone"
DeriveKey = Callable[[str, str], bytes]
"""(label, context) → 32 bytes from the root key."""


def journal_keys(cluster_id: bytes, derive: DeriveKey) -> JournalKeys:
    """The derived keys of a cluster's journal: those that hash names, and those that signed first
    where no others were drawn.
    """
    return JournalKeys(
        prefix=f"{PREFIX}/{cluster_id.hex()}",
        signers=(
            SignerKey(ED25519, derive("journal-ed25519", "")),
            SignerKey(MLDSA65, derive("journal-ml-dsa-65", "")),
        ),
        names_key=lambda log: derive("journal-names", log),
    )


def open_journal(
    config: JournalConfig | None,
    cluster_id: bytes,
    derive: DeriveKey,
    env: Env,
    keys_folder: Path | None = None,
) -> Journal | None:
    """The journal, if there is to be one; `Journal.start` comes later.

    Args:
        keys_folder: where the keys are that sign; None: the derived ones do.
    """
    if config is None:
        return None
    derived = journal_keys(cluster_id, derive)
    if keys_folder is None:
        return Journal(config, derived, env)
    signing = SigningKeys(keys_folder / KEYS_FILE, config.folder, derived, derive, env)
    try:
        signing.begin()
        return Journal(config, signing.load(), env, signing)
    except (StorageError, OSError) as error:
        # As with a drive that takes nothing: acts are refused, objects are served.
        logger.error("the journal cannot be signed: %s", error)
        return Journal(config, derived._replace(trouble=str(error)), env)


def command_event(command: str, env: Env) -> Event:
    """That somebody who holds the root key has run a command without a gateway."""
    return Event(env.now_ms(), f"command.{command}", Phase.INTENT, {})


def start_event(effective: str, node_count: int, env: Env) -> Event:
    """That the gateway started, and with which configuration: its digest, not its text."""
    digest = sha256(effective.encode()).hexdigest()
    body: dict[str, str | int] = {"config_sha256": digest, "nodes": node_count}
    return Event(env.now_ms(), "gateway.start", Phase.NOTE, body)
