"""The keys that a journal was signed with, one after the other, each vouched for by the one before.

Not for private keys (`gateway.journal.signing`). A key that is to come is announced by an event in
the cluster's log and by a line of the checkpoint over it, which the present key signs last: the
*handover*. Who has any key of the chain follows it to the present one; a key that was not announced
is nobody's.

Handover: a C2SP checkpoint of the cluster's log with the extension line
`next-key <number> <SHA-256 of the file of the next public keys, hex>`.

Source: C2SP signed-note, tlog-checkpoint; docs/journal.md. Requirements: K-10, C6.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256

from gateway.journal.events import CLUSTER
from gateway.journal.notes import (
    Checkpoint,
    NoteInvalid,
    VerifierKey,
    open_checkpoint,
    read_verifier_key,
)

CHAIN = "chain.json"
ANNOUNCED = "journal.key"  # type of the event
CHAIN_BYTES_MAX = 4 << 20
KEYS_BYTES_MAX = 64 * 1024
FORM = "hexagone-journal-chain/1"
_EXTENSION = "next-key"

Keys = tuple[VerifierKey, ...]


@dataclass(frozen=True, slots=True)
class Link:
    """The keys that follow, and the handover, a note that the keys before have signed."""

    keys: Keys
    handover: bytes


@dataclass(frozen=True, slots=True)
class Chain:
    """All keys of a journal; `first` signed it until the handover of the first link."""

    first: Keys
    links: tuple[Link, ...] = ()

    @property
    def generations(self) -> list[Keys]:
        """Keys in the order in which they signed."""
        return [self.first, *(link.keys for link in self.links)]

    @property
    def last(self) -> Keys:
        return self.generations[-1]

    def handovers(self) -> list[Checkpoint]:
        """The last thing that each of the former keys has signed. Raises: NoteInvalid."""
        before = self.generations
        return [
            open_checkpoint(link.handover, keys)
            for keys, link in zip(before, self.links, strict=False)
        ]

    def since(self, keys: Sequence[VerifierKey]) -> Chain:
        """The chain from keys that somebody trusts. Raises: NoteInvalid: they are none of it."""
        for at, held in enumerate(self.generations):
            if held == tuple(keys):
                return Chain(held, self.links[at:])
        raise NoteInvalid(reason="the keys that were given have never signed this journal")

    def extended(self, keys: Sequence[VerifierKey], handover: bytes) -> Chain:
        """With one key more. Raises: NoteInvalid: the last one has not announced it."""
        longer = Chain(self.first, (*self.links, Link(tuple(keys), handover)))
        check_chain(longer)
        return longer


def read_keys(content: bytes) -> list[VerifierKey]:
    """Public keys of a journal, one a line. Raises: NoteInvalid."""
    try:
        lines = content[:KEYS_BYTES_MAX].decode().split("\n")
    except UnicodeDecodeError as error:
        raise NoteInvalid(reason="no UTF-8") from error
    keys = [read_verifier_key(line) for line in lines if line]
    if not keys or any(not key.name.endswith(f"/{CLUSTER}") for key in keys):
        raise NoteInvalid(reason="no keys of a journal")
    if len({key.name for key in keys}) != 1:
        raise NoteInvalid(reason="keys of several journals")
    return keys


def encode_keys(keys: Iterable[VerifierKey]) -> bytes:
    """The file of public keys."""
    return "".join(f"{key.text}\n" for key in keys).encode()


def keys_digest(keys: Iterable[VerifierKey]) -> str:
    """What announces keys: SHA-256 of their file, as hex."""
    return sha256(encode_keys(keys)).hexdigest()


def announcement(number: int, keys: Sequence[VerifierKey]) -> str:
    """The extension line of a handover. `number`: of the keys, the first ones are 1."""
    return f"{_EXTENSION} {number} {keys_digest(keys)}"


def announced_in(checkpoint: Checkpoint) -> str:
    """The announcement in a checkpoint, "" if there is none."""
    return next((one for one in checkpoint.extensions if one.startswith(f"{_EXTENSION} ")), "")


def check_chain(chain: Chain) -> None:
    """Each key was announced by the one before. Raises: NoteInvalid, which says which was not."""
    size = -1
    for number, (link, handover) in enumerate(zip(chain.links, _opened(chain), strict=True), 2):
        name = chain.first[0].name
        if handover.origin != name or any(key.name != name for key in link.keys):
            raise NoteInvalid(reason=f"key {number} of the chain is of another journal")
        if announced_in(handover) != announcement(number, link.keys):
            raise NoteInvalid(reason=f"key {number} of the chain was not announced")
        if handover.size <= size:
            raise NoteInvalid(reason=f"key {number} of the chain came before the one before it")
        size = handover.size


def _opened(chain: Chain) -> list[Checkpoint]:
    found = []
    for number, (keys, link) in enumerate(zip(chain.generations, chain.links, strict=False), 2):
        try:
            found.append(open_checkpoint(link.handover, keys))
        except NoteInvalid as error:
            said = error.fields.get("reason", "")
            reason = f"key {number} of the chain was not announced by the one before: {said}"
            raise NoteInvalid(reason=reason) from error
    return found


def encode_chain(chain: Chain) -> bytes:
    """The file of a chain."""
    document = {
        "format": FORM,
        "first": [key.text for key in chain.first],
        "links": [
            {"keys": [key.text for key in link.keys], "handover": link.handover.decode()}
            for link in chain.links
        ],
    }
    return json.dumps(document, indent=1).encode() + b"\n"


def read_chain(content: bytes) -> Chain:
    """A chain that holds. Raises: NoteInvalid."""
    if len(content) > CHAIN_BYTES_MAX:
        raise NoteInvalid(reason="the chain of keys is too long")
    try:
        document = json.loads(content)
        chain = Chain(
            tuple(read_keys("\n".join(document["first"]).encode())),
            tuple(
                Link(tuple(read_keys("\n".join(one["keys"]).encode())), one["handover"].encode())
                for one in document["links"]
            ),
        )
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise NoteInvalid(reason="no chain of keys") from error
    if encode_chain(chain) != content:
        raise NoteInvalid(reason="the chain of keys is written in another way")
    check_chain(chain)
    return chain


def open_by_any(content: bytes, chain: Chain) -> tuple[Checkpoint, int]:
    """A checkpoint that some keys of a chain have signed, and which, counted from 0.

    What a former key has signed of the cluster's log counts up to its handover only.

    Raises: NoteInvalid: none of them has, or after its handover.
    """
    refused: NoteInvalid | None = None
    handovers = chain.handovers()
    for at in range(len(chain.links), -1, -1):
        try:
            checkpoint = open_checkpoint(content, chain.generations[at])
        except NoteInvalid as error:
            refused = refused or error
            continue
        is_former = at < len(chain.links) and checkpoint.origin == chain.first[0].name
        if is_former and checkpoint.size > handovers[at].size:
            raise NoteInvalid(reason=f"signed by key {at + 1} after it was handed over")
        return checkpoint, at
    assert refused is not None
    raise refused


def open_kept(content: bytes, trusted: Chain, whole: Chain) -> tuple[Checkpoint, bool]:
    """A checkpoint to hold a log against, and whether keys of before the trusted ones signed it.

    Such a one proves nothing to whoever has no older keys, and can only find what is wrong: it was
    kept, or cosigned, before the keys were changed.

    Raises: NoteInvalid: no key of the whole chain has signed it, or after its handover.
    """
    try:
        return open_by_any(content, trusted)[0], False
    except NoteInvalid as error:
        try:
            return open_by_any(content, whole)[0], True
        except NoteInvalid:
            raise error from None
