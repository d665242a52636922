"""Routes of the admin port about tenants: access, usage, and the way in and out. See
`gateway.admin.routes`, of which this is a part.
"""

from __future__ import annotations

from gateway.admin import tenant_shapes as shapes
from gateway.admin.route_table import RouteEntry, acts, asks, reads
from gateway.model.administrators import Role

AUDIT = Role.AUDITOR
BILLING = Role.BILLING
TENANTS = Role.TENANT_ADMIN

# The commands of `gateway.admin.access_desk`: fields come as a JSON object of texts.
ACCESS_ROUTES: tuple[RouteEntry, ...] = tuple(
    (acts if changes else asks)(f"/v1/access/{command}", summary, roles, answer, body=fields)
    for changes, command, summary, roles, answer, fields in (
        (1, "tenant/create", "Make a tenant", (TENANTS,), shapes.NewTenant, "name"),
        (0, "tenant/list", "All tenants", (TENANTS, AUDIT, BILLING), shapes.Tenants, ""),
        (0, "tenant/show", "One tenant", (TENANTS, AUDIT, BILLING), shapes.OneTenant, "name"),
        (1, "tenant/disable", "Let nobody of a tenant in", (TENANTS,), shapes.OneTenant, "name"),
        (1, "tenant/enable", "Let a tenant in again", (TENANTS,), shapes.OneTenant, "name"),
        (1, "user/create", "Make a user", (TENANTS,), shapes.OneUser, "name tenant? tags?"),
        (0, "user/list", "Users of a tenant", (TENANTS, AUDIT), shapes.Users, "tenant? group?"),
        (0, "user/show", "One user", (TENANTS, AUDIT), shapes.OneUser, "name tenant?"),
        (1, "user/disable", "Let a user in no longer", (TENANTS,), shapes.OneUser, "name tenant?"),
        (1, "user/enable", "Let a user in again", (TENANTS,), shapes.OneUser, "name tenant?"),
        (1, "user/delete", "Drop a user and its keys", (TENANTS,), shapes.Deleted, "name tenant?"),
        (1, "group/create", "Make a group", (TENANTS,), shapes.OneGroup, "name tenant?"),
        (0, "group/list", "Groups of a tenant", (TENANTS, AUDIT), shapes.Groups, "tenant?"),
        (1, "group/delete", "Drop a group", (TENANTS,), shapes.Deleted, "name tenant?"),
        (
            1,
            "group/add",
            "Put a user into a group",
            (TENANTS,),
            shapes.OneUser,
            "name user tenant?",
        ),
        (
            1,
            "group/remove",
            "Take a user out of a group",
            (TENANTS,),
            shapes.OneUser,
            "name user tenant?",
        ),
        (
            1,
            "access-key/create",
            "Make an access key; its secret is told this once",
            (TENANTS,),
            shapes.OneAccessKey,
            "user tenant?",
        ),
        (
            1,
            "access-key/rotate",
            "Make the second access key of a user",
            (TENANTS,),
            shapes.RotatedAccessKey,
            "user tenant?",
        ),
        (
            0,
            "access-key/list",
            "Access keys, without secrets",
            (TENANTS, AUDIT),
            shapes.AccessKeys,
            "user? tenant?",
        ),
        (
            1,
            "access-key/disable",
            "Take an access key no longer",
            (TENANTS,),
            shapes.OneAccessKey,
            "access_key_id",
        ),
        (
            1,
            "access-key/enable",
            "Take an access key again",
            (TENANTS,),
            shapes.OneAccessKey,
            "access_key_id",
        ),
        (
            1,
            "access-key/delete",
            "Drop an access key",
            (TENANTS,),
            shapes.Deleted,
            "access_key_id",
        ),
        (
            1,
            "policy/put",
            "Make or change a policy",
            (TENANTS,),
            shapes.OnePolicy,
            "name text tenant?",
        ),
        (0, "policy/list", "Policies of a tenant", (TENANTS, AUDIT), shapes.Policies, "tenant?"),
        (0, "policy/show", "One policy", (TENANTS, AUDIT), shapes.OnePolicy, "name tenant?"),
        (1, "policy/delete", "Drop a policy", (TENANTS,), shapes.Deleted, "name tenant?"),
        (
            1,
            "policy/attach",
            "Give a policy to a user, a group or a role",
            (TENANTS,),
            shapes.Attached,
            "name user? group? role? tenant?",
        ),
        (
            1,
            "policy/detach",
            "Take a policy from a user, a group or a role",
            (TENANTS,),
            shapes.Attached,
            "name user? group? role? tenant?",
        ),
        (
            1,
            "role/put",
            "Make or change a role that users may become",
            (TENANTS,),
            shapes.OneRole,
            "name trust session_s? tenant?",
        ),
        (0, "role/list", "Roles of a tenant", (TENANTS, AUDIT), shapes.Roles, "tenant?"),
        (0, "role/show", "One role of a tenant", (TENANTS, AUDIT), shapes.OneRole, "name tenant?"),
        (1, "role/delete", "Drop a role", (TENANTS,), shapes.Deleted, "name tenant?"),
        (
            0,
            "right/who",
            "Who may do something with a bucket or an object",
            (TENANTS, AUDIT),
            shapes.WhoMay,
            "bucket key? actions?",
        ),
        (
            1,
            "identity-provider/put",
            "Trust tokens of an identity provider",
            (TENANTS,),
            shapes.OneProvider,
            "name issuer audiences jwks tenant?",
        ),
        (
            0,
            "identity-provider/list",
            "Identity providers of a tenant",
            (TENANTS, AUDIT),
            shapes.Providers,
            "tenant?",
        ),
        (
            1,
            "identity-provider/delete",
            "Trust an identity provider no longer",
            (TENANTS,),
            shapes.Deleted,
            "name tenant?",
        ),
    )
)

