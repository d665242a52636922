"""All routes of the admin port, a line each: who may, what it takes, what it answers.

To add a route, add its line here: what has none is denied to everybody, and a test names it. Then
write the API's document again: `python -m gateway.admin.openapi > docs/admin-api.json`.

A name of a field with "?" behind can be left out; what fields mean: `gateway.admin.route_fields`.

Source: docs/administrators.md, docs/admin-api.md. Requirements: A-03, L-01.
"""

from __future__ import annotations

from gateway.admin import answer_shapes as shapes
from gateway.admin.departure_routes import DEPARTURE_ROUTES
from gateway.admin.erasure_routes import ERASURE_ROUTES
from gateway.admin.key_move_routes import KEY_MOVE_ROUTES
from gateway.admin.route_table import RouteEntry, RouteTable, acts, asks, reads
from gateway.admin.second_factor_routes import SECOND_FACTOR_ROUTES
from gateway.admin.signing_routes import SIGNING_ROUTES
from gateway.admin.tenant_routes import ACCESS_ROUTES, METERING_ROUTES, TRANSFER_ROUTES
from gateway.model.administrators import GIVEN_ROLES, Role

ALL = tuple(sorted(GIVEN_ROLES))
AUDIT = Role.AUDITOR
KEYS = Role.CUSTODIAN
STORAGE = Role.STORAGE_ADMIN
TENANTS = Role.TENANT_ADMIN

CLUSTER_ROUTES: tuple[RouteEntry, ...] = (
    reads("/v1/status", "Nodes, tier, margins, jobs", (STORAGE, KEYS, AUDIT), shapes.Status),
    reads(
        "/v1/durability",
        "What the model says of the layout",
        (STORAGE, AUDIT),
        shapes.DurabilityReport,
    ),
    reads(
        "/v1/where",
        "Where an object is recorded to be",
        (STORAGE, AUDIT),
        shapes.Where,
        "bucket key",
    ),
    reads(
        "/v1/where/attest",
        "A signed statement about where an object is, from answers of the nodes",
        (STORAGE, AUDIT),
        shapes.Attestation,
        "bucket key challenge?",
    ),
    reads(
        "/v1/produce",
        "What an order to an operator, a site or the provider could obtain",
        (STORAGE, KEYS, AUDIT),
        shapes.Produced,
        "kind name? tenant?",
    ),
    reads("/v1/jobs", "All background jobs", (STORAGE, KEYS, AUDIT), shapes.Jobs),
    acts(
        "/v1/jobs/{name}/run",
        "Run one round of a job; answers when it has ended",
        (STORAGE,),
        shapes.JobRound,
        "follow?",
        lines=True,
    ),
    acts("/v1/jobs/{name}/pause", "Pause a job", (STORAGE,), shapes.OneJob),
    acts("/v1/jobs/{name}/resume", "Let a paused job go on", (STORAGE,), shapes.OneJob),
)

KEY_ROUTES: tuple[RouteEntry, ...] = (
    reads(
        "/v1/keys",
        "Named keys of an account",
        (KEYS, TENANTS, AUDIT),
        shapes.NamedKeys,
        "access_key_id?",
    ),
    acts("/v1/keys", "Make a named key", (KEYS,), shapes.NamedKeys, "name access_key_id?"),
    reads(
        "/v1/key-epochs",
        "Epochs of keys of tenants and buckets",
        (KEYS, AUDIT),
        shapes.KeyEpochs,
        "bucket? tenant?",
    ),
    reads("/v1/key-epochs/status", "Rotations and their reports", (KEYS, AUDIT), shapes.Rotations),
    reads(
        "/v1/key-epochs/left",
        "What is still under an epoch",
        (KEYS, AUDIT),
        shapes.LeftUnderKey,
        "bucket? tenant? named_key? access_key_id? epoch",
    ),
    reads(
        "/v1/key-epochs/plan",
        "Which keys a rotation would change",
        (KEYS, AUDIT),
        shapes.Begun,
        "bucket? tenant? all? named_key? access_key_id? rate?",
    ),
    acts(
        "/v1/key-epochs/rotate",
        "Begin to rotate keys",
        (KEYS,),
        shapes.Begun,
        "bucket? tenant? all? named_key? access_key_id? rate?",
    ),
    acts(
        "/v1/key-epochs/disable",
        "Open nothing under an epoch until it is enabled",
        (KEYS,),
        shapes.EpochState,
        "bucket? tenant? named_key? access_key_id? epoch",
    ),
    acts(
        "/v1/key-epochs/enable",
        "Open what is under an epoch again",
        (KEYS,),
        shapes.EpochState,
        "bucket? tenant? named_key? access_key_id? epoch",
    ),
    acts(
        "/v1/key-epochs/destroy",
        "Erase an epoch of a key, for good",
        (KEYS,),
        shapes.Destroyed,
        "bucket? tenant? named_key? access_key_id? epoch lose?",
    ),
)

