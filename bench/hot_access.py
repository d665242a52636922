"""Hot paths of rights: what a policy of a hundred statements costs a request.

Modules are imported inside, as in `bench.hot_data`.
"""

from __future__ import annotations

import json
from pathlib import Path

from bench.micro import Prepared, path

BUCKET = "bench"
OWNER = "1" * 64


def hundred_statements() -> str:
    """Sixty accounts with a prefix each, thirty prefixes for everybody, ten denials."""
    statements: list[dict[str, object]] = []
    for number in range(60):
        statements.append(
            {
                "Effect": "Allow",
                "Principal": {"AWS": f"{number:012d}"},
                "Action": ["s3:GetObject", "s3:PutObject"],
                "Resource": f"arn:aws:s3:::{BUCKET}/a{number}/*",
            }
        )
    for number in range(30):
        statements.append(
            {
                "Effect": "Allow",
                "Principal": "*",
                "Action": "s3:GetObject",
                "Resource": f"arn:aws:s3:::{BUCKET}/public{number}/*",
            }
        )
    for number in range(10):
        statements.append(
            {
                "Effect": "Deny",
                "Principal": "*",
                "Action": "s3:*",
                "Resource": f"arn:aws:s3:::{BUCKET}/*",
                "Condition": {
                    "NotIpAddress": {"aws:SourceIp": ["10.0.0.0/8", f"192.168.{number}.0/24"]},
                    "Bool": {"aws:SecureTransport": "false"},
                },
            }
        )
    return json.dumps({"Version": "2012-10-17", "Statement": statements}, separators=(",", ":"))


@path("rights: a policy of 100 statements")
async def policy(folder: Path) -> Prepared:
    from gateway.model.action import Action
    from gateway.model.policy import Caller, Effect, root_name
    from gateway.model.policy_document import parse_policy

    parsed = parse_policy(hundred_statements(), BUCKET)
    names = frozenset({root_name(OWNER), root_name("a" * 32)})
    caller = Caller(names, names)
    values = {"aws:sourceip": ("10.1.2.3",), "aws:securetransport": ("true",)}

    def call() -> object:
        key = f"{BUCKET}/public29/some/object"
        return parsed.effect(Action.GET_OBJECT, key, caller, values.get)

    if call() is not Effect.ALLOW:
        raise TypeError("the policy allows what everybody may")
    return Prepared(call=call)
