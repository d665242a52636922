"""Is a policy public? AWS's definition: an allowance for everybody that no fixed value narrows.

Not for ACLs (`gateway.model.acl`).

Source: Amazon S3 User Guide, "Blocking public access to your Amazon S3 storage", "The meaning of
public".
"""

from __future__ import annotations

from gateway.model.policy import Effect, Policy, Statement
from gateway.model.policy_conditions import network
from gateway.model.policy_patterns import is_fixed

# Wider ranges of addresses narrow nothing.
_WIDEST_BITS = {4: 8, 6: 32}
_OPERATORS = frozenset(
    {"stringequals", "stringequalsignorecase", "stringlike", "arnequals", "arnlike"}
)
_NARROWING = frozenset(
    {
        "aws:sourcearn",
        "aws:sourcevpc",
        "aws:sourcevpce",
        "aws:sourceowner",
        "aws:sourceaccount",
        "aws:userid",
        "aws:username",
        "aws:principalaccount",
        "aws:principalarn",
        "aws:principalorgid",
        "s3:dataaccesspointaccount",
        "s3:dataaccesspointarn",
        "s3:x-amz-server-side-encryption-aws-kms-key-id",
    }
)


def is_public(policy: Policy) -> bool:
    """Whether a policy lets in whom its writer cannot name."""
    return any(_lets_everybody_in(statement) for statement in policy.statements)


def _lets_everybody_in(statement: Statement) -> bool:
    if statement.effect is not Effect.ALLOW or not statement.principals.everybody:
        return False
    return not any(_narrows(*written) for written in statement.raw_tests)


def _narrows(operator: str, key: str, values: tuple[str, ...]) -> bool:
    name = operator.lower().removeprefix("foranyvalue:")
    if key.lower() == "aws:sourceip":
        return name == "ipaddress" and all(_is_narrow(value) for value in values)
    return name in _OPERATORS and key.lower() in _NARROWING and all(map(is_fixed, values))


def _is_narrow(value: str) -> bool:
    found = network(value)
    return found.prefixlen >= _WIDEST_BITS[found.version]
