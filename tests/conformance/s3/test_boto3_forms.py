"""Forms of browsers: policies that boto3 has signed, sent on a socket as browsers send them."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.limits import FRAME_BYTES, SMALL_BODY_BYTES_MAX
from tests.support.browser_forms import BOUNDARY, CLOSED, form_body, post_form
from tests.support.gateway import ACCESS_KEY, SECRET
from tests.support.s3_gateway import S3Gateway

ENDINGS = {
    "closed": CLOSED,
    "without a line end": b"--",
    "a button": b'\r\nContent-Disposition: form-data; name="submit"\r\n\r\nSend\r\n'
    + f"--{BOUNDARY}--\r\n".encode(),
    "much after the file": b'\r\nContent-Disposition: form-data; name="x"\r\n\r\n'
    + b"x" * 40_000
    + f"\r\n--{BOUNDARY}--\r\n".encode(),
}
STRIPE_BYTES = 4 * 16 * FRAME_BYTES  # plaintext of a full stripe of 4+2


def form(fields: dict[str, str], content: bytes = b"content", **options: Any) -> bytes:
    return form_body(fields.items(), content, **options)


def signed(s3: Any, bucket: str, key: str, fields: dict[str, str], *more: Any) -> dict[str, str]:
    """The fields of a form whose policy boto3 has signed: Signature Version 4."""
    conditions = [{name: value} for name, value in fields.items()]
    made = s3.generate_presigned_post(
        bucket, key, Fields=dict(fields), Conditions=[*conditions, *more]
    )
    return dict(made["fields"])


def signed_v2(document: dict[str, Any], fields: dict[str, str]) -> dict[str, str]:
    policy = base64.b64encode(json.dumps(document).encode())
    digest = hmac.new(SECRET.encode(), policy, hashlib.sha1).digest()
    return {
        **fields,
        "AWSAccessKeyId": ACCESS_KEY,
        "policy": policy.decode(),
        "signature": base64.b64encode(digest).decode(),
    }


def test_a_form_signed_with_version_4(gateway: S3Gateway, s3: Any, bucket: str) -> None:
    fields = signed(
        s3,
        bucket,
        "user/${filename}",
        {
            "Content-Type": "image/jpeg",
            "x-amz-meta-colour": "vert é",
            "Cache-Control": "no-store",
            "acl": "bucket-owner-full-control",
        },
        ["content-length-range", 1, 100],
    )
    answer = post_form(gateway, f"/{bucket}", form(fields, file_name="C:\\photos\\été.jpg"))
    assert (answer.status, answer.body) == (204, b"")
    read = s3.get_object(Bucket=bucket, Key="user/été.jpg")
    assert read["Body"].read() == b"content"
    assert read["ContentType"] == "image/jpeg"
    assert read["CacheControl"] == "no-store"
    assert answer.headers["etag"] == read["ETag"]
    assert answer.headers["location"] == f"{gateway.url}/{bucket}/user/%C3%A9t%C3%A9.jpg"


def test_a_form_signed_with_version_2(gateway: S3Gateway, s3: Any, bucket: str) -> None:
    document = {
        "expiration": "2099-01-01T00:00:00Z",
        "conditions": [{"bucket": bucket}, ["starts-with", "$key", "a"]],
    }
    fields = signed_v2(document, {"key": "abc"})
    assert post_form(gateway, f"/{bucket}/", form(fields)).status == 204
    assert s3.get_object(Bucket=bucket, Key="abc")["Body"].read() == b"content"
    for name, value, code in (
        ("key", "b", "AccessDenied"),
        ("x-amz-meta-a", "1", "AccessDenied"),
        ("signature", "A" * 28, "SignatureDoesNotMatch"),
        ("AWSAccessKeyId", "NOBODY", "InvalidAccessKeyId"),
    ):
        answer = post_form(gateway, f"/{bucket}", form({**fields, name: value}))
        assert (answer.status, answer.code) == (403, code)
    s3.create_bucket(Bucket=f"{bucket}-other")
    answer = post_form(gateway, f"/{bucket}-other", form({**fields, "bucket": bucket}))
    assert (answer.status, answer.code) == (403, "AccessDenied")


def test_answers_as_the_form_asks(gateway: S3Gateway, s3: Any, bucket: str) -> None:
    wanted = {"success_action_status": "201"}
    answer = post_form(gateway, f"/{bucket}", form(signed(s3, bucket, "k&k", wanted)))
    assert answer.status == 201
    assert answer.headers["content-type"] == "application/xml"
    assert b"<Key>k&amp;k</Key>" in answer.body and b"<PostResponse>" in answer.body
    wanted = {"success_action_status": "200"}
    answer = post_form(gateway, f"/{bucket}", form(signed(s3, bucket, "k", wanted)))
    assert (answer.status, answer.body) == (200, b"")
    wanted = {"success_action_status": "404", "success_action_redirect": "not an address"}
    assert post_form(gateway, f"/{bucket}", form(signed(s3, bucket, "k", wanted))).status == 204
    wanted = {"success_action_redirect": "https://example.fr/done?a=1#there"}
    answer = post_form(gateway, f"/{bucket}", form(signed(s3, bucket, "a/b c", wanted)))
    assert answer.status == 303
    etag = answer.headers["etag"].strip('"')
    assert (
        answer.headers["location"]
        == f"https://example.fr/done?a=1&bucket={bucket}&key=a/b%20c&etag=%22{etag}%22#there"
    )


def test_forms_of_virtual_hosts(gateway: S3Gateway, s3: Any, bucket: str) -> None:
    fields = signed(s3, bucket, "k", {})
    answer = post_form(gateway, "/", form(fields), {"host": f"{bucket}.s3.test"})
    assert (answer.status, answer.headers["location"]) == (204, f"http://{bucket}.s3.test/k")


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize(
    "length",
    [
        0,
        1,
        SMALL_BODY_BYTES_MAX,
        SMALL_BODY_BYTES_MAX + 1,
        SMALL_BODY_BYTES_MAX + FRAME_BYTES,
        5 * FRAME_BYTES - 1,
        5 * FRAME_BYTES,
        STRIPE_BYTES - 8,
        STRIPE_BYTES,
        STRIPE_BYTES + 1,
        2 * STRIPE_BYTES,
    ],
)
def test_files_of_every_length(
    gateway: S3Gateway, s3: Any, bucket: str, length: int, ending: str
) -> None:
    content = bytes(range(251)) * (length // 251 + 1)
    content = content[:length]
    fields = signed(s3, bucket, "file", {}, ["content-length-range", length, length])
    answer = post_form(gateway, f"/{bucket}", form(fields, content, ending=ENDINGS[ending]))
    assert answer.status == 204, answer.body
    assert s3.get_object(Bucket=bucket, Key="file")["Body"].read() == content
    assert s3.head_object(Bucket=bucket, Key="file")["ContentLength"] == length


@pytest.mark.parametrize("length", [10, SMALL_BODY_BYTES_MAX + 2 * FRAME_BYTES, STRIPE_BYTES])
def test_lengths_of_the_policy(gateway: S3Gateway, s3: Any, bucket: str, length: int) -> None:
    for bounds, code in (((length + 1, length + 9), "EntityTooSmall"), ((0, 9), "EntityTooLarge")):
        fields = signed(s3, bucket, "k", {}, ["content-length-range", *bounds])
        answer = post_form(
            gateway, f"/{bucket}", form(fields, bytes(length), ending=ENDINGS["a button"])
        )
        assert (answer.status, answer.code) == (400, code)
    assert "Contents" not in s3.list_objects_v2(Bucket=bucket)


def test_forms_that_are_refused(gateway: S3Gateway, s3: Any, bucket: str) -> None:
    good = signed(s3, bucket, "k", {})
    tampered = {**good, "policy": good["policy"][:-4] + "AAAA"}
    broken = {**signed_v2({"conditions": []}, {"key": "k"})}
    without_key = {name: value for name, value in good.items() if name != "key"}
    unsigned = {name: value for name, value in good.items() if name != "x-amz-signature"}
    cases: list[tuple[bytes, int, str]] = [
        (form(tampered), 403, "SignatureDoesNotMatch"),
        (form(broken), 400, "InvalidPolicyDocument"),
        (form(without_key), 400, "InvalidArgument"),
        (form(unsigned), 400, "InvalidArgument"),
        (form({**good, "key": ""}), 400, "InvalidArgument"),
        (form({"key": "k"}), 403, "AccessDenied"),
        (form({**good, "x-amz-checksum-crc32": "AAAAAA=="}), 400, "BadDigest"),
        (form({**good, "content-md5": "short"}), 403, "AccessDenied"),
        (form({**good, "Key": "twice"}), 400, "InvalidArgument"),
        (form(good)[:-30], 400, "MalformedPOSTRequest"),
        (form({**good, "x": "y" * 21_000}), 400, "MaxPostPreDataLengthExceededError"),
        (form(good, ending=b"\r\n" + b"x" * 140_000), 400, "MalformedPOSTRequest"),
        (b"--nothing", 400, "MalformedPOSTRequest"),
        (b"", 400, "MalformedPOSTRequest"),
    ]
    for body, status, code in cases:
        answer = post_form(gateway, f"/{bucket}", body)
        assert (answer.status, answer.code) == (status, code), body[-200:]
    answer = post_form(gateway, f"/{bucket}", form({**good, "x-amz-checksum-sha256": "short"}))
    assert answer.status == 400
    lines = signed(s3, bucket, "k", {"x-amz-meta-a": "b\r\nx-evil: 1"})
    assert post_form(gateway, f"/{bucket}", form(lines)).code == "InvalidArgument"
    with gateway.raw() as client:
        answer = client.request("POST", f"/{bucket}", b"no form")
        assert (answer.status, answer.code) == (412, "PreconditionFailed")
    answer = post_form(gateway, f"/{bucket}", b"x", {"content-type": "text/plain"})
    assert (answer.status, answer.code) == (403, "AccessDenied")
    assert "Contents" not in s3.list_objects_v2(Bucket=bucket)


BREAKAGE = st.tuples(
    st.integers(0, 10_000),
    st.integers(0, 60),
    st.binary(max_size=20) | st.sampled_from([b"\r\n", b"--", b'"', b";", BOUNDARY.encode(), b"="]),
)


@settings(max_examples=150, deadline=None)
@given(breakages=st.lists(BREAKAGE, min_size=1, max_size=3), is_v2=st.booleans())
def test_a_broken_form_is_refused_or_stored_and_nothing_else(
    gateway: S3Gateway, breakages: list[tuple[int, int, bytes]], is_v2: bool
) -> None:
    document = {"expiration": "2099-01-01T00:00:00Z", "conditions": [{"bucket": "bucket"}]}
    wanted = {"key": "k", "x-amz-meta-a": "1", "tagging": "<Tagging><TagSet/></Tagging>"}
    fields = signed_v2(document, wanted) if is_v2 else signed(gateway.boto(), "bucket", "k", wanted)
    body = form(fields)
    for at, count, instead in breakages:
        at %= len(body) + 1
        body = body[:at] + instead + body[at + count :]
    answer = post_form(gateway, "/bucket", body)
    assert 200 <= answer.status < 500 and (answer.status < 300 or answer.code)


def test_checksums_of_a_form(gateway: S3Gateway, s3: Any, bucket: str) -> None:
    digest = base64.b64encode(hashlib.sha256(b"content").digest()).decode()
    fields = {**signed(s3, bucket, "k", {}), "x-amz-checksum-sha256": digest}
    answer = post_form(gateway, f"/{bucket}", form(fields))
    assert (answer.status, answer.headers["x-amz-checksum-sha256"]) == (204, digest)
    head = s3.head_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED")
    assert head["ChecksumSHA256"] == digest


def test_a_form_waits_for_leave_to_send(gateway: S3Gateway, s3: Any, bucket: str) -> None:
    body = form(signed(s3, bucket, "k", {}))
    with gateway.raw() as client:
        head = {
            "host": client.authority,
            "content-type": f"multipart/form-data; boundary={BOUNDARY}",
            "content-length": str(len(body)),
            "expect": "100-continue",
        }
        client.send_head("POST", f"/{bucket}", head)
        assert client.connect().recv(100).startswith(b"HTTP/1.1 100")
        client.send(body)
        assert client.read_answer().status == 204


def test_tags_of_a_form(gateway: S3Gateway, s3: Any, bucket: str) -> None:
    tagging = "<Tagging><TagSet><Tag><Key>a=b+c</Key><Value>1 é</Value></Tag></TagSet></Tagging>"
    answer = post_form(gateway, f"/{bucket}", form(signed(s3, bucket, "k", {"tagging": tagging})))
    assert answer.status == 204
    tags = s3.get_object_tagging(Bucket=bucket, Key="k")["TagSet"]
    assert tags == [{"Key": "a=b+c", "Value": "1 é"}]
    wrong = signed(s3, bucket, "k", {"tagging": "<Tagging/>"})
    answer = post_form(gateway, f"/{bucket}", form(wrong))
    assert (answer.status, answer.code) == (400, "MalformedXML")
    assert re.fullmatch('"[0-9a-f]{32}"', s3.head_object(Bucket=bucket, Key="k")["ETag"])
