"""Conditions of policies: operators, and what they ask of the values of a request.

Not for where values come from: a request is a look-up by condition key.

Source: AWS IAM User Guide, "IAM JSON policy elements: Condition operators", "Multivalued context
keys".
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from operator import eq, ge, gt, le, lt

from gateway.model.policy_patterns import Lookup, Pattern, Template, compiled, key_name

Matcher = Callable[[str, Lookup], bool]
"""Whether one value of a request is among what the policy lists."""

ADDRESSES_CACHED_MAX = 1024
_ANY, _ALL = "foranyvalue:", "forallvalues:"


class UnknownOperator(ValueError):
    """No operator has that name."""


class BadValue(ValueError):
    """A value that its operator cannot be asked about."""


@dataclass(frozen=True, slots=True)
class Test:
    """One key of a condition block.

    Args:
        key: as `key_name` gives it.
        is_negated: holds when no listed value matches.
        holds_absent: what is said of a request that lacks the key.
        each: "" for single values, else _ANY or _ALL.
    """

    key: str
    operator: str
    matcher: Matcher
    is_negated: bool
    holds_absent: bool
    each: str

    def holds(self, lookup: Lookup) -> bool:
        """Whether the request is as the policy says."""
        values = lookup(self.key)
        matcher, negated = self.matcher, self.is_negated
        if self.operator == "null":
            return matcher("false" if values else "true", lookup)
        if not values:
            return self.holds_absent
        if len(values) == 1:
            return matcher(values[0], lookup) is not negated
        if self.each == _ALL:
            return all(matcher(value, lookup) is not negated for value in values)
        if self.each == _ANY:
            return any(matcher(value, lookup) is not negated for value in values)
        return any(matcher(value, lookup) for value in values) is not negated


def compiled_test(operator: str, key: str, values: Sequence[str], *, with_variables: bool) -> Test:
    """A test from what a policy says. Raises: UnknownOperator, BadValue."""
    name, each = operator.lower(), ""
    for qualifier in (_ANY, _ALL):
        if name.startswith(qualifier):
            name, each = name.removeprefix(qualifier), qualifier
    bare = name.removesuffix("ifexists")
    with_absent = bare != name
    made = _OPERATORS.get(bare)
    if made is None or (bare == "null" and (with_absent or each)):
        raise UnknownOperator(operator)
    make, is_negated = made
    holds_absent = with_absent or each == _ALL or (is_negated and each != _ANY)
    matcher = make(values, with_variables)
    return Test(key_name(key), bare, matcher, is_negated, holds_absent, each)


def _equals(values: Sequence[str], with_variables: bool) -> Matcher:
    plain, templates = _split(values, with_variables)
    listed = frozenset(plain)
    if not templates:
        return lambda value, _: value in listed
    return lambda value, lookup: value in listed or _fills(value, templates, lookup)


def _split(values: Sequence[str], with_variables: bool) -> tuple[list[str], list[Template]]:
    """Literal values, and those with variables; wildcards of the latter are literal too."""
    plain: list[str] = []
    templates: list[Template] = []
    for value in values:
        made = compiled(value, with_variables=with_variables)
        if isinstance(made, Template):
            templates.append(made)
        else:
            plain.append(made.head if made.is_fixed else value)
    return plain, templates


def _fills(value: str, templates: Sequence[Template], lookup: Lookup) -> bool:
    for template in templates:
        filled = template.filled(lookup)
        if filled is not None and filled.matches(value):
            return True
    return False


def _equals_ignoring_case(values: Sequence[str], with_variables: bool) -> Matcher:
    plain, templates = _split([value.lower() for value in values], with_variables)
    listed = frozenset(plain)
    return lambda value, lookup: value.lower() in listed or _fills(value.lower(), templates, lookup)


def _like(values: Sequence[str], with_variables: bool) -> Matcher:
    patterns: list[Pattern] = []
    templates: list[Template] = []
    for value in values:
        made = compiled(value, with_variables=with_variables)
        (templates if isinstance(made, Template) else patterns).append(made)  # type: ignore[arg-type]

    def matches(value: str, lookup: Lookup) -> bool:
        for pattern in patterns:
            if pattern.matches(value):
                return True
        return bool(templates) and _fills(value, templates, lookup)

    if len(patterns) == 1 and not templates:
        only = patterns[0].matches
        return lambda value, _: only(value)
    return matches


def _number(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        raise BadValue(text) from None
    if not math.isfinite(number):
        raise BadValue(text)
    return number


def _instant(text: str) -> float:
    """Seconds since the epoch of an ISO 8601 date, or of such seconds."""
    try:
        return _number(text)
    except BadValue:
        pass
    try:
        when = datetime.fromisoformat(text)
        return (when if when.tzinfo is not None else when.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        raise BadValue(text) from None


def _compared(
    parse: Callable[[str], float], holds: Callable[[float, float], bool]
) -> Callable[[Sequence[str], bool], Matcher]:
    def make(values: Sequence[str], _: bool) -> Matcher:
        listed = [parse(value) for value in values]

        def matches(value: str, _: Lookup) -> bool:
            try:
                asked = parse(value)
            except BadValue:
                return False
            return any(holds(asked, limit) for limit in listed)

        return matches

    return make


def _boolean(values: Sequence[str], _: bool) -> Matcher:
    listed = frozenset(value.lower() for value in values)
    if not listed <= {"true", "false"}:
        raise BadValue(str(values))
    return lambda value, _: value.lower() in listed


def _binary(values: Sequence[str], _: bool) -> Matcher:
    try:
        listed = frozenset(base64.b64decode(value, validate=True) for value in values)
    except (binascii.Error, ValueError):
        raise BadValue(str(values)) from None

    def matches(value: str, _: Lookup) -> bool:
        try:
            return base64.b64decode(value, validate=True) in listed
        except (binascii.Error, ValueError):
            return False

    return matches


@lru_cache(maxsize=ADDRESSES_CACHED_MAX)
def _address(text: str) -> tuple[int, int] | None:
    """(version, number) of an address; None when it is none."""
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return address.version, int(address)


def network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    """A range of addresses. Raises: BadValue."""
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise BadValue(text) from None


def _within(values: Sequence[str], _: bool) -> Matcher:
    ranges = [network(value) for value in values]
    listed = [(one.version, int(one.network_address), int(one.netmask)) for one in ranges]

    def matches(value: str, _: Lookup) -> bool:
        address = _address(value)
        if address is None:
            return False
        version, number = address
        return any(of == version and number & mask == start for of, start, mask in listed)

    return matches


_OPERATORS: dict[str, tuple[Callable[[Sequence[str], bool], Matcher], bool]] = {
    "stringequals": (_equals, False),
    "stringnotequals": (_equals, True),
    "stringequalsignorecase": (_equals_ignoring_case, False),
    "stringnotequalsignorecase": (_equals_ignoring_case, True),
    "stringlike": (_like, False),
    "stringnotlike": (_like, True),
    "numericequals": (_compared(_number, eq), False),
    "numericnotequals": (_compared(_number, eq), True),
    "numericlessthan": (_compared(_number, lt), False),
    "numericlessthanequals": (_compared(_number, le), False),
    "numericgreaterthan": (_compared(_number, gt), False),
    "numericgreaterthanequals": (_compared(_number, ge), False),
    "dateequals": (_compared(_instant, eq), False),
    "datenotequals": (_compared(_instant, eq), True),
    "datelessthan": (_compared(_instant, lt), False),
    "datelessthanequals": (_compared(_instant, le), False),
    "dategreaterthan": (_compared(_instant, gt), False),
    "dategreaterthanequals": (_compared(_instant, ge), False),
    "bool": (_boolean, False),
    "binaryequals": (_binary, False),
    "ipaddress": (_within, False),
    "notipaddress": (_within, True),
    "arnequals": (_like, False),
    "arnlike": (_like, False),
    "arnnotequals": (_like, True),
    "arnnotlike": (_like, True),
    "null": (_boolean, False),
}
