"""Deletion certificates: what was erased, which keys were destroyed, and the proof of each event.

Not for erasing anything. A certificate is verified with nothing but its file and the journal's
public keys: every event that it names is proven to be in the tenant's log, whose checkpoint is
signed as always; the approvals are those of the people it names; and all of it is signed as the
journal's checkpoints are, with Ed25519 and ML-DSA-65.

The file is JSON: {"certificate": {…}, "signed": note, "chain": keys that the journal was signed
with}. The note's text is a line that names the
format and the SHA-256 of the certificate as canonical JSON (sorted names, no spaces, ASCII).

Source: docs/erasure.md, "The certificate".
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from gateway.approvals.approvers import read_approvers
from gateway.approvals.request import day, read_request
from gateway.approvals.warrant import WarrantRefused, verify_warrant
from gateway.journal.chain import Chain, encode_chain, read_chain
from gateway.journal.events import CLUSTER, Entry
from gateway.journal.notes import (
    SignedNote,
    VerifierKey,
    decode_base64,
    read_note,
)
from gateway.journal.proofs import ProvenEvent, encode_proof, open_proof
from gateway.journal.shelf import ANCHOR, JournalKeys
from storaged.base.errors import Kind, StorageError

FORMAT = "hexagone-erasure-certificate/1"
CERTIFICATE_BYTES_MAX = 16 * 1024 * 1024
EVENTS_MAX = 20_000
DESTROYED, DONE, DISABLE = "erasure.destroy", "erasure.done", "erasure.disable"
DAY_MS = 86_400_000

_HEAD = "hexagone erasure certificate v1"
_NAMES = frozenset(
    (
        "format",
        "journal",
        "erasure",
        "kind",
        "tenant",
        "bucket",
        "requested_at_ms",
        "notice_ends_ms",
        "certified_at_ms",
        "objects",
        "size_bytes",
        "purged",
        "keys",
        "events",
        "checkpoint",
        "anchor",
        "approvals",
        "backups",
        "log_groups_left",
        "not_covered",
    )
)
DEPARTURE = "departure"  # only where the tenant's contract had ended
_DEPARTURE_NAMES = ("given_at_ms", "transition_from_ms", "retrieval_from_ms", "retrieval_until_ms")


class CertificateInvalid(StorageError):
    """This is no certificate of an erasure, or it was altered."""

    kind = Kind.CORRUPT


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """What a certificate proves. `text`: the same for people."""

    body: Mapping[str, Any]
    text: str


def canonical(body: Mapping[str, Any]) -> bytes:
    """The one form that is signed."""
    return json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()


def _note_text(body: Mapping[str, Any]) -> str:
    return f"{_HEAD}\n{sha256(canonical(body)).hexdigest()}\n"


def sign_certificate(body: Mapping[str, Any], keys: JournalKeys) -> str:
    """The certificate as its file, signed with the journal's keys."""
    message = _note_text(body).encode()
    lines = [signer.line(_name(keys.prefix), message) for signer in keys.signers]
    note = message.decode() + "\n" + "".join(lines)
    chain = encode_chain(keys.chain).decode()
    held = {"certificate": body, "signed": note, "chain": chain}
    return json.dumps(held, indent=1, sort_keys=True) + "\n"


def _name(prefix: str) -> str:
    return f"{prefix}/erasure"


def verify_certificate(content: bytes, trusted: Sequence[VerifierKey]) -> Verified:
    """Verify a certificate.

    Args:
        trusted: keys of the journal, got by another way than the certificate: those that have
            signed it, or earlier ones, which have announced them.

    Raises: CertificateInvalid, and what is wrong with a proof, a note or an approval.
    """
    body, note, chain = _read(content)
    keys = chain.since(trusted).last
    prefix = keys[0].name.removesuffix(f"/{CLUSTER}")
    if body["journal"] != prefix:
        raise CertificateInvalid(reason="it is of another cluster than the keys")
    if note.text != _note_text(body):
        raise CertificateInvalid(reason="the signatures are under another text")
    for key in keys:
        named = key.named(_name(prefix))
        signature = note.by(named)
        if signature is None:
            raise CertificateInvalid(reason=f"not signed by {named.name}+{named.id.hex()}")
        named.verify(signature, note.text.encode())
    events = _verify_events(body, prefix, keys)
    _verify_keys(body, events)
    _verify_approvals(body, prefix)
    _verify_dates(body)
    _verify_departure(body, events)
    return Verified(body=body, text=in_words(body))


