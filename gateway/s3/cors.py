"""CORS at the edge: preflight requests, and the headers that let a page read an answer.

Not for which rule applies (`gateway.objects.cors`). A preflight carries no credentials and gets no
rights: it is answered from the rules of the bucket alone.

Source: Fetch Standard, "CORS protocol"; Amazon S3 User Guide, "How does Amazon S3 evaluate the CORS
configuration on a bucket?".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gateway.objects.context import Services
from gateway.objects.cors import ANY, METHODS, CorsRule, find_rule, rules_of
from gateway.s3.errors import S3Error
from gateway.s3.responses import Header, Reply

ORIGIN = "origin"
_METHOD = "access-control-request-method"
_HEADERS = "access-control-request-headers"
_VARY = "Origin, Access-Control-Request-Headers, Access-Control-Request-Method"

_NO_BUCKET = "CORSResponse: Bucket not found"
_NO_RULES = "CORSResponse: CORS is not enabled for this bucket."
_NOT_ALLOWED = (
    "CORSResponse: This CORS request is not allowed. This is usually because the evalution of "
    "Origin, request method / Access-Control-Request-Method or Access-Control-Request-Headers are "
    "not whitelisted by the resource's CORS spec."
)


def preflight(
    services: Services, bucket: str, headers: Mapping[str, str], *, resource_type: str
) -> Reply:
    """The answer to an OPTIONS request.

    Args:
        resource_type: BUCKET or OBJECT, for the error.

    Raises:
        S3Error: BadRequest (no origin or method), AccessForbidden (no rule allows it).
    """
    origin = headers.get(ORIGIN)
    if not origin:
        raise S3Error("BadRequest", "Insufficient information. Origin request header needed.")
    method = headers.get(_METHOD)
    if method not in METHODS:
        said = "null" if method is None else method
        raise S3Error("BadRequest", f"Invalid Access-Control-Request-Method: {said}")
    extra = {"Method": method, "ResourceType": resource_type}
    rules = rules_of(services, bucket)
    if not rules:
        raise S3Error("AccessForbidden", _NO_BUCKET if rules is None else _NO_RULES, extra=extra)
    asked = _names(headers.get(_HEADERS, ""))
    rule = find_rule(rules, origin, method, asked)
    if rule is None:
        raise S3Error("AccessForbidden", _NOT_ALLOWED, extra=extra)
    answer = _headers_of(rule, origin)
    if asked:
        answer.append(("Access-Control-Allow-Headers", ", ".join(asked)))
    if rule.max_age_s is not None:
        answer.append(("Access-Control-Max-Age", str(rule.max_age_s)))
    return Reply(headers=answer)


def actual_headers(
    services: Services, bucket: str, method: str, headers: Mapping[str, str]
) -> list[Header]:
    """What an answer to a page's own request carries, success or not; [] when no rule applies."""
    rules = rules_of(services, bucket)
    if not rules:
        return []
    origin = headers[ORIGIN]
    rule = find_rule(rules, origin, headers.get(_METHOD, method))
    return [("Vary", "Origin")] if rule is None else _headers_of(rule, origin)


def _names(listed: str) -> Sequence[str]:
    return [name.strip().lower() for name in listed.split(",") if name.strip()]


def _headers_of(rule: CorsRule, origin: str) -> list[Header]:
    answer: list[Header] = []
    if ANY in rule.origins:
        answer.append(("Access-Control-Allow-Origin", ANY))
    else:
        answer.append(("Access-Control-Allow-Origin", origin))
        answer.append(("Access-Control-Allow-Credentials", "true"))
    answer.append(("Access-Control-Allow-Methods", ", ".join(rule.methods)))
    if rule.exposed:
        answer.append(("Access-Control-Expose-Headers", ", ".join(rule.exposed)))
    answer.append(("Vary", _VARY))
    return answer
