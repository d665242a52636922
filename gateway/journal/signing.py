"""The private keys that sign a journal: derived from the root key first, random after a rotation.

Not for what they sign. The first ones follow from the root key, so that a cluster has a journal
without another file; whoever rotates them makes random ones, kept beside the root key in
`journal.keys`, encrypted under a key from it:

    "HXJ" ‖ 1 ‖ nonce 12 ‖ AES-256-GCM of: the seeds in use ‖ the seeds that are to come

Seeds are 64 bytes (Ed25519 32 ‖ ML-DSA-65 32) or 64 zeros for none. Which are in use is told by the
chain in the journal's folder: it is replaced in one step, after both files name the next keys. A
copy of it is kept as `journal.chain` beside the seeds. It takes the place of one that is gone, if
the keys that it leads to are those that have signed the cluster's log; else nothing is signed and
no seed is touched, for those that are in use cannot be told from others.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from gateway.journal.chain import (
    CHAIN,
    CHAIN_BYTES_MAX,
    Chain,
    Keys,
    encode_chain,
    open_by_any,
    read_chain,
)
from gateway.journal.events import CLUSTER
from gateway.journal.notes import (
    ED25519,
    MLDSA65,
    NOTE_BYTES_MAX,
    SEED_BYTES,
    NoteInvalid,
    SignerKey,
)
from gateway.journal.shelf import LOGS, JournalKeys
from gateway.journal.store import CHECKPOINT
from storaged.base.durable import replace_file
from storaged.base.env import Env
from storaged.base.errors import Kind, StorageError

KEYS_FILE = "journal.keys"
CHAIN_COPY = "journal.chain"
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


class ChainLost(SigningKeysInvalid):
    """The chain of keys in the journal's folder is gone, or the whole folder is."""

    hint = (
        "restore the journal's folder, or its chain.json from an export; to begin another journal, "
        "move journal.keys and journal.chain out of the keys folder"
    )


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
        self._copy = file.with_name(CHAIN_COPY)
        self._checkpoint = folder / LOGS / CLUSTER / CHECKPOINT
        self._first = first
        self._derive = derive
        self._env = env

    def __repr__(self) -> str:
        return "SigningKeys(…)"

    def load(self) -> JournalKeys:
        """The keys in use, with the chain that leads to them.

        Raises: SigningKeysInvalid: the chain leads to keys that are not here; ChainLost; OSError;
            NoteInvalid.
        """
        chain = self._chain()
        if chain.links:
            self._keep(chain)
        for signers in (self._first.signers, *map(_signers, self._read())):
            if self._public(signers) == chain.last:
                return self._first._replace(signers=signers, held=chain)
        raise SigningKeysInvalid(path=self._file, reason="not the keys that sign the journal")

    def prepare(self) -> tuple[SignerKey, ...]:
        """Other keys, kept before anybody is told of them. Raises: OSError, SigningKeysInvalid: the
        ones in use are not known, so none are replaced.
        """
        in_use = self._seeds_in_use()
        seeds = self._env.random_bytes(_SEEDS_BYTES)
        self._write(in_use, seeds)
        return _signers(seeds)

    def hand_over(self, chain: Chain) -> None:
        """From here on the last keys of a chain are in use. Raises: OSError."""
        replace_file(self._chain_file, encode_chain(chain))
        self._keep(chain)

    def forget_former(self) -> None:
        """Erase the seeds that are in use no more. Raises: OSError, SigningKeysInvalid: which these
        are is not known.
        """
        self._write(self._seeds_in_use(), _NONE)

    def _seeds_in_use(self) -> bytes:
        wanted = self._chain().last
        for seeds in self._read():
            if self._public(_signers(seeds)) == wanted:
                return seeds
        if self._public(self._first.signers) != wanted:
            raise SigningKeysInvalid(path=self._file, reason="not the keys that sign the journal")
        return _NONE  # the derived ones

    def _public(self, signers: Sequence[SignerKey]) -> Keys:
        return tuple(self._first._replace(signers=signers).verifiers())

    def _chain(self) -> Chain:
        """The chain of the folder; where it is gone, the one that is certain. Raises: ChainLost."""
        own = Chain(self._public(self._first.signers))
        chain = self._chain_in(self._chain_file, own)
        if chain is not None:
            return chain
        copy = self._chain_in(self._copy, own)
        chain = own if copy is None else copy
        was_rotated = copy is not None or self._file.exists()
        if was_rotated and not self._has_signed(chain):
            raise ChainLost(path=self._chain_file, reason="the chain of keys is gone")
        if chain.links:
            replace_file(self._chain_file, encode_chain(chain))
        return chain

    def _chain_in(self, path: Path, own: Chain) -> Chain | None:
        """The chain of a file; None: there is none. Raises: NoteInvalid, OSError."""
        try:
            with path.open("rb") as file:
                chain = read_chain(file.read(CHAIN_BYTES_MAX + 1))
        except FileNotFoundError:
            return None
        if chain.first != own.first:
            raise NoteInvalid(reason="the chain of keys is of another journal")
        return chain

    def _has_signed(self, chain: Chain) -> bool:
        """Whether the cluster's log stands under a signature of this chain. Raises: OSError."""
        try:
            with self._checkpoint.open("rb") as file:
                open_by_any(file.read(NOTE_BYTES_MAX + 1), chain)
        except (FileNotFoundError, NoteInvalid):
            return False
        return True

    def _keep(self, chain: Chain) -> None:
        content = encode_chain(chain)
        if not self._copy.exists() or self._copy.read_bytes() != content:
            replace_file(self._copy, content)

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