def _read(content: bytes) -> tuple[dict[str, Any], SignedNote, Chain]:
    if len(content) > CERTIFICATE_BYTES_MAX:
        raise CertificateInvalid(file_bytes=len(content), most=CERTIFICATE_BYTES_MAX)
    try:
        held = json.loads(content, object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise CertificateInvalid(reason="no JSON") from error
    if not isinstance(held, dict) or set(held) != {"certificate", "signed", "chain"}:
        raise CertificateInvalid(reason="it has other parts")
    body, note, chain = held["certificate"], held["signed"], held["chain"]
    are_texts = isinstance(note, str) and isinstance(chain, str)
    if not isinstance(body, dict) or not are_texts or set(body) - {DEPARTURE} != _NAMES:
        raise CertificateInvalid(reason="it has other parts")
    if body["format"] != FORMAT:
        raise CertificateInvalid(reason="it is of another form")
    return body, read_note(note.encode()), read_chain(chain.encode())


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name is there twice")
    return found


def _verify_events(
    body: Mapping[str, Any], prefix: str, keys: Sequence[VerifierKey]
) -> list[Entry]:
    """The events, each proven to be in the log of the tenant. Raises: CertificateInvalid, …"""
    note, listed = body["checkpoint"], body["events"]
    if not isinstance(note, str) or not isinstance(listed, list) or len(listed) > EVENTS_MAX:
        raise CertificateInvalid(reason="the events have another form")
    found: list[Entry] = []
    proven: ProvenEvent | None = None
    for one in listed:
        try:
            hashes = [decode_base64(text) for text in one["hashes"]]
            proof = encode_proof(one["line"].encode(), one["seq"], hashes, note.encode())
        except (KeyError, TypeError, AttributeError) as error:
            raise CertificateInvalid(reason="an event has another form") from error
        proven = open_proof(proof, keys)
        if proven.checkpoint.origin != f"{prefix}/{body['tenant']}":
            raise CertificateInvalid(reason="an event is of another log")
        if proven.entry.body.get("erasure") != body["erasure"]:
            raise CertificateInvalid(seq=one["seq"], reason="an event is of another erasure")
        found.append(proven.entry)
    if proven is None:
        raise CertificateInvalid(reason="it names no event")
    anchored = open_proof(str(body["anchor"]).encode(), keys)
    stated = anchored.entry.body
    held = proven.checkpoint
    if (
        anchored.checkpoint.origin != f"{prefix}/{CLUSTER}"
        or anchored.entry.type != ANCHOR
        or (stated.get("origin"), stated.get("size"), stated.get("root"))
        != (held.origin, held.size, held.root.hex())
    ):
        raise CertificateInvalid(reason="the tenant's log is not anchored in the cluster's")
    return found


def _verify_keys(body: Mapping[str, Any], events: Sequence[Entry]) -> None:
    """Every key was destroyed in an event that says so before, and in one after it."""
    said: dict[tuple[str, str], int] = {}
    for entry in events:
        if entry.type == DESTROYED:
            said[str(entry.body.get("item")), entry.phase] = entry.at_ms
    done = [entry for entry in events if (entry.type, entry.phase) == (DONE, "outcome")]
    if len(done) != 1 or done[0].body.get("kind") != body["kind"]:
        raise CertificateInvalid(reason="no event says that the erasure has ended")
    if not isinstance(body["keys"], list) or not body["keys"]:
        raise CertificateInvalid(reason="it names no key")
    for key in body["keys"]:
        if not isinstance(key, dict) or set(key) != {"item", "destroyed_at_ms"}:
            raise CertificateInvalid(reason="a key has another form")
        item = key["item"]
        if (item, "intent") not in said or (item, "outcome") not in said:
            raise CertificateInvalid(item=item, reason="no event says that it was destroyed")
        if said[item, "outcome"] != key["destroyed_at_ms"]:
            raise CertificateInvalid(item=item, reason="the event tells another time")
    if done[0].body.get("objects") != body["objects"]:
        raise CertificateInvalid(reason="the event counts other objects")
    if done[0].body.get("size_bytes") != body["size_bytes"]:
        raise CertificateInvalid(reason="the event counts other bytes")


def _verify_approvals(body: Mapping[str, Any], prefix: str) -> None:
    """Where approvers were asked, every key was approved when it was destroyed."""
    cluster = prefix.rpartition("/")[2]
    for key in body["keys"] if body["approvals"] else ():
        refused: StorageError | None = None
        for held in body["approvals"]:
            approvers = read_approvers(held["approvers"].encode())
            warrant = held["warrant"].encode()
            try:
                verify_warrant(warrant, key["item"], approvers, cluster, key["destroyed_at_ms"])
            except WarrantRefused as error:
                refused = error
            else:
                break
        else:
            raise CertificateInvalid(item=key["item"], reason="it was not approved") from refused


def _verify_dates(body: Mapping[str, Any]) -> None:
    backups = body["backups"]
    last_ms = max(key["destroyed_at_ms"] for key in body["keys"])
    days = backups["retention_days"]
    wanted = None if days is None else last_ms + days * DAY_MS
    if backups["none_restores_after_ms"] != wanted:
        raise CertificateInvalid(reason="the date of backups does not follow from the others")
    if (
        body["kind"] == "tenant"
        and min(key["destroyed_at_ms"] for key in body["keys"]) < body["notice_ends_ms"]
    ):
        raise CertificateInvalid(reason="a key was destroyed before the notice had ended")


def _verify_departure(body: Mapping[str, Any], events: Sequence[Entry]) -> None:
    """The tenant had his time to retrieve, and was told its dates before his keys were disabled."""
    told = next((e.body for e in events if (e.type, e.phase) == (DISABLE, "intent")), {})
    said = {name: told[name] for name in _DEPARTURE_NAMES if name in told}
    held = body.get(DEPARTURE, {})
    if held != said:
        raise CertificateInvalid(reason="the end of the contract is not what the event says")
    if not held:
        return
    dates = [held.get(name) for name in _DEPARTURE_NAMES]
    if not all(type(one) is int for one in dates) or dates != sorted(dates):
        raise CertificateInvalid(reason="the dates of the end of the contract have another form")
    if body["notice_ends_ms"] < held["retrieval_until_ms"]:
        raise CertificateInvalid(reason="a key was destroyed before the time to retrieve had ended")


def in_words(body: Mapping[str, Any]) -> str:
    """A certificate for people."""
    backups, approvals = body["backups"], body["approvals"]
    what = f"What: {body['kind']} of tenant {body['tenant']}"
    if body["bucket"]:
        what = f"What: {body['kind']} of tenant {body['tenant']}, bucket {body['bucket']}"
    lines = [
        f"Certificate of erasure {body['erasure']}",
        what,
        f"Lost for ever: {body['objects']} object version(s), {body['size_bytes']} bytes",
        f"Asked for: {day(body['requested_at_ms'])}; notice until {day(body['notice_ends_ms'])}",
        *_departure_in_words(body.get(DEPARTURE)),
        "Keys destroyed:",
        *(f"  {key['item']}  {day(key['destroyed_at_ms'])}" for key in body["keys"]),
    ]
    if not approvals:
        lines.append("Approved by: nobody had to (no approvers were registered)")
    for held in approvals:
        warrant = json.loads(held["warrant"])
        names = ", ".join(one["by"] for one in warrant["approvals"])
        lines.append(f"Approved by: {names}; asked by {read_request(warrant['request']).requester}")
    after = backups["none_restores_after_ms"]
    if after is None:
        lines.append("Backups: how long they are kept is not configured, so no date is certified")
    else:
        lines.append(
            f"No backup of this cluster that follows its rules restores after {day(after)}"
        )
    lines += ["Not covered:", *(f"  {text}" for text in body["not_covered"])]
    lines.append(f"Proven by {len(body['events'])} events of the tenant's journal")
    return "".join(f"{line}\n" for line in lines)


def _departure_in_words(dates: Mapping[str, int] | None) -> list[str]:
    if not dates:
        return []
    given, moved, over, until = (day(dates[name]) for name in _DEPARTURE_NAMES)
    return [
        f"Contract: notice given {given}; transition from {moved}; over {over};"
        f" retrieval until {until}"
    ]
