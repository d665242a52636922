"""Which layer a moment of the gateway belongs to: one table from modules and functions to layers.

A sample belongs to the innermost of its frames that the table knows: time in the standard library
is its caller's. The longest name wins, so a function may belong elsewhere than its module. What no
frame of a sample tells is `other`. A test demands that every name in the table exists.
"""

from __future__ import annotations

from collections.abc import Sequence

OTHER = "other"

# In the order in which a request meets them; `other` is last.
LAYERS = {
    "HTTP": "heads, routes, options, answers",
    "auth": "signature, who it is, what he may",
    "use case": "conditions, versions, decisions",
    "hash": "MD5 and checksums of bodies",
    "seal": "keys, AES-GCM over bodies and rows",
    "code": "stripes: code, tags, placement",
    "node": "shards, volumes, the way to nodes",
    "commit": "the log, its groups",
    "index": "rows, LMDB",
    "account": "journal, metering, quotas, metrics",
    "background": "jobs, administration",
    "loop": "event loop, sockets, switches",
    OTHER: "frames that the table does not know",
}

# module, or module:Class, or module:function → layer. A module speaks for what is below it.
TABLE = {
    "aiohttp": "HTTP",
    "multidict": "HTTP",
    "yarl": "HTTP",
    "gateway.s3": "HTTP",
    "gateway.s3.authentication": "auth",
    "gateway.s3.post_form_auth": "auth",
    "gateway.s3.sigv2": "auth",
    "gateway.s3.sigv4": "auth",
    "gateway.s3.sigv4_claim": "auth",
    "gateway.s3.tokens": "auth",
    "gateway.data.credential_sealing": "auth",
    "gateway.model.acl": "auth",
    "gateway.model.policy": "auth",
    "gateway.model.policy_conditions": "auth",
    "gateway.model.policy_identity": "auth",
    "gateway.model.policy_patterns": "auth",
    "gateway.objects.access": "auth",
    "gateway.objects.access_request": "auth",
    "gateway.objects.access_rules": "auth",
    "gateway.objects.credentials": "auth",
    "gateway.objects.rights": "auth",
    "gateway.model": "use case",
    "gateway.objects": "use case",
    "gateway.s3.checksums": "hash",
    "gateway.data.digests": "hash",
    "gateway.model.checksums": "hash",
    "gateway.objects.store:PartDigester": "hash",
    "gateway.data.bucket_sealing": "seal",
    "gateway.data.cipher": "seal",
    "gateway.data.envelope": "seal",
    "gateway.data.keyring": "seal",
    "gateway.keyd": "seal",
    "gateway.meta.sealing": "seal",
    "gateway.objects.bucket_keys": "seal",
    "gateway.objects.encryption": "seal",
    "gateway.objects.store:_seal_small": "seal",
    "gateway.data": "code",
    "storaged": "node",
    "gateway.commit": "commit",
    "gateway.meta": "index",
    "gateway.journal": "account",
    "gateway.metrics": "account",
    "gateway.objects.metering": "account",
    "gateway.objects.quotas": "account",
    "gateway.objects.throttle": "account",
    "gateway.meta.usage": "account",
    "gateway.s3.access_log": "account",
    "gateway.s3.answered": "account",
    "gateway.s3.journaling": "account",
    "gateway.s3.limits_on_requests": "account",
    "gateway.s3.log_records": "account",
    "gateway.s3.server_log": "account",
    "gateway.admin": "background",
    "gateway.jobs": "background",
    "gateway.outside": "background",
    "storaged.base.jobs": "background",
    "asyncio.runners": "loop",
    "uvloop": "loop",
}

# Their callers say what they are for.
TRANSPARENT = ("storaged.base",)

# A thread in one of these waits for its next task, a drive or a lock: no work, however it looks.
WAITS = frozenset(
    {
        "concurrent.futures.thread:_worker",
        "storaged.files:PosixFile.sync",
        "storaged.lanes:ThreadLane._serve",
        "threading:Condition.wait",
        "threading:Event.wait",
    }
)


def layer_of_name(name: str) -> str | None:
    """The layer of one frame, `module:function` with the function's class before a dot.

    Returns:
        None where the table leaves it to the caller.
    """
    module, _, function = name.partition(":")
    outer = function.partition(".")[0]
    for known in (name, f"{module}:{outer}"):
        if known in TABLE:
            return TABLE[known]
    while module:
        if module in TABLE:
            return TABLE[module]
        if module in TRANSPARENT:
            return None
        module = module.rpartition(".")[0]
    return None


def layer_of(frames: Sequence[str]) -> str:
    """The layer of a sample, its frames from the outermost to the innermost."""
    for name in reversed(frames):
        layer = layer_of_name(name)
        if layer is not None:
            return layer
    return OTHER


def is_waiting(frames: Sequence[str]) -> bool:
    """The thread did nothing when it was looked at."""
    return bool(frames) and frames[-1] in WAITS
