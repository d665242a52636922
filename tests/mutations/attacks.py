"""Planted bugs of what keeps attackers out: see `table`, which has all others."""

from __future__ import annotations

from tests.mutations.table import Mutation

ATTACKS = "tests/conformance/s3/test_attacks"
LIMITS = "tests/unit/gateway/s3/test_http_limits.py"
OUTSIDE = "tests/unit/gateway/outside/test_elsewhere.py"

MUTATIONS: tuple[Mutation, ...] = (
    Mutation(
        name="attack-frames",
        file="gateway/s3/call.py",
        old="if in_chunks and mode is PayloadMode.UNSIGNED:",
        new="if in_chunks and False:",
        seen_by=("tests/unit/gateway/s3/test_http_bodies.py",),
    ),
    Mutation(
        name="attack-trailer-without-chunks",
        file="gateway/s3/call.py",
        old="if in_chunks or _TRAILER in headers:",
        new="if False:",
        seen_by=(f"{ATTACKS}_anything.py", "tests/unit/gateway/s3/test_http_bodies.py"),
    ),
    Mutation(
        name="attack-session",
        file="gateway/s3/call.py",
        old="if _SESSION_TOKEN in headers or not",
        new="if _SESSION_TOKEN in headers and not",
        seen_by=(f"{ATTACKS}_absent.py",),
    ),
    Mutation(
        name="attack-two-signatures",
        file="gateway/s3/sigv2.py",
        old="if in_header + in_query + (",
        new="if in_header * in_query * (",
        seen_by=("tests/unit/gateway/s3/test_http_auth.py",),
    ),
    Mutation(
        name="attack-another-action",
        file="gateway/objects/bucket_logging.py",
        old="DOCUMENT, Action.GET_BUCKET_LOGGING",
        new="DOCUMENT, Action.PUT_BUCKET_LOGGING",
        seen_by=("tests/conformance/s3/test_access_actions.py",),
    ),
    Mutation(
        name="attack-names-of-keys",
        file="gateway/objects/encryption_update.py",
        old="    named_version(ctx, bucket, key, version_id, action)",
        new="    # ",
        seen_by=(f"{ATTACKS}_oracles.py",),
    ),
    Mutation(
        name="attack-locked-rekeyed",
        file="gateway/objects/encryption_update.py",
        old="check_unlocked(version,",
        new="(lambda *_, **__: None)(version,",
        seen_by=(f"{ATTACKS}_locks.py",),
    ),
    Mutation(
        name="attack-redirect",
        file="gateway/outside/webhook.py",
        old="allow_redirects=False",
        new="allow_redirects=True",
        seen_by=(OUTSIDE,),
    ),
    Mutation(
        name="attack-redirected-replica",
        file="gateway/outside/remote_s3.py",
        old="allow_redirects=False",
        new="allow_redirects=True",
        seen_by=(OUTSIDE,),
    ),
    Mutation(
        name="attack-link-local",
        file="gateway/config_check.py",
        old="if (mapped or address).is_link_local:",
        new="if address.is_link_local:",
        seen_by=(OUTSIDE,),
    ),
    Mutation(
        name="attack-anybodys-target",
        file="gateway/objects/outbox.py",
        old="if not services.may_use(services.event_targets,",
        new="if False and (services.event_targets,",
        seen_by=(f"{ATTACKS}_outside.py",),
    ),
    Mutation(
        name="attack-parser",
        file="gateway/s3/connections.py",
        old="if HttpRequestParser is HttpRequestParserPy:",
        new="if False:",
        seen_by=(LIMITS,),
    ),
    Mutation(
        name="attack-trailers",
        file="gateway/s3/connections.py",
        old="max_headers=HEADER_COUNT_MAX",
        new="max_headers=10**9",
        seen_by=(LIMITS,),
    ),
    Mutation(
        name="attack-root-key",
        file="gateway/objects/bootstrap.py",
        old="return base64.b64encode(env.random_bytes(SECRET_BYTES)).decode()",
        new='return "rustfsadmin" * 3 + "1234567"',
        seen_by=("tests/conformance/test_gateway_process.py",),
    ),
)
