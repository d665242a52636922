"""The private keys that sign a journal: derived from the root key first, random after a rotation.

Not for what they sign. The first ones follow from the root key, so that a cluster has a journal
without another file; whoever rotates them makes random ones, kept beside the root key in
`journal.keys`, encrypted under a key from it:

    "HXJ" ‖ 1 ‖ nonce 12 ‖ AES-256-GCM of: the seeds in use ‖ the seeds that are to come

Seeds are 64 bytes (Ed25519 32 ‖ ML-DSA-65 32) or 64 zeros for none. Which are in use is told by the
chain in the journal's folder: it is replaced in one step, after both files name the next keys.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from gateway.journal.chain import CHAIN, CHAIN_BYTES_MAX, Chain, Keys, encode_chain, read_chain
from gateway.journal.notes import ED25519, MLDSA65, SEED_BYTES, NoteInvalid, SignerKey
from gateway.journal.shelf import JournalKeys
from storaged.base.durable import replace_file
from storaged.base.env import Env
from storaged.base.errors import Kind, StorageError

KEYS_FILE = "journal.keys"
_MAGIC = b"HXJ\x01"
_NONCE_BYTES = 12
_KINDS = (ED25519, MLDSA65)
_SEEDS_BYTES = SEED_BYTES * len(_KINDS)
_NONE = bytes(_SEEDS_BYTES)

DeriveKey = Callable[[str, str], bytes]
"""(label, context) → 32 bytes from the root key."""


class SigningKeysInvalid(StorageError):
    """The keys that sign the journal are not usable."""

    kind = Kind.UNAVAILABLE
    hint = "restore journal.keys into the keys folder, from a recovery backup"


class SigningKeys:
    """Private keys of one journal in two files. Not for several threads at once.

    Args:
        file: `journal.keys` in the folder of the keys. folder: the journal's.
        first: the keys that are derived.
    """

    def __init__(
        self, file: Path, folder: Path, first: JournalKeys, derive: DeriveKey, env: Env
    ) -> None:
        self._file = file
        self._chain_file = folder / CHAIN
        self._first = first
        self._derive = derive
        self._env = env

    def __repr__(self) -> str:
        return "SigningKeys(…)"

    def load(self) -> JournalKeys:
        """The keys in use, with the chain that leads to them.

        Raises: SigningKeysInvalid: the chain leads to keys that are not here; NoteInvalid; OSError.
        """
        chain = self._chain()
        for signers in (self._first.signers, *map(_signers, self._read())):
            if self._public(signers) == chain.last:
                return self._first._replace(signers=signers, held=chain)
        raise SigningKeysInvalid(path=self._file, reason="not the keys that sign the journal")

    def prepare(self) -> tuple[SignerKey, ...]:
        """Other keys, kept before anybody is told of them. Raises: OSError, SigningKeysInvalid."""
        in_use = self._seeds_in_use()
        seeds = self._env.random_bytes(_SEEDS_BYTES)
        self._write(in_use, seeds)
        return _signers(seeds)

    def hand_over(self, chain: Chain) -> None:
        """From here on the last keys of a chain are in use. Raises: OSError."""
        replace_file(self._chain_file, encode_chain(chain))

    def forget_former(self) -> None:
        """Erase the seeds that are in use no more. Raises: OSError, SigningKeysInvalid."""
        self._write(self._seeds_in_use(), _NONE)

    def _seeds_in_use(self) -> bytes:
        wanted = self._chain().last
        for seeds in self._read():
            if self._public(_signers(seeds)) == wanted:
                return seeds
        return _NONE  # the derived ones

    def _public(self, signers: Sequence[SignerKey]) -> Keys:
        return tuple(self._first._replace(signers=signers).verifiers())

    def _chain(self) -> Chain:
        own = Chain(self._public(self._first.signers))
        try:
            with self._chain_file.open("rb") as file:
                chain = read_chain(file.read(CHAIN_BYTES_MAX + 1))
        except FileNotFoundError:
            return own
        if chain.first != own.first:
            raise NoteInvalid(reason="the chain of keys is of another journal")
        return chain

    def _read(self) -> list[bytes]:
        """Seeds that are kept: of those in use, and of those to come."""
        try:
            content = self._file.read_bytes()
        except FileNotFoundError:
            return []
        nonce, sealed = content[len(_MAGIC) :][:_NONCE_BYTES], content[len(_MAGIC) + _NONCE_BYTES :]
        try:
            if not content.startswith(_MAGIC):
                raise ValueError
            plain = self._cipher().decrypt(nonce, sealed, _MAGIC)
        except (InvalidTag, ValueError) as error:
            raise SigningKeysInvalid(path=self._file, reason="it does not open") from error
        kept = (plain[:_SEEDS_BYTES], plain[_SEEDS_BYTES:])
        return [seeds for seeds in kept if seeds != _NONE and len(seeds) == _SEEDS_BYTES]

    def _write(self, in_use: bytes, to_come: bytes) -> None:
        nonce = self._env.random_bytes(_NONCE_BYTES)
        sealed = self._cipher().encrypt(nonce, in_use + to_come, _MAGIC)
        replace_file(self._file, _MAGIC + nonce + sealed)

    def _cipher(self) -> AESGCM:
        return AESGCM(self._derive("journal-signers", ""))


def _signers(seeds: bytes) -> tuple[SignerKey, ...]:
    return tuple(
        SignerKey(kind, seeds[at * SEED_BYTES : (at + 1) * SEED_BYTES])
        for at, kind in enumerate(_KINDS)
    )
