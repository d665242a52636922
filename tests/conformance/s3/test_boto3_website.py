"""Websites: the configuration as boto3 sets it, pages as a browser asks for them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.support.raw_s3 import Answer
from tests.support.refusals import refused
from tests.support.s3_gateway import NAMES, S3Gateway, running_gateway

RULES = [
    {"Condition": {"KeyPrefixEquals": "old/"}, "Redirect": {"ReplaceKeyPrefixWith": "new/"}},
    {
        "Condition": {"HttpErrorCodeReturnedEquals": "404", "KeyPrefixEquals": "lost/"},
        "Redirect": {
            "HostName": "example.fr",
            "Protocol": "https",
            "HttpRedirectCode": "307",
            "ReplaceKeyWith": "found me",
        },
    },
]
CONFIGURATION = {
    "IndexDocument": {"Suffix": "index.html"},
    "ErrorDocument": {"Key": "errors/all.html"},
    "RoutingRules": RULES,
}


@pytest.fixture(scope="module")
def gateway() -> Iterator[S3Gateway]:
    with running_gateway(website_domains=("web.test",)) as running:
        yield running


@pytest.fixture
def site(gateway: S3Gateway, s3: Any) -> str:
    """A bucket with a few pages that anybody may read and list."""
    name = f"site-{NAMES.next()}"
    s3.create_bucket(Bucket=name)
    s3.delete_public_access_block(Bucket=name)
    statement = {
        "Effect": "Allow",
        "Principal": "*",
        "Action": ["s3:GetObject", "s3:ListBucket"],
        "Resource": [f"arn:aws:s3:::{name}", f"arn:aws:s3:::{name}/*"],
    }
    policy = {"Version": "2012-10-17", "Statement": [statement]}
    s3.put_bucket_policy(Bucket=name, Policy=json.dumps(policy))
    for key in ("index.html", "a b/index.html", "errors/all.html", "new/page"):
        s3.put_object(Bucket=name, Key=key, Body=key.encode(), ContentType="text/html")
    return name


def fetch(gateway: S3Gateway, site: str, target: str, method: str = "GET", **more: str) -> Answer:
    with gateway.raw() as client:
        headers = {"host": f"{site}.web.test:8080", "content-length": "0", **more}
        client.send_head(method, target, headers)
        return client.read_answer(is_head=method == "HEAD")


def test_the_configuration_comes_back_as_it_was_set(s3: Any, site: str) -> None:
    with pytest.raises(ClientError) as error:
        s3.get_bucket_website(Bucket=site)
    assert refused(error) == (404, "NoSuchWebsiteConfiguration")
    every = {"RedirectAllRequestsTo": {"HostName": "example.fr", "Protocol": "https"}}
    for wanted in (CONFIGURATION, every):
        s3.put_bucket_website(Bucket=site, WebsiteConfiguration=wanted)
        found = s3.get_bucket_website(Bucket=site)
        del found["ResponseMetadata"]
        assert found == wanted
    s3.delete_bucket_website(Bucket=site)
    s3.delete_bucket_website(Bucket=site)
    with pytest.raises(ClientError) as error:
        s3.get_bucket_website(Bucket=site)
    assert refused(error) == (404, "NoSuchWebsiteConfiguration")


def rule(redirect: dict[str, str], **condition: str) -> dict[str, Any]:
    routing = {"Redirect": redirect, **({"Condition": condition} if condition else {})}
    return {**CONFIGURATION, "RoutingRules": [routing]}


@pytest.mark.parametrize(
    ("configuration", "code"),
    [
        ({}, "MalformedXML"),
        ({"ErrorDocument": {"Key": "e"}}, "MalformedXML"),
        ({"IndexDocument": {"Suffix": ""}}, "InvalidArgument"),
        ({"IndexDocument": {"Suffix": "a/b"}}, "InvalidArgument"),
        ({**CONFIGURATION, "RedirectAllRequestsTo": {"HostName": "a"}}, "MalformedXML"),
        ({"RedirectAllRequestsTo": {"HostName": "a", "Protocol": "ftp"}}, "InvalidRequest"),
        ({"RedirectAllRequestsTo": {"HostName": "a\r\nx: y"}}, "InvalidRequest"),
        (rule({"Protocol": "ftp"}), "InvalidRequest"),
        (rule({"ReplaceKeyWith": "a", "ReplaceKeyPrefixWith": "b"}), "InvalidRequest"),
        (rule({"HttpRedirectCode": "300"}), "InvalidRequest"),
        (rule({"HttpRedirectCode": "moved"}), "MalformedXML"),
        (rule({}), "MalformedXML"),
        (rule({"HostName": "a"}, HttpErrorCodeReturnedEquals="200"), "InvalidRequest"),
        ({**CONFIGURATION, "RoutingRules": RULES * 26}, "InvalidRequest"),
    ],
)
def test_configurations_that_are_refused(
    s3: Any, site: str, configuration: dict[str, Any], code: str
) -> None:
    with pytest.raises(ClientError) as error:
        s3.put_bucket_website(Bucket=site, WebsiteConfiguration=configuration)
    assert refused(error) == (400, code)


def test_pages(gateway: S3Gateway, s3: Any, site: str) -> None:
    s3.put_bucket_website(Bucket=site, WebsiteConfiguration=CONFIGURATION)
    for target, page in (
        ("/", b"index.html"),
        ("/?list-type=2&acl", b"index.html"),
        ("/a%20b/", b"a b/index.html"),
        ("/new/page", b"new/page"),
    ):
        answer = fetch(gateway, site, target)
        assert (answer.status, answer.body) == (200, page)
        assert answer.headers["content-type"] == "text/html"
    assert fetch(gateway, site, "/new/page", range="bytes=0-2").body == b"new"
    head = fetch(gateway, site, "/", "HEAD")
    assert (head.status, head.headers["content-length"], head.body) == (200, "10", b"")
    again = fetch(gateway, site, "/", **{"if-none-match": head.headers["etag"]})
    assert again.status == 304
    answer = fetch(gateway, site, "/a%20b")
    assert (answer.status, answer.headers["location"]) == (302, "/a%20b/")
    # Credentials count for nothing here, good or bad.
    assert fetch(gateway, site, "/", authorization="AWS4-HMAC-SHA256 nonsense").status == 200


def test_errors(gateway: S3Gateway, s3: Any, site: str) -> None:
    answer = fetch(gateway, site, "/")
    assert answer.status == 404
    assert b"<li>Code: NoSuchWebsiteConfiguration</li>" in answer.body
    s3.put_bucket_website(Bucket=site, WebsiteConfiguration=CONFIGURATION)
    answer = fetch(gateway, site, "/absent", range="bytes=0-0")
    assert (answer.status, answer.body) == (404, b"errors/all.html")
    answer = fetch(gateway, site, "/absent", "HEAD")
    assert (answer.status, answer.headers["content-length"]) == (404, "15")
    s3.delete_object(Bucket=site, Key="errors/all.html")
    answer = fetch(gateway, site, "/%3Cscript%3E")
    assert answer.status == 404
    assert b"<title>404 Not Found</title>" in answer.body
    assert b"<li>Code: NoSuchKey</li>" in answer.body and b"<script>" not in answer.body
    assert answer.headers["content-type"].startswith("text/html")
    for method in ("PUT", "POST", "DELETE", "OPTIONS"):
        assert fetch(gateway, site, "/k", method).status == 405
    assert fetch(gateway, "no-such-site", "/").status == 404
    s3.delete_bucket_policy(Bucket=site)
    assert fetch(gateway, site, "/").status == 403


def test_redirects(gateway: S3Gateway, s3: Any, site: str) -> None:
    s3.put_bucket_website(Bucket=site, WebsiteConfiguration=CONFIGURATION)
    answer = fetch(gateway, site, "/old/pag%C3%A9")
    target = f"http://{site}.web.test:8080/new/pag%C3%A9"
    assert (answer.status, answer.headers["location"]) == (301, target)
    answer = fetch(gateway, site, "/lost/sheep")
    assert (answer.status, answer.headers["location"]) == (307, "https://example.fr/found%20me")
    s3.put_object(Bucket=site, Key="moved", Body=b"x", WebsiteRedirectLocation="/new/page")
    answer = fetch(gateway, site, "/moved")
    assert (answer.status, answer.headers["location"]) == (301, "/new/page")
    read = s3.get_object(Bucket=site, Key="moved")
    assert read["WebsiteRedirectLocation"] == "/new/page"
    with pytest.raises(ClientError) as error:
        s3.put_object(Bucket=site, Key="moved", Body=b"x", WebsiteRedirectLocation="new/page")
    assert refused(error) == (400, "InvalidRedirectLocation")
    every = {"RedirectAllRequestsTo": {"HostName": "example.fr"}}
    s3.put_bucket_website(Bucket=site, WebsiteConfiguration=every)
    answer = fetch(gateway, site, "/any/page")
    assert (answer.status, answer.headers["location"]) == (301, "http://example.fr/any/page")


def test_anonymous_reads_choose_no_headers(gateway: S3Gateway, site: str) -> None:
    with gateway.raw() as client:
        for query, status in (("", 200), ("?response-content-type=text%2Fplain", 400)):
            client.send_head("GET", f"/{site}/index.html{query}", {"host": client.authority})
            assert client.read_answer().status == status
