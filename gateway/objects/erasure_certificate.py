"""The certificate of an erasure that has come to its end: what is put into it, and signed.

Not for verifying one (`gateway.journal.certificate`). Requirement: E-03.
"""

from __future__ import annotations

from gateway.config_erasure import ErasureConfig
from gateway.journal.certificate import DAY_MS, FORMAT, sign_certificate
from gateway.journal.evidence import gather
from gateway.journal.store import JournalUnavailable
from gateway.meta.erasure_rows import Erasure
from gateway.objects.context import Services
from gateway.objects.erasing import JournalNeeded

NOT_COVERED = (
    "copies that the tenant or others have made elsewhere: exports, replicas, downloads",
    "backups that are kept longer than the cluster's rules say: whoever has the keys folder, the"
    " index or the nodes from before, and the root key or the key service's secret, can open what"
    " a file keyring had; keys inside an HSM are in no such copy",
    "the journal: ids, counts and times stay, keyed hashes of names, and addresses of clients",
    "invoices and statements that were made before",
)


async def certificate_of(services: Services, erasure: Erasure, config: ErasureConfig) -> str:
    """The signed certificate. Raises: JournalNeeded, JournalUnavailable."""
    journal = services.journal
    if journal is None:
        raise JournalNeeded()
    seqs = [int(one["seq"]) for one in erasure.events]
    keys = journal.keys
    evidence = await gather(journal, erasure.tenant, seqs)
    last_ms = max(erasure.destroyed.values())
    days = config.backup_retention_days
    body = {
        "format": FORMAT,
        "journal": journal.keys.prefix,
        "erasure": erasure.erasure_id,
        "kind": erasure.kind,
        "tenant": erasure.tenant,
        "bucket": erasure.bucket,
        "requested_at_ms": erasure.requested_at_ms,
        "notice_ends_ms": erasure.execute_at_ms,
        "certified_at_ms": services.env.now_ms(),
        "objects": erasure.objects,
        "size_bytes": erasure.size_bytes,
        "purged": dict(erasure.purged),
        "keys": [
            {"item": item, "destroyed_at_ms": at_ms}
            for item, at_ms in sorted(erasure.destroyed.items())
        ],
        "events": evidence.events,
        "checkpoint": evidence.checkpoint,
        "anchor": evidence.anchor,
        "approvals": list(erasure.approvals),
        "backups": {
            "retention_days": days,
            "none_restores_after_ms": None if days is None else last_ms + days * DAY_MS,
        },
        "log_groups_left": erasure.log_groups_left,
        "not_covered": _not_covered(erasure),
    }
    if erasure.departure:
        body["departure"] = dict(erasure.departure)
    if journal.keys.chain != keys.chain:
        raise JournalUnavailable(reason="its keys were changed meanwhile")  # tried again
    return sign_certificate(body, keys)


def _not_covered(erasure: Erasure) -> list[str]:
    said = list(NOT_COVERED)
    if erasure.log_groups_left:
        said.append(
            f"{erasure.log_groups_left} older groups of the log on the nodes, in which copies of"
            " the destroyed keys may be, sealed under the root key, until those groups are freed"
        )
    return said
