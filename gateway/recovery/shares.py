"""Shares of the recovery key: what a custodian holds, and what is public about a set of them.

Not for backups (`gateway.recovery.backup`). A share is text that can be kept in a file or on paper:
80 characters of base32 in groups of four, which say to which set it belongs, its place, how many
are needed, and whether a character was mistaken. The set's public record has a digest of each, so a
wrong one is named.

    version u8 = 1 ‖ set 10 ‖ place u8 ‖ threshold u8 ‖ count u8 ‖ share 32 ‖ check 4

The set's name is the beginning of SHA-256(label ‖ cluster ‖ public key): a share vouches for the
cluster that it opens and for the key that it is of. Requirement: K-12.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from struct import Struct

from gateway.recovery import shamir
from gateway.recovery.recipient import SEED_BYTES, Recipient, RecipientKey
from storaged.base.env import Env
from storaged.base.errors import Kind, StorageError

VERSION = 1
SET_BYTES, CHECK_BYTES = 10, 4
COUNT_MAX = 16
TEXT_CHARACTERS_MAX = 4096
GROUP = 4
_FORM = Struct(f">B{SET_BYTES}sBBB{SEED_BYTES}s{CHECK_BYTES}s")
_LABEL = b"hexagone/v1/recovery-"
_LINE = re.compile(r"^share:(.*)$", re.MULTILINE)
_MISTAKEN = str.maketrans("018", "OIB")  # characters that base32 has not, and what they were


class ShareInvalid(StorageError):
    """A share cannot be used."""

    kind = Kind.INVALID
    hint = "compare it with the paper, character by character; or take another custodian's"


class WrongShareSet(StorageError):
    """A share is of another set than the backup."""

    kind = Kind.DENIED
    hint = "shares of before a `reshare` open nothing that was made after it"


class TooFewShares(StorageError):
    """There are fewer shares than are needed."""

    kind = Kind.DENIED
    hint = "ask more custodians; the same share twice counts once"


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """One custodian's part. `place`: from 1 to `count`."""

    set_id: bytes
    place: int
    threshold: int
    count: int
    secret: bytes = field(repr=False)

    def encode(self) -> str:
        """The share as text, in groups of four."""
        raw = _FORM.pack(
            VERSION,
            self.set_id,
            self.place,
            self.threshold,
            self.count,
            self.secret,
            bytes(CHECK_BYTES),
        )[:-CHECK_BYTES]
        text = base64.b32encode(raw + _check(raw)).decode()
        return "-".join(text[at : at + GROUP] for at in range(0, len(text), GROUP))

    def digest(self) -> str:
        """What the public record knows it by."""
        about = self.set_id + bytes((self.place,))
        return sha256(_LABEL + b"share\0" + about + self.secret).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class ShareSet:
    """What is public about the shares of a recovery key.

    Args:
        cluster: 16 bytes that name it.
        digests: of each share, in the order of places.
        custodians: names for people, as many or none.
    """

    cluster: bytes
    recipient: Recipient
    threshold: int
    digests: tuple[str, ...]
    custodians: tuple[str, ...] = ()
    made_at_ms: int = 0

    @property
    def set_id(self) -> bytes:
        whole = sha256(_LABEL + b"set\0" + self.cluster + self.recipient.public)
        return whole.digest()[:SET_BYTES]

    def holder(self, place: int) -> str:
        """Who has a share, for people."""
        name = self.custodians[place - 1] if place <= len(self.custodians) else ""
        return f"share {place}" + (f" ({name})" if name else "")


def _check(raw: bytes) -> bytes:
    return sha256(_LABEL + b"check\0" + raw).digest()[:CHECK_BYTES]


def read_share(text: str) -> Share:
    """A share from its file, or as it was typed. Raises: ShareInvalid; nothing of it is told."""
    if len(text) > TEXT_CHARACTERS_MAX:
        raise ShareInvalid(reason="this is no share", characters=len(text))
    line = _LINE.search(text)
    typed = re.sub(r"[\s-]", "", line[1] if line else text).upper().translate(_MISTAKEN)
    try:
        raw = base64.b32decode(typed)
    except (binascii.Error, ValueError) as error:
        raise ShareInvalid(reason="this is no share", characters=len(typed)) from error
    if len(raw) != _FORM.size:
        raise ShareInvalid(reason="a share has 80 characters", characters=len(typed))
    version, set_id, place, threshold, count, secret, check = _FORM.unpack(raw)
    if not hmac.compare_digest(check, _check(raw[:-CHECK_BYTES])):
        raise ShareInvalid(reason="a character is wrong")
    if version != VERSION or not 2 <= threshold <= count <= COUNT_MAX or not 1 <= place <= count:
        raise ShareInvalid(reason="of another form", version=version)
    return Share(set_id=set_id, place=place, threshold=threshold, count=count, secret=secret)


def make_shares(
    cluster: bytes,
    *,
    count: int,
    threshold: int,
    env: Env,
    custodians: Sequence[str] = (),
) -> tuple[ShareSet, list[Share]]:
    """A recovery key that nobody has: its public record, and the shares.

    Raises: ShareInvalid: fewer than 2 are needed, or more than there are.
    """
    if not 2 <= threshold <= count <= COUNT_MAX:
        raise ShareInvalid(reason=f"2 to {COUNT_MAX} shares, of which 2 or more are needed")
    if custodians and len(custodians) != count:
        raise ShareInvalid(reason="name as many custodians as there are shares")
    seed = env.random_bytes(SEED_BYTES)
    recipient = RecipientKey(seed).recipient
    blank = ShareSet(cluster=cluster, recipient=recipient, threshold=threshold, digests=())
    randomness = env.random_bytes((threshold - 1) * SEED_BYTES)
    parts = shamir.split(seed, places=count, threshold=threshold, randomness=randomness)
    shares = [
        Share(set_id=blank.set_id, place=place, threshold=threshold, count=count, secret=part)
        for place, part in parts.items()
    ]
    record = ShareSet(
        cluster=cluster,
        recipient=recipient,
        threshold=threshold,
        digests=tuple(share.digest() for share in shares),
        custodians=tuple(custodians),
        made_at_ms=env.now_ms(),
    )
    return record, shares


def check_share(share: Share, record: ShareSet) -> None:
    """A share is one of the set's. Raises: WrongShareSet; ShareInvalid, which names it."""
    if share.set_id != record.set_id:
        raise WrongShareSet(
            share=share.place, of_set=share.set_id.hex(), wanted=record.set_id.hex()
        )
    known = record.digests[share.place - 1] if share.place <= len(record.digests) else ""
    if not hmac.compare_digest(known, share.digest()):
        raise ShareInvalid(reason=f"{record.holder(share.place)} was altered")


def join_shares(shares: Sequence[Share], record: ShareSet) -> RecipientKey:
    """The recovery key. Raises: WrongShareSet, ShareInvalid, TooFewShares."""
    by_place: dict[int, bytes] = {}
    for share in shares:
        check_share(share, record)
        by_place[share.place] = share.secret
    if len(by_place) < record.threshold:
        raise TooFewShares(shares=len(by_place), needed=record.threshold)
    key = _joined(by_place, record.threshold)
    if key.recipient.public != record.recipient.public:
        raise ShareInvalid(reason="the shares do not make the key of the set")
    return key


def _joined(by_place: Mapping[int, bytes], threshold: int) -> RecipientKey:
    chosen = dict(sorted(by_place.items())[:threshold])
    return RecipientKey(shamir.join(chosen))