METERING_ROUTES: tuple[RouteEntry, ...] = (
    reads(
        "/v1/metering/usage",
        "What buckets hold",
        (BILLING, TENANTS, AUDIT),
        shapes.UsageNow,
        "tenant? bucket?",
    ),
    reads(
        "/v1/metering/metered",
        "What buckets used in a time",
        (BILLING, AUDIT),
        shapes.MeteredTime,
        "tenant? bucket? from_hour to_hour",
    ),
    reads(
        "/v1/metering/hours",
        "The hours from which a statement can be computed again",
        (BILLING, AUDIT),
        shapes.Hours,
        "tenant? bucket? from_hour to_hour",
    ),
    reads("/v1/metering/quotas", "All limits", (BILLING, TENANTS, AUDIT), shapes.Quotas),
    acts(
        "/v1/metering/quotas/set",
        "Set limits of a tenant, bucket, access key or address",
        (TENANTS,),
        shapes.Quotas,
        "subject name limits",
    ),
    acts(
        "/v1/metering/quotas/clear",
        "Take all limits of somebody away",
        (TENANTS,),
        shapes.Quotas,
        "subject name",
    ),
    reads(
        "/v1/metering/plan", "How a tenant pays", (BILLING, AUDIT), shapes.PlanOfTenant, "tenant"
    ),
    acts(
        "/v1/metering/plan/set",
        "Set how a tenant pays",
        (BILLING,),
        shapes.PlanOfTenant,
        "tenant reserved_bytes? reserved_out_bytes? switching?",
    ),
)

# A ticket stands for the act that began: what is done with it is neither recorded by itself nor
# bounded to a rate.
TRANSFER_ROUTES: tuple[RouteEntry, ...] = (
    acts(
        "/v1/export/begin",
        "Begin to export a tenant; answers a ticket",
        (TENANTS,),
        shapes.Transfer,
        body="tenant buckets? customer_keys?",
    ),
    reads(
        "/v1/export/bucket", "Settings of a bucket", (TENANTS,), shapes.Transfer, "ticket bucket"
    ),
    reads(
        "/v1/export/page",
        "Frames of the next versions of a bucket",
        (TENANTS,),
        shapes.Frames,
        "ticket bucket bodies? after_key? after_sequence? limit?",
    ),
    reads(
        "/v1/export/body",
        "The content of a version",
        (TENANTS,),
        shapes.Frames,
        "ticket bucket key sequence uuid offset? length?",
    ),
    acts(
        "/v1/export/finish",
        "The export is whole",
        (TENANTS,),
        shapes.Transfer,
        body="ticket name",
    ),
    acts(
        "/v1/import/begin",
        "Begin to import a tenant; answers a ticket",
        (TENANTS,),
        shapes.Transfer,
        body="tenant name customer_keys?",
    ),
    *(
        acts(
            f"/v1/import/stream/{verb}",
            summary,
            (TENANTS,),
            shapes.Transfer,
            fields,
            raw_body=media,
            covered=True,
        )
        for verb, summary, fields, media in (
            ("plan", "What is to come; answers conflicts", "ticket", "application/json"),
            ("account", "Make the tenant and who is in it", "ticket", ""),
            ("bucket", "Make a bucket", "ticket bucket", ""),
            ("settle", "Give a bucket its settings", "ticket bucket", ""),
            ("missing", "Which versions are not there", "ticket bucket", "application/json"),
            ("versions", "Frames of versions", "ticket bucket", "application/octet-stream"),
        )
    ),
    acts("/v1/import/finish", "The import is whole", (TENANTS,), shapes.Transfer, body="ticket"),
)
