"""SigV4 against what others sign: AWS's published examples, and botocore as oracle."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime
from urllib.parse import quote, urlsplit

import pytest
from botocore.auth import S3SigV4Auth, S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.s3.errors import S3Error
from gateway.s3.sigv4 import Authorized, PayloadMode, RequestHead, authorize, derive_signing_key

KEY_ID = "AKIAIOSFODNN7EXAMPLE"
SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
AWS_NOW_MS = int(datetime(2013, 5, 24, tzinfo=UTC).timestamp() * 1000)
EMPTY = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def signing_key(access_key_id: str, date: str, region: str, service: str) -> bytes | None:
    return derive_signing_key(SECRET, date=date, region=region, service=service)


def check(head: RequestHead, now_ms: int) -> Authorized | None:
    return authorize(head, now_ms=now_ms, regions=("us-east-1", "fr"), signing_key=signing_key)


def refused(head: RequestHead, now_ms: int) -> S3Error:
    with pytest.raises(S3Error) as caught:
        check(head, now_ms)
    return caught.value


# --- AWS's own examples -----------------------------------------------------------------------

_SCOPE = "20130524/us-east-1/s3/aws4_request"
AWS_EXAMPLES = [
    (
        "GET",
        "/test.txt",
        "",
        [
            ("host", "examplebucket.s3.amazonaws.com"),
            ("range", "bytes=0-9"),
            ("x-amz-content-sha256", EMPTY),
            ("x-amz-date", "20130524T000000Z"),
            (
                "authorization",
                f"AWS4-HMAC-SHA256 Credential={KEY_ID}/{_SCOPE},"
                "SignedHeaders=host;range;x-amz-content-sha256;x-amz-date,"
                "Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
            ),
        ],
    ),
    (
        "PUT",
        "/test%24file.text",
        "",
        [
            ("host", "examplebucket.s3.amazonaws.com"),
            ("date", "Fri, 24 May 2013 00:00:00 GMT"),
            ("x-amz-date", "20130524T000000Z"),
            ("x-amz-storage-class", "REDUCED_REDUNDANCY"),
            (
                "x-amz-content-sha256",
                "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072",
            ),
            (
                "authorization",
                f"AWS4-HMAC-SHA256 Credential={KEY_ID}/{_SCOPE},"
                "SignedHeaders=date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class,"
                "Signature=98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
            ),
        ],
    ),
    (
        "GET",
        "/",
        "lifecycle",
        [
            ("host", "examplebucket.s3.amazonaws.com"),
            ("x-amz-date", "20130524T000000Z"),
            ("x-amz-content-sha256", EMPTY),
            (
                "authorization",
                f"AWS4-HMAC-SHA256  Credential={KEY_ID}/{_SCOPE},"
                "SignedHeaders=host;x-amz-content-sha256;x-amz-date,"
                "Signature=fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543",
            ),
        ],
    ),
    (
        "GET",
        "/",
        "max-keys=2&prefix=J",
        [
            ("host", "examplebucket.s3.amazonaws.com"),
            ("x-amz-date", "20130524T000000Z"),
            ("x-amz-content-sha256", EMPTY),
            (
                "authorization",
                f"AWS4-HMAC-SHA256 Credential={KEY_ID}/{_SCOPE}, "
                "SignedHeaders=host;x-amz-content-sha256;x-amz-date, "
                "Signature=34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
            ),
        ],
    ),
    (
        "GET",
        "/test.txt",
        "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2F"
        "us-east-1%2Fs3%2Faws4_request&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400"
        "&X-Amz-SignedHeaders=host"
        "&X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404",
        [("host", "examplebucket.s3.amazonaws.com")],
    ),
]


@pytest.mark.parametrize("example", AWS_EXAMPLES)
def test_published_examples_hold(example: tuple[str, str, str, list[tuple[str, str]]]) -> None:
    method, path, query, headers = example
    head = RequestHead(method=method, raw_path=path, raw_query=query, headers=headers)
    result = check(head, AWS_NOW_MS)
    assert result is not None and result.access_key_id == KEY_ID
    assert result.scope == _SCOPE
    assert refused(dataclasses.replace(head, method="DELETE"), AWS_NOW_MS).code == (
        "SignatureDoesNotMatch"
    )


def test_the_example_put_is_signed_payload() -> None:
    method, path, query, headers = AWS_EXAMPLES[1]
    result = check(
        RequestHead(method=method, raw_path=path, raw_query=query, headers=headers), AWS_NOW_MS
    )
    assert result is not None
    assert result.payload_mode is PayloadMode.SIGNED
    assert result.content_sha256 is not None and result.content_sha256.startswith("44ce7dd6")
    assert not result.presigned and "signing_key" not in repr(result)


# --- botocore as oracle -----------------------------------------------------------------------

ODD_KEYS = [
    "plain",
    "with space",
    "100%",
    "a+b",
    "a%2Fb",
    "été/ключ/鍵",
    "../up",
    "a/../b",
    "//double//",
    "~tilde-_.",
    "q?x=1&y#z",
    "back\\slash",
    "*'()!;:@$,=[]{}|^`\"<>",
    "\x01\x7f",
]
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=20)


def botocore_head(
    method: str, url: str, headers: dict[str, str], *, query_auth: bool
) -> RequestHead:
    body = b"" if query_auth else b"body"
    request = AWSRequest(method=method, url=url, headers=headers, data=body)
    credentials = Credentials(KEY_ID, SECRET)
    auth_class = S3SigV4QueryAuth if query_auth else S3SigV4Auth
    auth_class(credentials, "s3", "fr").add_auth(request)
    parts = urlsplit(request.url)
    received = [("host", parts.netloc)]
    received += [(name.lower(), value) for name, value in request.headers.items()]
    return RequestHead(method=method, raw_path=parts.path, raw_query=parts.query, headers=received)


def real_now_ms() -> int:
    from botocore.compat import get_current_datetime

    return int(get_current_datetime().replace(tzinfo=UTC).timestamp() * 1000)


@pytest.mark.parametrize("query_auth", [False, True])
@pytest.mark.parametrize("key", ODD_KEYS)
def test_botocore_signs_what_we_verify(key: str, query_auth: bool) -> None:
    """SIG-13."""
    url = "https://s3.test/bucket/" + quote(key, safe="/~") + "?partNumber=1&uploadId=a%2Bb%20c"
    head = botocore_head("PUT", url, {"X-Amz-Meta-A": " two  words "}, query_auth=query_auth)
    result = check(head, real_now_ms())
    assert result is not None and result.presigned == query_auth
    assert refused(dataclasses.replace(head, raw_path=head.raw_path + "x"), real_now_ms()).code == (
        "SignatureDoesNotMatch"
    )


# Another X-Amz-* beside those of the signature is refused, and Hypothesis knows our constants.
field_names = texts.filter(lambda name: name and not name.startswith("X-Amz-"))


@settings(max_examples=60, deadline=None)
@given(key=texts, fields=st.dictionaries(field_names, texts, max_size=4), auth=st.booleans())
def test_botocore_oracle_on_random_requests(key: str, fields: dict[str, str], auth: bool) -> None:
    """SIG-13."""
    query = "&".join(f"{quote(n, safe='~')}={quote(v, safe='~')}" for n, v in fields.items())
    url = f"https://s3.test/b/{quote(key, safe='/~')}" + (f"?{query}" if query else "")
    assert check(botocore_head("GET", url, {}, query_auth=auth), real_now_ms()) is not None


def test_a_path_signed_as_sent_is_accepted_too() -> None:
    # Lower-case and needless escapes: botocore signs the path as it sends it, AWS encodes it again.
    url = "https://s3.test/bucket/a%2fb%7Ec%2e%2e"
    assert check(botocore_head("GET", url, {}, query_auth=False), real_now_ms()) is not None
