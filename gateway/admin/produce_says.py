"""What `hexagone produce` says in words: what lies open, where keys are, and what no report covers.
Pure.

Source: docs/security.md. Requirement: S-07.
"""

from __future__ import annotations

from dataclasses import dataclass

from gateway.admin.outlook import Document
from gateway.admin.produce_shards import Shards
from gateway.config import GatewayConfig

IN_CLEAR_ON_DRIVES = (
    "of each shard: which stripe it is of and which part, how many parts make the stripe whole, "
    "the length of the stripe, and until when it has to be kept, if it has to",
    "of stripes: in which order they were written, and in which run of the gateway",
    "of groups of the log: their number, and how many bytes of small bodies and of changes they "
    "hold",
    "times of files of the drive; what the gateway reads, writes and deletes, and when",
    "the names of the node, its datacenter, country and operator, and of the gateway",
)
IN_CLEAR_AT_GATEWAY = (
    "names of buckets and of objects, as keys of rows of the index; ids of tenants and of access "
    "keys; with the root key also sizes, places, times of retention",
    "the configuration: nodes, regions, targets of events and of replication",
    "of the journal: kinds, times and ids of tenants",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Custody:
    """Where keys of tenants are. `where`: "file", "keyd" or "pkcs11"; `at`: for people."""

    where: str
    at: str
    says: str


def custody_of(kept_in: str, config: GatewayConfig) -> Custody:
    """Who keeps keys of tenants for this gateway; `kept_in` is what `hexagone keys list` says."""
    if kept_in.startswith("gateway"):
        return Custody(
            where="file",
            at=str(config.storage.keys),
            says="Keys of tenants are sealed under the root key, which is in the same folder.",
        )
    if "HSM" in kept_in:
        return Custody(
            where="pkcs11",
            at=kept_in,
            says="Keys of tenants do not leave the HSM: files alone open nothing. Who has the HSM "
            "and its PIN, or the key service while it runs, has what it opens.",
        )
    return Custody(
        where="keyd",
        at=kept_in,
        says="Keys of tenants are with the key service, under a secret of its own: the gateway's "
        "folders alone open no content. Who has the key service's folder too, or the gateway "
        "while the service answers it, has what it opens.",
    )


def node_keys() -> list[Document]:
    """Keys on a node."""
    return [{"what": "key of the node's certificate", "where": "node", "opens": "nothing stored"}]


def gateway_keys(custody: Custody) -> list[Document]:
    """Keys where the gateway is, and with who keeps keys for it."""
    return [
        {
            "what": "root key",
            "where": "file",
            "opens": "the log, places and sizes, shard tags"
            + ("; keys of tenants" if custody.where == "file" else "; no content"),
        },
        {
            "what": "keys of tenants, named keys",
            "where": custody.where,
            "opens": "keys of buckets, and by them content, headers, tags and ETags",
        },
        {
            "what": "keys of clients (SSE-C)",
            "where": "nowhere",
            "opens": "content of their objects, together with keys of tenants",
        },
        {"what": "keys of certificates", "where": "file", "opens": "nothing stored"},
    ]


def sentences(
    config: GatewayConfig, custody: Custody, *, has_gateway: bool, held: Shards
) -> list[str]:
    """What the figures mean, and what they do not cover."""
    found = []
    if has_gateway:
        found.append(
            "The gateway is with this party: whoever obeys an order there can also ask all nodes "
            "for their shards, by the gateway's certificate, as long as they answer."
        )
        found.append(custody.says)
        found.append(
            "What is under a client's own key is not readable from what is stored. Who runs the "
            "gateway sees that key, and the content, while a request with it goes on."
        )
        found.append(
            "Content counts complete versions. Parts of uploads that go on and annotations can be "
            "read as well, and are in no figure."
        )
    elif held.whole:
        found.append(
            f"{held.whole} stripes are whole with this party: it could give complete ciphertext, "
            "and nothing that opens it."
        )
    else:
        found.append("Of no stripe does this party have enough shards to make its ciphertext.")
    if not has_gateway:
        found.append(
            "No node of this party is on the gateway's machine, so keys are taken to be elsewhere. "
            "Where the gateway is with this party all the same, it can give what the provider can."
        )
    if held.silent:
        found.append(f"{len(held.silent)} nodes did not answer: what they hold is not counted.")
    targets = [target.name for target in config.replication_targets]
    if targets:
        found.append(
            f"What is replicated to {', '.join(targets)} is there as well, as those endpoints keep "
            "it: no order to this party is needed for it."
        )
    found.append(
        "Counted is what is stored. What was deleted is on drives until it is punched out, and in "
        "backups of folders and drives for as long as those are kept."
    )
    return found
