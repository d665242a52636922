"""CORS: its configuration as boto3 sets it, preflights and pages' requests on a bare socket."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.support.raw_s3 import Answer
from tests.support.refusals import refused
from tests.support.s3_gateway import S3Gateway

RULES = [
    {
        "ID": "pages",
        "AllowedMethods": ["GET", "PUT"],
        "AllowedOrigins": ["https://*.example.fr"],
        "AllowedHeaders": ["X-Amz-*", "content-type"],
        "ExposeHeaders": ["ETag", "x-amz-meta-colour"],
        "MaxAgeSeconds": 3000,
    },
    {"AllowedMethods": ["HEAD"], "AllowedOrigins": ["*"]},
]
PAGE = "https://www.example.fr"


def send(gateway: S3Gateway, method: str, target: str, **headers: str) -> Answer:
    """A request that nobody has signed; `_` in names stands for `-`."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    with gateway.raw() as client:
        client.send_head(method, target, {"host": client.authority, **named})
        return client.read_answer(is_head=method == "HEAD")


def preflight(gateway: S3Gateway, target: str, origin: str, method: str, headers: str = "") -> Any:
    asked = {"access_control_request_headers": headers} if headers else {}
    return send(
        gateway,
        "OPTIONS",
        target,
        origin=origin,
        access_control_request_method=method,
        **asked,
    )


def put_rules(s3: Any, bucket: str, rules: list[dict[str, Any]] = RULES) -> None:
    s3.put_bucket_cors(Bucket=bucket, CORSConfiguration={"CORSRules": rules})


def test_the_configuration_comes_back_as_it_was_set(s3: Any, bucket: str) -> None:
    with pytest.raises(ClientError) as error:
        s3.get_bucket_cors(Bucket=bucket)
    assert refused(error) == (404, "NoSuchCORSConfiguration")
    put_rules(s3, bucket)
    assert s3.get_bucket_cors(Bucket=bucket)["CORSRules"] == RULES
    s3.delete_bucket_cors(Bucket=bucket)
    s3.delete_bucket_cors(Bucket=bucket)
    with pytest.raises(ClientError) as error:
        s3.get_bucket_cors(Bucket=bucket)
    assert refused(error) == (404, "NoSuchCORSConfiguration")


@pytest.mark.parametrize(
    ("rule", "code"),
    [
        ({"AllowedMethods": ["PATCH"]}, "InvalidRequest"),
        ({"AllowedMethods": ["get"]}, "InvalidRequest"),
        ({"AllowedOrigins": ["http://*.a.*"]}, "InvalidRequest"),
        ({"AllowedHeaders": ["*-*"]}, "InvalidRequest"),
        ({"ExposeHeaders": ["x-amz-*"]}, "InvalidRequest"),
        ({"AllowedOrigins": []}, "MalformedXML"),
        ({"AllowedMethods": []}, "MalformedXML"),
        ({"MaxAgeSeconds": -1}, "MalformedXML"),
        ({"ID": "x" * 256}, "MalformedXML"),
    ],
)
def test_rules_that_are_refused(s3: Any, bucket: str, rule: dict[str, Any], code: str) -> None:
    with pytest.raises(ClientError) as error:
        put_rules(s3, bucket, [{"AllowedMethods": ["GET"], "AllowedOrigins": ["*"], **rule}])
    assert refused(error) == (400, code)


def test_a_hundred_rules_and_no_more(s3: Any, bucket: str) -> None:
    rule = {"AllowedMethods": ["GET"], "AllowedOrigins": ["*"]}
    put_rules(s3, bucket, [rule] * 100)
    for rules, code in (([rule] * 101, "InvalidRequest"), ([], "MalformedXML")):
        with pytest.raises(ClientError) as error:
            put_rules(s3, bucket, rules)
        assert refused(error) == (400, code)


def test_preflight(gateway: S3Gateway, s3: Any, bucket: str) -> None:
    put_rules(s3, bucket)
    answer = preflight(gateway, f"/{bucket}/k?uploadId=x&partNumber=1", PAGE, "PUT", "X-AMZ-Date")
    assert answer.status == 200
    assert answer.headers["access-control-allow-origin"] == PAGE
    assert answer.headers["access-control-allow-methods"] == "GET, PUT"
    assert answer.headers["access-control-allow-headers"] == "x-amz-date"
    assert answer.headers["access-control-allow-credentials"] == "true"
    assert answer.headers["access-control-expose-headers"] == "ETag, x-amz-meta-colour"
    assert answer.headers["access-control-max-age"] == "3000"
    assert "Origin" in answer.headers["vary"]
    answer = preflight(gateway, f"/{bucket}", "https://elsewhere", "HEAD")
    assert answer.headers["access-control-allow-origin"] == "*"
    assert "access-control-allow-credentials" not in answer.headers


def test_preflights_that_are_refused(gateway: S3Gateway, s3: Any, bucket: str) -> None:
    assert preflight(gateway, f"/{bucket}/k", PAGE, "PUT").code == "AccessForbidden"
    assert preflight(gateway, "/absent-bucket/k", PAGE, "PUT").status == 403
    put_rules(s3, bucket)
    for origin, method, headers in (
        ("https://example.fr", "GET", ""),
        ("http://www.example.fr", "GET", ""),
        (PAGE, "DELETE", ""),
        (PAGE, "GET", "authorization"),
        (PAGE, "GET", "content-type, x-other"),
    ):
        answer = preflight(gateway, f"/{bucket}/k", origin, method, headers)
        assert (answer.status, answer.code) == (403, "AccessForbidden")
        assert "access-control-allow-origin" not in answer.headers
    for answer in (
        send(gateway, "OPTIONS", f"/{bucket}/k"),
        send(gateway, "OPTIONS", f"/{bucket}/k", origin=PAGE),
        preflight(gateway, f"/{bucket}/k", PAGE, "PATCH"),
    ):
        assert (answer.status, answer.code) == (400, "BadRequest")


def test_answers_to_a_page(gateway: S3Gateway, s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=b"content")
    put_rules(s3, bucket)
    with gateway.raw() as client:
        answer = client.request("GET", f"/{bucket}/k", headers={"origin": PAGE})
        assert answer.status == 200
        assert answer.headers["access-control-allow-origin"] == PAGE
        assert answer.headers["access-control-expose-headers"] == "ETag, x-amz-meta-colour"
        answer = client.request("GET", f"/{bucket}/absent", headers={"origin": PAGE})
        assert (answer.status, answer.headers["access-control-allow-origin"]) == (404, PAGE)
        answer = client.request("GET", f"/{bucket}/k", headers={"origin": "https://elsewhere"})
        assert (answer.status, answer.headers["vary"]) == (200, "Origin")
        assert "access-control-allow-origin" not in answer.headers
        answer = client.request("GET", f"/{bucket}/k")
        assert "access-control-allow-origin" not in answer.headers
    # Refused before anybody knows who asks; the page must learn that all the same.
    for headers in ({}, {"authorization": "AWS4-HMAC-SHA256 nonsense"}):
        answer = send(gateway, "PUT", f"/{bucket}/k", origin=PAGE, content_length="0", **headers)
        assert answer.status in (400, 403)
        assert answer.headers["access-control-allow-origin"] == PAGE
    answer = send(gateway, "DELETE", f"/{bucket}/k", origin=PAGE)
    assert "access-control-allow-origin" not in answer.headers
