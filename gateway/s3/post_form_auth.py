"""Who has signed a POST form, in the fields of Signature Version 4 or 2.

Not for what the signed policy says (`post_form_policy`). What is signed is the policy's base64
text as sent.

Source: Amazon S3 API Reference, "Calculating a signature (POST)"; Developer Guide, "Browser-based
uploads using POST (Signature Version 2)".
"""

from __future__ import annotations

import hmac
from base64 import b64encode
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import NoReturn

from gateway.objects.context import Principal
from gateway.objects.credentials import Credentials
from gateway.s3.errors import S3Error
from gateway.s3.sigv4_claim import ALGORITHM, SERVICE, TERMINATOR, epoch_s

POLICY = "policy"
_V4 = ("x-amz-algorithm", "x-amz-credential", "x-amz-date", "x-amz-signature")
_V2 = ("awsaccesskeyid", "signature")
_AS_WRITTEN = {
    "awsaccesskeyid": "AWSAccessKeyId",
    "x-amz-algorithm": "X-Amz-Algorithm",
    "x-amz-credential": "X-Amz-Credential",
    "x-amz-date": "X-Amz-Date",
    "x-amz-signature": "X-Amz-Signature",
}


def missing_field(name: str) -> NoReturn:
    """Refuse a form without that field. Raises S3Error: InvalidArgument."""
    written = _AS_WRITTEN.get(name, name)
    raise S3Error(
        "InvalidArgument",
        f"Bucket POST must contain a field named '{written}'.  If it is specified, please check "
        "the order of the fields.",
        extra={"ArgumentName": written, "ArgumentValue": ""},
    )


def _invalid(text: str, name: str, value: str) -> NoReturn:
    extra = {"ArgumentName": _AS_WRITTEN[name], "ArgumentValue": value}
    raise S3Error("InvalidArgument", text, extra=extra)


def signature_version(fields: Mapping[str, str]) -> str:
    """How a form with a policy is signed, as policies of buckets name it."""
    return ALGORITHM if any(name in fields for name in _V4) else "AWS"


def signer_of(
    fields: Mapping[str, str], credentials: Credentials, *, regions: Sequence[str]
) -> Principal | None:
    """Who has signed the policy of a form; None: it has no policy.

    Args:
        fields: by lower-case name.

    Raises:
        S3Error: InvalidArgument, InvalidAccessKeyId, SignatureDoesNotMatch.
    """
    is_v4 = any(name in fields for name in _V4)
    needed = _V4 if is_v4 else _V2
    if POLICY not in fields:
        if any(name in fields for name in needed):
            missing_field(POLICY)
        return None
    if is_v4 and any(name in fields for name in _V2):
        raise S3Error("InvalidArgument", "Only one auth mechanism allowed in a form")
    for name in needed:
        if name not in fields:
            missing_field(name)
    signer = _signer_v4(fields, credentials, regions) if is_v4 else _signer_v2(fields, credentials)
    credentials.note_use(signer)
    return signer


def _signer_v4(
    fields: Mapping[str, str], credentials: Credentials, regions: Sequence[str]
) -> Principal:
    algorithm, credential, amz_date, signature = (fields[name] for name in _V4)
    if algorithm != ALGORITHM:
        _invalid(f'X-Amz-Algorithm only supports "{ALGORITHM}"', _V4[0], algorithm)
    scope = credential.rsplit("/", 4)
    if len(scope) != 5 or scope[4] != TERMINATOR or scope[3] != SERVICE or not scope[0]:
        _invalid(
            "the Credential is mal-formed; expecting "
            f'"<YOUR-AKID>/YYYYMMDD/REGION/{SERVICE}/{TERMINATOR}".',
            _V4[1],
            credential,
        )
    access_key_id, date, region, service, _ = scope
    if region not in regions:
        _invalid(f"the region '{region}' is wrong; expecting '{regions[0]}'", _V4[1], credential)
    if epoch_s(amz_date) is None or amz_date[:8] != date:
        _invalid(
            "X-Amz-Date must be in the ISO8601 format, of the credential's date", _V4[2], amz_date
        )
    known = credentials.signing_key(access_key_id, date, region, service)
    if known is None:
        raise S3Error("InvalidAccessKeyId", extra={"AWSAccessKeyId": access_key_id})
    principal, key = known
    expected = hmac.new(key, fields[POLICY].encode(), sha256).hexdigest()
    return _matching(expected, signature, principal)


def _signer_v2(fields: Mapping[str, str], credentials: Credentials) -> Principal:
    access_key_id, signature = (fields[name] for name in _V2)
    known = credentials.sign_v2(access_key_id, fields[POLICY].encode())
    if known is None:
        raise S3Error("InvalidAccessKeyId", extra={"AWSAccessKeyId": access_key_id})
    principal, digest = known
    return _matching(b64encode(digest).decode(), signature, principal)


def _matching(expected: str, signature: str, principal: Principal) -> Principal:
    if not hmac.compare_digest(expected.encode(), signature.encode()):
        extra = {
            "AWSAccessKeyId": principal.access_key_id,
            "SignatureProvided": signature,
        }
        raise S3Error("SignatureDoesNotMatch", extra=extra)
    return principal
