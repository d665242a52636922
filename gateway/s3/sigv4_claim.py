"""What a request says about its own signature: the Authorization header or the X-Amz-* query, and
its time.

Not for the signature itself, which `sigv4` computes.

Source: AWS, "Authenticating Requests (AWS Signature Version 4)", S3 API Reference.
"""

from __future__ import annotations

import calendar
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from email.utils import mktime_tz, parsedate_tz
from functools import lru_cache
from typing import NamedTuple, NoReturn

from gateway.s3.errors import S3Error

ALGORITHM = "AWS4-HMAC-SHA256"
SERVICE = "s3"
TERMINATOR = "aws4_request"
SKEW_MAX_S = 900
EXPIRES_MAX_S = 604_800
DAYS_CACHED_MAX = 64  # scope dates in use at once: two, and eight of presigned requests
SECONDS_CACHED_MAX = 256
GRANTS_CACHED_MAX = 1024
GRANT_CHARACTERS_MAX = 1024  # what is longer is not cached: clients choose it

SIGV2_REFUSED = (
    "The authorization mechanism you have provided is not supported. Please use AWS4-HMAC-SHA256."
)
BAD_CONTENT_SHA256 = (
    "x-amz-content-sha256 must be UNSIGNED-PAYLOAD, STREAMING-UNSIGNED-PAYLOAD-TRAILER, "
    "STREAMING-AWS4-HMAC-SHA256-PAYLOAD, STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER "
    "or a valid sha256 value."
)
_NO_DATE = "AWS authentication requires a valid Date or x-amz-date header"
_AUTHORIZATION_PARTS = frozenset({"Credential", "SignedHeaders", "Signature"})
_ENDS_A_PART = re.compile("[, ]")
_QUERY_REQUIRED = frozenset(
    {
        "X-Amz-Algorithm",
        "X-Amz-Credential",
        "X-Amz-Date",
        "X-Amz-Expires",
        "X-Amz-SignedHeaders",
        "X-Amz-Signature",
    }
)
_QUERY_PARTS = frozenset(name.encode() for name in _QUERY_REQUIRED | {"X-Amz-Content-Sha256"})


class Grant(NamedTuple):
    """The parts of an Authorization header that do not change from request to request."""

    access_key_id: str
    date: str
    region: str
    service: str
    scope: str
    signed_headers: str


class Claim(NamedTuple):
    """What the request says about its own signature."""

    access_key_id: str
    date: str
    region: str
    service: str
    scope: str
    signed_headers: str
    signature: str
    amz_date: str
    content_sha256: str
    presigned: bool


def header_claim(
    authorization: str, fields: Mapping[str, str], *, regions: Sequence[str], now_ms: int
) -> Claim:
    """The claim of an Authorization header, its scope and time checked."""
    text, mark, signature = authorization.rpartition("Signature=")
    if mark and len(text) <= GRANT_CHARACTERS_MAX and not _ENDS_A_PART.search(signature):
        grant = _repeated_grant(text + mark)
    else:
        grant, signature = _parse_header(authorization)
    content_sha256 = fields.get("x-amz-content-sha256")
    if content_sha256 is None:
        text = "Missing required header for this request: x-amz-content-sha256"
        raise S3Error("InvalidRequest", text)
    amz_date = fields.get("x-amz-date")
    if amz_date is None:
        amz_date = _amz_date_of(fields.get("date", ""))
    claim = Claim(
        grant.access_key_id,
        grant.date,
        grant.region,
        grant.service,
        grant.scope,
        grant.signed_headers,
        signature,
        amz_date,
        content_sha256,
        False,
    )
    _check_scope_of_header(claim, regions)
    _check_skew(amz_date, now_ms)
    return claim


def service_claim(
    authorization: str,
    fields: Mapping[str, str],
    content_sha256: str,
    *,
    service: str,
    regions: Sequence[str],
    now_ms: int,
) -> Claim:
    """As `header_claim`, of a request to another service, whose body has been read: its digest is
    what such clients sign without naming it.
    """
    grant, signature = _parse_header(authorization)
    amz_date = fields.get("x-amz-date") or _amz_date_of(fields.get("date", ""))
    claim = Claim(
        grant.access_key_id,
        grant.date,
        grant.region,
        grant.service,
        grant.scope,
        grant.signed_headers,
        signature,
        amz_date,
        content_sha256,
        False,
    )
    _check_scope_of_header(claim, regions, service)
    _check_skew(amz_date, now_ms)
    return claim


def query_claim(
    pairs: Sequence[tuple[bytes, bytes]],
    fields: Mapping[str, str],
    *,
    regions: Sequence[str],
    now_ms: int,
) -> Claim:
    """The claim of a presigned request, its scope and lifetime checked."""
    claim = _parse_query(pairs, fields)
    _check_scope_of_query(claim, regions)
    _check_lifetime(claim.amz_date, _expires_s(pairs), now_ms)
    return claim


