"""The private keys that sign a journal: drawn at random, kept encrypted beside the root key.

Not for what they sign. They are in `journal.keys`, under a key from the root key:

    "HXJ" ‖ 2 ‖ nonce 12 ‖ AES-256-GCM of: the seeds in use ‖ the seeds that are to come
                                           ‖ SHA-256 of the first public keys

Seeds are 64 bytes (Ed25519 32 ‖ ML-DSA-65 32) or 64 zeros for none. Form 1 ends with the seeds: it
is of a journal whose first keys were derived from the root key, as they are where there is no file.
Those go on until they are rotated; a journal that begins draws its own (K-07).

Which seeds are in use is told by the chain in the journal's folder, once there is one: it is
replaced in one step, after both files name the next keys. A copy of it is kept as `journal.chain`
beside the seeds. It takes the place of one that is gone, if the keys that it leads to are those
that have signed the cluster's log; else nothing is signed and no seed is touched, for those that
are in use cannot be told from others.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from gateway.journal.chain import (
    CHAIN,
    CHAIN_BYTES_MAX,
    Chain,
    Keys,
    encode_chain,
    keys_digest,
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
_DERIVED_MAGIC, _MAGIC = b"HXJ\x01", b"HXJ\x02"
_MAGIC_BYTES = 4
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


class _Kept(NamedTuple):
    """What `journal.keys` holds: seeds or _NONE, and the digest of the first public keys."""

    in_use: bytes
    to_come: bytes
    first: str

    def seeds(self) -> list[bytes]:
        return [seeds for seeds in (self.in_use, self.to_come) if seeds != _NONE]

    def __repr__(self) -> str:
        return "_Kept(…)"


class SigningKeys:
    """Private keys of one journal in two files. Not for several threads at once.

    Args:
        file: `journal.keys` in the folder of the keys. folder: the journal's.
        derived: the keys that a journal of before begins with.
    """

    def __init__(
        self, file: Path, folder: Path, derived: JournalKeys, derive: DeriveKey, env: Env
    ) -> None:
        self._file = file
        self._chain_file = folder / CHAIN
        self._copy = file.with_name(CHAIN_COPY)
        self._logs = folder / LOGS
        self._checkpoint = self._logs / CLUSTER / CHECKPOINT
        self._derived = derived
        self._derive = derive
        self._env = env

    def __repr__(self) -> str:
        return "SigningKeys(…)"

    def begin(self) -> None:
        """Draw the first keys of a journal that has none and has written nothing. Idempotent.
        Raises: OSError.
        """
        if any(one.exists() for one in (self._file, self._copy, self._chain_file, self._logs)):
            return
        seeds = self._env.random_bytes(_SEEDS_BYTES)
        self._write(_Kept(seeds, _NONE, keys_digest(self._public(_signers(seeds)))))

    def load(self) -> JournalKeys:
        """The keys in use, with the chain that leads to them.

        Raises: SigningKeysInvalid: the chain leads to keys that are not here; ChainLost; OSError;
            NoteInvalid.
        """
        kept = self._read()
        chain = self._chain(kept)
        if chain.links:
            self._keep(chain)
        for signers in (self._derived.signers, *map(_signers, kept.seeds())):
            if self._public(signers) == chain.last:
                return self._derived._replace(signers=signers, held=chain)
        raise self._other_keys()

    def prepare(self) -> tuple[SignerKey, ...]:
        """Other keys, kept before anybody is told of them. Raises: OSError, SigningKeysInvalid: the
        ones in use are not known, so none are replaced.
        """
        kept = self._read()
        seeds = self._env.random_bytes(_SEEDS_BYTES)
        self._write(_Kept(self._seeds_in_use(kept), seeds, kept.first))
        return _signers(seeds)

    def hand_over(self, chain: Chain) -> None:
        """From here on the last keys of a chain are in use. Raises: OSError."""
        replace_file(self._chain_file, encode_chain(chain))
        self._keep(chain)

    def forget_former(self) -> None:
        """Erase the seeds that are in use no more. Raises: OSError, SigningKeysInvalid: which these
        are is not known.
        """
        kept = self._read()
        self._write(_Kept(self._seeds_in_use(kept), _NONE, kept.first))

    def _seeds_in_use(self, kept: _Kept) -> bytes:
        wanted = self._chain(kept).last
        for seeds in kept.seeds():
            if self._public(_signers(seeds)) == wanted:
                return seeds
        if self._public(self._derived.signers) != wanted:
            raise self._other_keys()
        return _NONE  # the derived ones

    def _other_keys(self) -> SigningKeysInvalid:
        return SigningKeysInvalid(path=self._file, reason="not the keys that sign the journal")

    def _public(self, signers: Sequence[SignerKey]) -> Keys:
        return tuple(self._derived._replace(signers=signers).verifiers())

    def _chain(self, kept: _Kept) -> Chain:
        """The chain of the folder; where it is gone, the one that is certain. Raises: ChainLost."""
        chain = self._chain_in(self._chain_file, kept)
        if chain is not None:
            return chain
        copy = self._chain_in(self._copy, kept)
        chain = self._unchanged(kept) if copy is None else copy
        if chain is None:
            raise ChainLost(path=self._chain_file, reason="the chain of keys is gone")
        is_first = copy is None and kept.to_come == _NONE and (kept.first or kept.in_use == _NONE)
        if not self._has_signed(chain):
            if not is_first:
                raise ChainLost(path=self._chain_file, reason="the chain of keys is gone")
            if self._checkpoint.exists():
                raise self._other_keys()
        if chain.links:
            replace_file(self._chain_file, encode_chain(chain))
        return chain

    def _unchanged(self, kept: _Kept) -> Chain | None:
        """The chain of the first keys alone; None: what is kept is not they."""
        if not kept.first:
            return Chain(self._public(self._derived.signers))
        drawn = self._public(_signers(kept.in_use))
        return Chain(drawn) if keys_digest(drawn) == kept.first else None

    def _chain_in(self, path: Path, kept: _Kept) -> Chain | None:
        """The chain of a file; None: there is none. Raises: NoteInvalid, SigningKeysInvalid,
        OSError.
        """
        try:
            with path.open("rb") as file:
                chain = read_chain(file.read(CHAIN_BYTES_MAX + 1))
        except FileNotFoundError:
            return None
        first = kept.first or keys_digest(self._public(self._derived.signers))
        if keys_digest(chain.first) != first:
            if not self._file.exists():
                raise self._other_keys()
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

    def _read(self) -> _Kept:
        try:
            content = self._file.read_bytes()
        except FileNotFoundError:
            return _Kept(_NONE, _NONE, "")
        magic, body = content[:_MAGIC_BYTES], content[_MAGIC_BYTES:]
        try:
            if magic not in (_MAGIC, _DERIVED_MAGIC):
                raise ValueError
            plain = self._cipher().decrypt(body[:_NONCE_BYTES], body[_NONCE_BYTES:], magic)
        except (InvalidTag, ValueError) as error:
            raise SigningKeysInvalid(path=self._file, reason="it does not open") from error
        end = 2 * _SEEDS_BYTES
        return _Kept(plain[:_SEEDS_BYTES], plain[_SEEDS_BYTES:end], plain[end:].hex())

    def _write(self, kept: _Kept) -> None:
        nonce = self._env.random_bytes(_NONCE_BYTES)
        magic = _MAGIC if kept.first else _DERIVED_MAGIC
        plain = kept.in_use + kept.to_come + bytes.fromhex(kept.first)
        replace_file(self._file, magic + nonce + self._cipher().encrypt(nonce, plain, magic))

    def _cipher(self) -> AESGCM:
        return AESGCM(self._derive("journal-signers", ""))


def _signers(seeds: bytes) -> tuple[SignerKey, ...]:
    return tuple(
        SignerKey(kind, seeds[at * SEED_BYTES : (at + 1) * SEED_BYTES])
        for at, kind in enumerate(_KINDS)
    )
