"""Where in the source texts are that people see, and where not: for `tests.support.messages`."""

from __future__ import annotations

import re

from gateway.terminal.catalogue import SPOKEN_FIELDS

# What S3 clients, other commands and logs read is English.
SILENT = (
    "gateway/s3/",
    "storaged/main.py",
    "gateway/serve.py",
    "gateway/model/errors",
)
# Errors of S3 that commands about objects and buckets meet as well.
ANSWERED = frozenset(
    {
        "AccessDenied",
        "InsufficientStorage",
        "InvalidBucketName",
        "MalformedPolicy",
        "MethodNotAllowed",
    }
    | {"KmsKeyDestroyed", "KmsKeyDisabled", "KmsKeyNotFound", "ServiceUnavailable", "SlowDown"}
    | {"BucketNotEmpty", "NoSuchBucket", "NoSuchKey", "NoSuchUpload", "NoSuchVersion"}
    | {"QuotaExceeded", "BucketAlreadyExists", "BucketAlreadyOwnedByYou", "TooManyBuckets"}
)
# Errors whose reasons say which bytes of a protocol or format are wrong: for whoever reads the log
# and the source, and in their language. What the error means is translated.
DIAGNOSTIC = (
    "gateway/admin/frames.py",
    "gateway/commit/",
    "gateway/keyd/wire.py",
    "gateway/meta/",
    "gateway/outside/",
    "storaged/link.py",
    "storaged/multiplex.py",
    "storaged/promises.py",
    "storaged/server.py",
    "storaged/session.py",
    "storaged/shardformat.py",
    "storaged/shardstore.py",
    "storaged/verbs.py",
    "storaged/volume_index.py",
    "storaged/wire.py",
)
SPOKEN_CALLS = {"say": 0, "heard": 0, "BadParameter": 0, "confirm": 0, "refuse": 0}
SPOKEN_KEYWORDS = SPOKEN_FIELDS | {"unit", "hint", "why_not", "dominant", "counted_by"}
SPOKEN_KEYS = frozenset(
    {
        "reason",
        "shredded",
        "meaning",
        "said",
        "says",
        "sentence",
        "why_not",
        "failed",
        "unit",
        "hint",
        "detail",
        "local",
    }
)
SPOKEN_NAMES = frozenset({"hint", "columns", "title", "COLUMNS", "detail"})
TABLES = frozenset({"titled_table", "rows_view", "one_view", "_print"})
# Modules of the gateway whose prose the command shows, wherever in them it is made.
SPOKEN_MODULES = (
    "gateway/admin/attest.py",
    "gateway/admin/attestation.py",
    "gateway/admin/clocks.py",
    "gateway/admin/health.py",
    "gateway/admin/journal_warnings.py",
    "gateway/admin/local_root.py",
    "gateway/admin/margins.py",
    "gateway/admin/outlook.py",
    "gateway/cli/export_verify.py",
    "gateway/admin/gate.py",
    "gateway/admin/produce.py",
    "gateway/admin/produce_says.py",
    "gateway/admin/regions.py",
    "gateway/admin/second_factors.py",
    "gateway/admin/signing_api.py",
    "gateway/cli/statement_verify.py",
    "gateway/admin/status.py",
    "gateway/admin/where.py",
    "gateway/approvals/request.py",
    "gateway/jobs/",
    "gateway/journal/certificate.py",
    "gateway/journal/forgetting.py",
    "gateway/journal/usage.py",
    "gateway/journal/verify.py",
    "gateway/terminal/user_files.py",
    "gateway/model/durability.py",
    "gateway/data/health.py",
    "gateway/objects/approving.py",
    "gateway/objects/erasure_certificate.py",
    "gateway/objects/key_rotation.py",
    "gateway/objects/tenant_import.py",
)
PRINTING = frozenset({"echo", "print", "text", "Text", "add_task", "prompt", "secho"})
LOGGED = frozenset({"debug", "info", "warning", "error", "exception"})
PRINTING_MODULES = re.compile(r"(_cli|_views|_terminal|tables|/cli|/questions|/completion)\.py$")