# What needs shares is done by the command, on the machine of the keys: it is only told here first,
# so that it is in the journal.
RECOVERY_ROUTES: tuple[RouteEntry, ...] = (
    reads(
        "/v1/recovery", "What is known of recovery without a share", (KEYS, AUDIT), shapes.Recovery
    ),
    acts("/v1/recovery/backup", "Back the keys up now", (KEYS,), shapes.Backup),
    *(
        acts(f"/v1/recovery/{verb}", summary, (KEYS,), shapes.Recorded, fields)
        for verb, summary, fields in (
            ("init", "Tell that shares are made", "set? threshold? shares? custodians? was?"),
            (
                "reshare",
                "Tell that shares are made anew",
                "set? threshold? shares? custodians? was?",
            ),
            ("verify", "Tell that a backup is opened", "set? backup? custodians? number?"),
            ("ceremony", "Tell the digest of a transcript", "transcript"),
        )
    ),
)

JOURNAL_ROUTES: tuple[RouteEntry, ...] = (
    reads("/v1/journal", "Logs, public keys, state", (AUDIT,), shapes.JournalState),
    reads("/v1/journal/lines", "Events of a log", (AUDIT,), shapes.Lines, "log first count"),
    reads("/v1/journal/proof", "The proof of one event", (AUDIT,), shapes.Proof, "log seq"),
    reads(
        "/v1/journal/hashes",
        "What names are in a log",
        (AUDIT,),
        shapes.NameHashes,
        "log bucket? key?",
    ),
    reads("/v1/journal/names", "Buckets by the hashes of their names", (AUDIT,), shapes.Names),
    reads(
        "/v1/journal/request",
        "What a witness is asked to cosign",
        (AUDIT,),
        shapes.WitnessRequest,
        "old?",
    ),
    asks("/v1/journal/checkpoint", "Sign now", (AUDIT,), shapes.Checkpoints, query="log?"),
    asks(
        "/v1/journal/cosign",
        "Keep a checkpoint that witnesses have cosigned",
        (AUDIT,),
        shapes.Cosigned,
        raw_body="text/plain",
    ),
    acts("/v1/journal-keys/rotate", "Sign the journal with new keys", (KEYS,), shapes.JournalKeys),
)

ADMINISTRATOR_ROUTES: tuple[RouteEntry, ...] = (
    reads("/v1/whoami", "Who asks, and what they may", ALL, shapes.WhoAmI),
    reads("/v1/openapi.json", "This document", ALL, shapes.ApiDocument),
    reads(
        "/v1/administrators",
        "Administrators and their roles",
        (AUDIT, KEYS, STORAGE),
        shapes.AdministratorsShown,
    ),
    *(
        acts(
            f"/v1/administrators/{verb}",
            summary,
            (),
            shapes.OneAdministrator,
            body=fields,
            local_acts=True,
        )
        for verb, summary, fields in (
            ("add", "Make an account of one person", "name person roles"),
            ("grant", "Give roles", "name roles"),
            ("revoke", "Take roles away", "name roles"),
            ("disable", "Let an administrator in no longer", "name"),
            ("enable", "Let an administrator in again", "name"),
            ("distrust", "Take no certificate that was made before this moment", "name"),
            ("reset-second-factor", "Take a second factor away", "name"),
        )
    ),
)

TABLE = RouteTable(
    (
        *CLUSTER_ROUTES,
        *KEY_ROUTES,
        *ACCESS_ROUTES,
        *METERING_ROUTES,
        *TRANSFER_ROUTES,
        *RECOVERY_ROUTES,
        *ERASURE_ROUTES,
        *DEPARTURE_ROUTES,
        *KEY_MOVE_ROUTES,
        *JOURNAL_ROUTES,
        *SIGNING_ROUTES,
        *ADMINISTRATOR_ROUTES,
        *SECOND_FACTOR_ROUTES,
    )
)