def _parse_header(authorization: str) -> tuple[Grant, str]:
    """(what is signed and for whom, signature) of an Authorization header."""
    algorithm, _, rest = authorization.partition(" ")
    if algorithm != ALGORITHM:
        if algorithm == "AWS":
            raise S3Error("InvalidRequest", SIGV2_REFUSED)
        extra = {"ArgumentName": "Authorization", "ArgumentValue": algorithm}
        raise S3Error("InvalidArgument", "Unsupported Authorization Type", extra=extra)
    parts: dict[str, str] = {}
    for item in rest.split(","):
        name, _, text = item.strip(" ").partition("=")
        if name in parts or name not in _AUTHORIZATION_PARTS:
            _malformed(
                "the authorization components are not Credential, SignedHeaders and Signature, "
                "each once."
            )
        parts[name] = text
    if len(parts) != len(_AUTHORIZATION_PARTS):
        _malformed(
            "the authorization header requires three components: Credential, SignedHeaders, and "
            "Signature."
        )
    scope = parts["Credential"].rsplit("/", 4)
    if len(scope) != 5 or scope[4] != TERMINATOR or not scope[0]:
        _malformed(
            "the Credential is mal-formed; expecting "
            '"<YOUR-AKID>/YYYYMMDD/REGION/SERVICE/aws4_request".'
        )
    access_key_id, date, region, service, _ = scope
    grant = Grant(
        access_key_id,
        date,
        region,
        service,
        parts["Credential"][len(access_key_id) + 1 :],
        parts["SignedHeaders"],
    )
    return grant, parts["Signature"]


@lru_cache(maxsize=GRANTS_CACHED_MAX)
def _repeated_grant(unsigned: str) -> Grant:
    """The grant of a header up to `Signature=`: a client sends the same one all day."""
    return _parse_header(unsigned)[0]


def _malformed(reason: str, extra: dict[str, str] | None = None) -> NoReturn:
    text = f"The authorization header is malformed; {reason}"
    raise S3Error("AuthorizationHeaderMalformed", text, extra=extra)


def _bad_query(text: str | None = None, extra: dict[str, str] | None = None) -> NoReturn:
    raise S3Error("AuthorizationQueryParametersError", text, extra=extra)


def _amz_date_of(date_header: str) -> str:
    """The x-amz-date form of a Date header (RFC 7231), "" if it is none."""
    parsed = parsedate_tz(date_header)
    if parsed is None:
        return date_header
    try:
        return amz_date_at(int(mktime_tz(parsed)) * 1000)
    except (ValueError, OverflowError):
        return ""


def _parse_query(pairs: Sequence[tuple[bytes, bytes]], fields: Mapping[str, str]) -> Claim:
    parts: dict[str, str] = {}
    for name, value in pairs:
        if name in _QUERY_PARTS:
            text = name.decode()
            if text in parts:
                _bad_query(f"{text} may be given only once.")
            parts[text] = value.decode("utf-8", "replace")
    if parts.get("X-Amz-Algorithm", ALGORITHM) != ALGORITHM:
        _bad_query('X-Amz-Algorithm only supports "AWS4-HMAC-SHA256"')
    if not parts.keys() >= _QUERY_REQUIRED:
        _bad_query()
    credential = parts["X-Amz-Credential"]
    scope = credential.rsplit("/", 4)
    if len(scope) != 5 or scope[4] != TERMINATOR or not scope[0]:
        _bad_query(
            "Error parsing the X-Amz-Credential parameter; the Credential is mal-formed; expecting "
            '"<YOUR-AKID>/YYYYMMDD/REGION/SERVICE/aws4_request".'
        )
    in_query = parts.get("X-Amz-Content-Sha256")
    in_header = fields.get("x-amz-content-sha256")
    if in_query is not None and in_header is not None and in_query != in_header:
        raise S3Error("InvalidArgument", BAD_CONTENT_SHA256)
    access_key_id, date, region, service, _ = scope
    return Claim(
        access_key_id,
        date,
        region,
        service,
        credential[len(access_key_id) + 1 :],
        parts["X-Amz-SignedHeaders"],
        parts["X-Amz-Signature"],
        parts["X-Amz-Date"],
        in_query or in_header or "UNSIGNED-PAYLOAD",
        True,
    )


