"""What a statement about the place of an object's shards says, how it is signed, and how somebody
without the cluster checks it. Pure.

Not a proof of a place. A shard that answers a fresh challenge shows that whoever holds the node's
certificate could produce these bytes at that time; not that no other copy exists, and of the place
only what the certificate says and what the time of the answer bounds.

Source: docs/residency.md, "Attestation". Requirements: S-01, S-02.
"""

from __future__ import annotations

import hmac
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from hashlib import sha256
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from gateway.data.geometry import tag_count
from gateway.limits import TAG_UNIT_BYTES
from storaged.base.errors import Kind, StorageError
from storaged.base.ids import InvalidId, ShardId

Document = dict[str, Any]

FORMAT = "hexagone/attestation/v1"
CHALLENGE_BYTES = 32
FIBRE_KM_PER_MS = 100.0  # there and back: light in fibre does some 200 km in a millisecond
STATEMENT_BYTES_MAX = 64 * 1024 * 1024
_TEXTS = ("bucket", "key", "cluster", "says")
_NUMBERS = ("began_at_ms", "ended_at_ms", "stripe_count", "stripes_asked")
_MALFORMED = (
    InvalidId,
    KeyError,
    TypeError,
    ValueError,
    AttributeError,
    OverflowError,
    RecursionError,
    ZeroDivisionError,
)
_BOUND_TO = b"hexagone/v1/attestation\0"

SENTENCE = (
    "Attested, not proved: for each shard that is listed with an answer, a node whose identity "
    "certificate names the datacenter, country and operator given here has produced bytes of that "
    "shard for this challenge. It does not show that no other copy exists. A certificate says what "
    "was known of its node when it was issued; the time of an answer bounds how far away the copy "
    "that answered was, by light in fibre."
)
NO_CERTIFICATE = (
    "A shard without a certificate is in a folder of the gateway's own machine: its place is what "
    "the configuration says."
)


class AttestationInvalid(StorageError):
    """The statement is not what a cluster has signed."""

    kind = Kind.INVALID
    hint = "do not rely on it; ask whoever gave it to you for another one"


def unit_of(challenge: bytes, shard: ShardId, cell_bytes: int) -> tuple[int, int]:
    """Offset and length of the part of a cell that a challenge asks for: one whole tag unit, which
    nobody can tell before the challenge is known.
    """
    mixed = hmac.digest(challenge, shard.encode(), "sha256")
    offset = int.from_bytes(mixed[:8], "big") % tag_count(cell_bytes) * TAG_UNIT_BYTES
    return offset, min(TAG_UNIT_BYTES, cell_bytes - offset)


def answer_digest(
    challenge: bytes, shard: ShardId, offset: int, content: bytes | memoryview
) -> str:
    """What is kept of an answer, as hex: whoever has the bytes can make it again."""
    digest = sha256(challenge + shard.encode() + offset.to_bytes(8, "big"))
    digest.update(content)
    return digest.hexdigest()


def _canonical(statement: Mapping[str, Any]) -> bytes:
    text = json.dumps(statement, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return _BOUND_TO + text.encode("ascii")


def public_key_of(seed: bytes) -> str:
    """The public key that statements of a cluster are checked with, as hex."""
    public = Ed25519PrivateKey.from_private_bytes(seed).public_key()
    return public.public_bytes(Encoding.Raw, PublicFormat.Raw).hex()


def signed(statement: Document, seed: bytes) -> Document:
    """A statement with its signature (Ed25519). `seed` is 32 bytes."""
    signature = Ed25519PrivateKey.from_private_bytes(seed).sign(_canonical(statement))
    return {
        "statement": statement,
        "public_key": public_key_of(seed),
        "signature": signature.hex(),
    }


def verified(raw: bytes, public_key: str | None = None) -> Document:
    """Check a signed statement without asking anybody.

    Args:
        public_key: of the cluster, as hex, known from elsewhere. None: the one in the statement,
            which says only that nothing was changed since whoever has that key signed it.

    Returns:
        A report: "sound" says that the statement is whole and all of it inside its regions;
        "problems" are sentences, "statement" is what was signed.

    Raises: AttestationInvalid: no statement, another key's, or one that was changed.
    """
    try:
        document = json.loads(raw)
        statement, named = document["statement"], document["public_key"]
        wanted = named if public_key is None else public_key.strip().lower()
        if wanted != named:
            raise AttestationInvalid(reason="another cluster's key has signed it")
        key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(wanted))
        key.verify(bytes.fromhex(document["signature"]), _canonical(statement))
        if statement["format"] != FORMAT:
            raise AttestationInvalid(reason="another form", form=str(statement["format"])[:64])
        problems = list(_problems(statement))
    except InvalidSignature as error:
        raise AttestationInvalid(reason="the signature does not fit") from error
    except _MALFORMED as error:
        raise AttestationInvalid(reason=f"not of this form: {type(error).__name__}") from error
    return {
        "sound": not problems,
        "problems": problems,
        "key_was_given": public_key is not None,
        "public_key": named,
        "statement": statement,
    }


def _problems(statement: Document) -> Iterator[str]:
    """What a statement says against itself: signed or not, it has to be what it claims."""
    challenge = bytes.fromhex(statement["challenge"])
    for name in _TEXTS:
        str.encode(statement[name], "utf-8", "surrogatepass")
    for name in _NUMBERS:
        int(statement[name])
    if len(challenge) != CHALLENGE_BYTES:
        yield "the challenge has another length"
    if statement["stripes_asked"] != len(statement["stripes"]):
        yield "stripes are missing from the list"
    for stripe in statement["stripes"]:
        region = statement["regions"][stripe["region"]]
        answered = 0
        for shard in stripe["shards"]:
            where = f"stripe {stripe['stripe']} shard {shard['index']}"
            if shard["failed"]:
                yield f"{where} gave no answer: {shard['failed']}"
                continue
            answered += 1
            int(shard["within_km"])
            if not _is_inside(shard, region):
                yield f"{where} is outside of region {stripe['region']}: {_place(shard)}"
            identity = ShardId.decode(bytes.fromhex(stripe["id"]) + bytes([shard["index"]]))
            asked = unit_of(challenge, identity, stripe["cell_bytes"])
            if asked != (shard["offset"], shard["length"]):
                yield f"{where} answered other bytes than the challenge asks for"
        yield from _shared_out(stripe)
        if answered < stripe["k"]:
            name, needed = stripe["stripe"], stripe["k"]
            yield f"stripe {name}: only {answered} of {needed} needed shards answered"


def _shared_out(stripe: Document) -> Iterator[str]:
    """Operators whose nodes hold more shards than they may; statements without them say nothing."""
    held = Counter(str(shard.get("operator", "")) for shard in stripe["shards"])
    bound = int(stripe.get("operator_shards_max", len(stripe["shards"])))
    for operator, count in sorted(held.items()):
        if operator and count > bound:
            yield f"stripe {stripe['stripe']}: operator {operator} holds {count} shards of it"


def _is_inside(shard: Document, region: Document) -> bool:
    datacenters, countries = region["datacenters"], region["countries"]
    return (not datacenters or shard["datacenter"] in datacenters) and (
        not countries or shard["country"] in countries
    )


def _place(shard: Document) -> str:
    return f"{shard['node']} in {shard['datacenter']} ({shard['country']})"
