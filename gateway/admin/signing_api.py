"""Routes of the admin port about the keys that sign for the cluster.

    GET  /v1/signing-keys                     what signs, since when, and the public keys
    POST /v1/signing-keys/attestation/rotate  sign statements about places with another key

The journal's keys are rotated by its own route, for it announces them. Not for what is signed.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

from aiohttp import web

from gateway.admin.answers import json_answer
from gateway.admin.attestation import public_key_of
from gateway.admin.outlook import Document
from gateway.data.attestation_key import (
    AttestationKey,
    draw_attestation_key,
    keep_attestation_key,
    load_attestation_key,
)
from gateway.data.root_key import RootKey
from gateway.journal.events import CLUSTER, Event, Phase
from gateway.journal.journal import Journal
from gateway.journal.opening import journal_keys
from storaged.base.env import Env
from storaged.base.errors import StorageError

ROTATED = "attestation.key"  # type of the event


class SigningDesk:
    """The keys that sign for a cluster.

    Args:
        keys: the folder that they are in.
        journal: None where none is kept.
    """

    def __init__(self, keys: Path, root: RootKey, journal: Journal | None, env: Env) -> None:
        self._folder = keys
        self._root = root
        self._journal = journal
        self._env = env
        self._one = asyncio.Lock()
        self._derived = tuple(journal_keys(root.cluster_id, root.derive).verifiers())

    def attestation_seed(self) -> bytes:
        """What statements about places are signed with. Raises: as `load_attestation_key`."""
        return load_attestation_key(self._folder, self._root).seed

    def document(self) -> Document:
        """What signs. Nothing secret is in it. Raises: as `load_attestation_key`."""
        found = [_attestation_row(load_attestation_key(self._folder, self._root))]
        if (journal := self._journal) is not None and not journal.keys.trouble:
            chain = journal.keys.chain
            found.append(
                {
                    "signs": "journal",
                    "drawn": chain.last != self._derived,
                    "drawn_at_ms": 0,
                    "public_keys": [key.text for key in chain.last],
                }
            )
        return {"keys": found}

    async def rotate_attestation(self) -> Document:
        """Sign statements with another key from here on; the one before is erased. The journal has
        the public key first, so that who knows the journal's knows this one.

        Raises: JournalUnavailable, OSError.
        """
        async with self._one:
            key = draw_attestation_key(self._env)
            if self._journal is not None:
                body = {"public_key": public_key_of(key.seed)}
                event = Event(self._env.now_ms(), ROTATED, Phase.NOTE, dict(body))
                await self._journal.record(CLUSTER, event)
            await self._env.offload(
                lambda: keep_attestation_key(self._folder, self._root, key, self._env)
            )
            return _attestation_row(key)

    def warnings(self) -> list[str]:
        """Keys that whoever has the root key has as well."""
        try:
            derived = {row["signs"] for row in self.document()["keys"] if not row["drawn"]}
        except (StorageError, OSError) as error:
            return [f"statements about places cannot be signed: {error}"]
        found = []
        if "attestation" in derived:
            found.append(
                "statements about places are signed with a key that follows from the root key: "
                "`hexagone keys rotate-attestation`"
            )
        if "journal" in derived:
            found.append(
                "the journal is signed with keys that follow from the root key: "
                "`hexagone journal rotate-key`"
            )
        return found


def _attestation_row(key: AttestationKey) -> Document:
    return {
        "signs": "attestation",
        "drawn": key.is_drawn,
        "drawn_at_ms": key.drawn_at_ms,
        "public_keys": [public_key_of(key.seed)],
    }


def signing_routes(desk: SigningDesk) -> list[web.RouteDef]:
    """The routes."""

    async def show(request: web.Request) -> web.Response:
        return json_answer(desk.document())

    async def rotate(request: web.Request) -> web.Response:
        return json_answer(await desk.rotate_attestation())

    return [
        web.get("/v1/signing-keys", show),
        web.post("/v1/signing-keys/attestation/rotate", rotate),
    ]