def _check_scope_of_header(claim: Claim, regions: Sequence[str], service: str = SERVICE) -> None:
    if claim.region not in regions:
        _malformed(
            f"the region '{claim.region}' is wrong; expecting '{regions[0]}'",
            {"Region": regions[0]},
        )
    if claim.service != service:
        _malformed(f'incorrect service "{claim.service}". This endpoint belongs to "{service}".')
    if epoch_s(claim.amz_date) is None:
        raise S3Error("AccessDenied", _NO_DATE)
    if claim.date != claim.amz_date[:8]:
        _malformed(
            f'Invalid credential date "{claim.date}". This date is not the same as X-Amz-Date: '
            f'"{claim.amz_date[:8]}".'
        )


def _check_scope_of_query(claim: Claim, regions: Sequence[str]) -> None:
    if claim.region not in regions:
        _bad_query(
            f"Error parsing the X-Amz-Credential parameter; the region '{claim.region}' is wrong; "
            f"expecting "
            f"'{regions[0]}'",
            {"Region": regions[0]},
        )
    if claim.service != SERVICE:
        _bad_query(
            f'Error parsing the X-Amz-Credential parameter; incorrect service "{claim.service}". '
            f'This endpoint belongs to "{SERVICE}".'
        )
    if epoch_s(claim.amz_date) is None:
        _bad_query("X-Amz-Date must be in the ISO8601 Long Format \"yyyyMMdd'T'HHmmss'Z'\"")
    if claim.date != claim.amz_date[:8]:
        _bad_query(
            f'Invalid credential date "{claim.date}". This date is not the same as X-Amz-Date: '
            f'"{claim.amz_date[:8]}".'
        )


def _check_skew(amz_date: str, now_ms: int) -> None:
    requested_s = epoch_s(amz_date) or 0
    if abs(requested_s * 1000 - now_ms) > SKEW_MAX_S * 1000:
        raise S3Error(
            "RequestTimeTooSkewed",
            extra={
                "RequestTime": amz_date,
                "ServerTime": amz_date_at(now_ms),
                "MaxAllowedSkewMilliseconds": str(SKEW_MAX_S * 1000),
            },
        )


def _expires_s(pairs: Sequence[tuple[bytes, bytes]]) -> int:
    text = dict(pairs)[b"X-Amz-Expires"]
    if not text.removeprefix(b"-").isdigit():
        _bad_query("X-Amz-Expires should be a number")
    if len(text) > 6 or not 1 <= int(text) <= EXPIRES_MAX_S:
        # S3's own status is 400; the public suite, and other servers, take it as long expired.
        raise S3Error(
            "AccessDenied",
            "X-Amz-Expires must be less than a week (in seconds); that is, the given "
            f"X-Amz-Expires must be between 1 and {EXPIRES_MAX_S} seconds",
        )
    return int(text)


def _check_lifetime(amz_date: str, expires_s: int, now_ms: int) -> None:
    requested_s = epoch_s(amz_date) or 0
    if requested_s * 1000 - now_ms > SKEW_MAX_S * 1000:
        raise S3Error("AccessDenied", "Request is not yet valid", extra={"X-Amz-Date": amz_date})
    expires_at_ms = (requested_s + expires_s) * 1000
    if now_ms > expires_at_ms:
        raise S3Error(
            "AccessDenied",
            "Request has expired",
            extra={
                "X-Amz-Expires": str(expires_s),
                "Expires": amz_date_at(expires_at_ms),
                "ServerTime": amz_date_at(now_ms),
            },
        )


@lru_cache(maxsize=DAYS_CACHED_MAX)
def _midnight_s(date: str) -> int | None:
    year, month, day = int(date[:4]), int(date[4:6]), int(date[6:])
    if year < 1970 or not 1 <= month <= 12 or not 1 <= day <= calendar.monthrange(year, month)[1]:
        return None
    return calendar.timegm((year, month, day, 0, 0, 0))


@lru_cache(maxsize=SECONDS_CACHED_MAX)
def epoch_s(amz_date: str) -> int | None:
    """Seconds since the epoch of YYYYMMDD'T'HHMMSS'Z', or None."""
    if len(amz_date) != 16 or amz_date[8] != "T" or amz_date[15] != "Z":
        return None
    date, clock = amz_date[:8], amz_date[9:15]
    if not (amz_date.isascii() and date.isdigit() and clock.isdigit()):
        return None
    midnight_s = _midnight_s(date)
    hour, minute, second = int(clock[:2]), int(clock[2:4]), int(clock[4:])
    if midnight_s is None or hour > 23 or minute > 59 or second > 59:
        return None
    return midnight_s + hour * 3600 + minute * 60 + second


def amz_date_at(at_ms: int) -> str:
    """YYYYMMDD'T'HHMMSS'Z' of an instant, milliseconds since the epoch."""
    instant = datetime.fromtimestamp(at_ms // 1000, UTC)
    return f"{instant:%Y%m%dT%H%M%SZ}"
