"""The policy of a POST form: what its signer lets a browser send, and until when.

Pure. Not for signatures (`post_form_auth`), nor for rights: what the policy admits still has to be
allowed to the one who signed it.

Source: Amazon S3 API Reference, "Creating a POST policy", "POST policy (Signature Version 2)".
"""

from __future__ import annotations

import binascii
import json
import re
from base64 import b64decode
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NoReturn

from gateway.s3.errors import S3Error

RANGE_DIGITS_MAX = 15
EQUAL, STARTS = "eq", "starts-with"
_RANGE = "content-length-range"
_INSTANT = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.\d{1,9})?Z", re.ASCII)

# Fields that no condition has to speak of: what proves the form cannot be part of what is proved,
# and a checksum only makes more uploads fail.
_FREE = frozenset({"awsaccesskeyid", "file", "policy", "signature", "x-amz-signature"})
_FREE_PREFIXES = ("x-ignore-", "x-amz-checksum-")


@dataclass(frozen=True, slots=True)
class Condition:
    """`eq` or `starts-with` of a field; `written` is how an error shows it."""

    operator: str
    name: str
    value: str
    written: str

    def holds(self, text: str | None) -> bool:
        """Whether a field with that value will do; None: there is no such field, which begins with
        "" all the same: so policies allow any value.
        """
        if text is None:
            return self.operator == STARTS and not self.value
        if self.operator == EQUAL:
            return text == self.value
        if self.name == "content-type" and "," in text:
            return all(kind.strip().startswith(self.value) for kind in text.split(","))
        return text.startswith(self.value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What a form may hold.

    Args:
        least_bytes, most_bytes: of the file; None: no bound of the policy.
    """

    expires_at_ms: int
    conditions: tuple[Condition, ...]
    least_bytes: int | None = None
    most_bytes: int | None = None


NO_POLICY = Policy(expires_at_ms=0, conditions=())


def _invalid(reason: str) -> NoReturn:
    raise S3Error("InvalidPolicyDocument", f"Invalid Policy: {reason}")


def _denied(reason: str) -> NoReturn:
    raise S3Error("AccessDenied", f"Invalid according to Policy: {reason}")


def parse_policy(encoded: str) -> Policy:
    """The policy of a form.

    Raises:
        S3Error: InvalidPolicyDocument.
    """
    try:
        document = json.loads(b64decode("".join(encoded.split()).encode("ascii"), validate=True))
    except (ValueError, binascii.Error, RecursionError):
        _invalid("Invalid JSON.")
    if not isinstance(document, dict):
        _invalid("Invalid JSON.")
    if "expiration" not in document:
        _invalid("Policy missing expiration.")
    if "conditions" not in document:
        _invalid("Policy missing conditions.")
    unknown = document.keys() - {"expiration", "conditions"}
    if unknown:
        _invalid(f"Unexpected: '{min(unknown)[:64]}'")
    if not isinstance(document["conditions"], list):
        _invalid("Invalid 'conditions' value: must be a List.")
    conditions: list[Condition] = []
    bounds: list[tuple[int, int]] = []
    for item in document["conditions"]:
        _read_condition(item, conditions, bounds)
    return Policy(
        expires_at_ms=_expiration_ms(document["expiration"]),
        conditions=tuple(conditions),
        least_bytes=max((least for least, _ in bounds), default=None),
        most_bytes=min((most for _, most in bounds), default=None),
    )


def _expiration_ms(text: Any) -> int:
    match = _INSTANT.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        _invalid("Invalid 'expiration' value.")
    try:
        instant = datetime.fromisoformat(match[1]).replace(tzinfo=UTC)
    except ValueError:
        _invalid("Invalid 'expiration' value.")
    return int(instant.timestamp()) * 1000


def _read_condition(item: Any, conditions: list[Condition], bounds: list[tuple[int, int]]) -> None:
    if isinstance(item, dict):
        if len(item) != 1:
            _invalid(
                "Invalid Simple-Condition: Simple-Conditions must have exactly one property "
                "specified."
            )
        ((name, value),) = item.items()
        _add(conditions, EQUAL, f"${name}", value)
        return
    if not isinstance(item, list) or len(item) != 3 or not isinstance(item[0], str):
        _invalid("Invalid Condition: must be a property, or a list of three elements.")
    operator = item[0].lower()
    if operator == _RANGE:
        bounds.append((_bytes(item[1]), _bytes(item[2])))
    elif operator in (EQUAL, STARTS):
        _add(conditions, operator, item[1], item[2])
    else:
        _invalid(f"Invalid Condition: unknown operation '{item[0][:64]}'.")


def _add(conditions: list[Condition], operator: str, name: Any, value: Any) -> None:
    if not isinstance(name, str) or not name.startswith("$") or not isinstance(value, str):
        _invalid("Invalid Condition: the property and its value must be text.")
    written = json.dumps([operator, name, value])
    conditions.append(Condition(operator, name[1:].lower(), value, written))


def _bytes(value: Any) -> int:
    text = str(value) if type(value) is int else value
    if not isinstance(text, str) or not text.isascii() or not text.isdigit():
        _invalid("Invalid content-length-range: the bounds must be numbers.")
    if len(text) > RANGE_DIGITS_MAX:
        _invalid("Invalid content-length-range: the bounds are out of range.")
    return int(text)


def check_policy(policy: Policy, fields: Mapping[str, str], bucket: str, now_ms: int) -> None:
    """Whether a form is as its signer wants it, but for the length of its file.

    Args:
        fields: by lower-case name, `${filename}` replaced.
        bucket: where the form was sent to; the policy must speak of it.

    Raises:
        S3Error: AccessDenied.
    """
    if now_ms > policy.expires_at_ms:
        _denied("Policy expired.")
    held = {**fields, "bucket": bucket}
    for condition in policy.conditions:
        if not condition.holds(held.get(condition.name)):
            _denied(f"Policy Condition failed: {condition.written}")
    told = {condition.name for condition in policy.conditions}
    for name in held:
        if name not in told and name not in _FREE and not name.startswith(_FREE_PREFIXES):
            _denied(f"Extra input fields: {name}")
