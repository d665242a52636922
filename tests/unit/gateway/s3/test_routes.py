"""Routes: botocore's service model as oracle, targets, copy sources, and what is refused."""

from __future__ import annotations

import botocore.session
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.s3.actions import BUCKET_SUBRESOURCES, OBJECT_SUBRESOURCES, PLAIN
from gateway.s3.errors import S3Error
from gateway.s3.routes import (
    Level,
    Operation,
    level_of,
    route,
    split_copy_source,
    split_rename_source,
    split_target,
)

# Other names of operations that share their request with a newer one, and two of other endpoints.
ALIASES = {
    "GetBucketLifecycle": "GetBucketLifecycleConfiguration",
    "PutBucketLifecycle": "PutBucketLifecycleConfiguration",
    "GetBucketNotification": "GetBucketNotificationConfiguration",
    "PutBucketNotification": "PutBucketNotificationConfiguration",
    "ListDirectoryBuckets": "ListBuckets",
}
OTHER_ENDPOINTS = {"WriteGetObjectResponse"}
METHODS = ["GET", "PUT", "POST", "DELETE", "HEAD", "OPTIONS", "PATCH", "get", ""]


def model() -> list[tuple[str, str, Level, set[str], set[str]]]:
    """(name, method, level, query names, headers) of every operation botocore knows."""
    service = botocore.session.get_session().get_service_model("s3")
    rows = []
    for name in service.operation_names:
        if name in OTHER_ENDPOINTS:
            continue
        operation = service.operation_model(name)
        path, _, query = operation.http["requestUri"].partition("?")
        level = Level.OBJECT if "{Key+}" in path else Level.BUCKET
        level = Level.SERVICE if path == "/" else level
        names = {item.partition("=")[0] for item in query.split("&") if item}
        headers = set()
        shape = operation.input_shape
        for member_name in shape.required_members if shape else []:
            place = shape.members[member_name].serialization
            if place.get("location") == "querystring":
                names.add(place["name"])
            elif place.get("location") == "header":
                headers.add(place["name"])
        rows.append((name, operation.http["method"], level, names, headers))
    return rows


@pytest.mark.parametrize("row", model(), ids=lambda row: row[0])
def test_every_operation_of_s3_has_its_route(
    row: tuple[str, str, Level, set[str], set[str]],
) -> None:
    name, method, level, query, headers = row
    found = route(method, level, {*query, "x-id"}, {*headers, "host"})
    assert found.operation == ALIASES.get(name, name)


def test_every_operation_of_ours_is_s3s() -> None:
    names = {ALIASES.get(row[0], row[0]) for row in model()}
    assert {operation.value for operation in Operation} - names == {"PostObject", "OptionsObject"}


@given(
    method=st.sampled_from(METHODS),
    level=st.sampled_from(Level),
    name=st.sampled_from(sorted({*BUCKET_SUBRESOURCES, *OBJECT_SUBRESOURCES})),
    others=st.sets(st.sampled_from(["prefix", "versionId", "x-id", "list-type", "partNumber"])),
    headers=st.sets(st.sampled_from(["x-amz-copy-source", "range", "host"])),
)
def test_a_sub_resource_never_falls_through(
    method: str, level: Level, name: str, others: set[str], headers: set[str]
) -> None:
    plain = {operation for row in PLAIN.values() for operation in row.values()}
    plain |= {Operation.COPY_OBJECT, Operation.LIST_OBJECTS_V2}
    try:
        found = route(method, level, {name, *others}, headers)
    except S3Error as error:
        assert error.code in {"MethodNotAllowed", "InvalidArgument"}
    else:
        assert method == "OPTIONS" or found.operation not in plain


@pytest.mark.parametrize(
    "name", ["prefix", "x-id", "response-content-type", "versionid", "ACL", ""]
)
def test_ordinary_names_are_ignored(name: str) -> None:
    assert route("GET", Level.OBJECT, [name], []).operation == Operation.GET_OBJECT
    assert route("GET", Level.BUCKET, [name], []).operation == Operation.LIST_OBJECTS


@pytest.mark.parametrize(
    ("method", "level", "query", "code"),
    [
        ("PATCH", Level.OBJECT, [], "MethodNotAllowed"),
        ("get", Level.OBJECT, [], "MethodNotAllowed"),
        ("POST", Level.OBJECT, [], "MethodNotAllowed"),
        ("PUT", Level.SERVICE, [], "MethodNotAllowed"),
        ("GET", Level.SERVICE, ["acl"], "MethodNotAllowed"),
        ("HEAD", Level.BUCKET, ["location"], "MethodNotAllowed"),
        ("PUT", Level.OBJECT, ["policy"], "MethodNotAllowed"),
        ("DELETE", Level.OBJECT, ["versioning"], "MethodNotAllowed"),
        ("GET", Level.BUCKET, ["acl", "policy"], "InvalidArgument"),
        ("PUT", Level.OBJECT, ["partNumber"], "InvalidArgument"),
        ("DELETE", Level.OBJECT, ["partNumber"], "InvalidArgument"),
        ("PUT", Level.OBJECT, ["uploadId"], "InvalidArgument"),
        ("PUT", Level.OBJECT, ["versionId"], "InvalidArgument"),
        ("PUT", Level.OBJECT, ["uploadId", "partNumber", "versionId"], "InvalidArgument"),
    ],
)
def test_refused_requests(method: str, level: Level, query: list[str], code: str) -> None:
    with pytest.raises(S3Error) as caught:
        route(method, level, query, [])
    assert caught.value.code == code


def test_headers_that_decide() -> None:
    copy = ["x-amz-copy-source"]
    part = ["uploadId", "partNumber"]
    assert route("PUT", Level.OBJECT, [], copy).operation == Operation.COPY_OBJECT
    assert route("PUT", Level.OBJECT, part, copy).operation == Operation.UPLOAD_PART_COPY
    assert route("PUT", Level.OBJECT, part, []).operation == Operation.UPLOAD_PART
    assert route("GET", Level.OBJECT, ["partNumber"], copy).operation == Operation.GET_OBJECT
    appending = ["x-amz-write-offset-bytes"]
    assert route("PUT", Level.OBJECT, [], appending).operation == Operation.PUT_OBJECT


def test_internal_headers_are_refused() -> None:
    """AUT-07."""
    for level in Level:
        with pytest.raises(S3Error, match="AccessDenied"):
            route("GET", level, [], ["host", "x-hexagone-replica"])


# --- targets ----------------------------------------------------------------------------------

DOMAINS = ["s3.example.fr", "fr"]


@pytest.mark.parametrize(
    ("host", "path", "expected"),
    [
        ("s3.example.fr", "/", (None, None)),
        ("s3.example.fr:9000", "/b", ("b", None)),
        ("127.0.0.1:9000", "/b/", ("b", None)),
        ("[::1]:9000", "/b/k", ("b", "k")),
        ("", "/b/k", ("b", "k")),
        ("B.S3.example.fr:9000", "/", ("b", None)),
        ("b.s3.example.fr.", "/k/l", ("b", "k/l")),
        ("a.b.s3.example.fr", "//k", ("a.b", "/k")),
        (".s3.example.fr", "/b/k", ("b", "k")),
        ("xs3.example.org", "/b/k", ("b", "k")),
        ("h", "/b//", ("b", "/")),
        ("h", "/b/a/../c", ("b", "a/../c")),
        ("h", "/b/a%2F%2e%2E%2fc", ("b", "a/../c")),
        ("h", "/b/../c", ("b", "../c")),
        ("h", "/b/./c\\d", ("b", "./c\\d")),
        ("h", "/b%2Fk", ("b", "k")),
        ("h", "/b/a+b%2Bc%20d", ("b", "a+b+c d")),
        ("h", "/b/%C3%A9%c3%a9é", ("b", "ééé")),
        ("h", "/b/%2525", ("b", "%25")),
    ],
)
def test_targets(host: str, path: str, expected: tuple[str | None, str | None]) -> None:
    """AUT-02, HTTP-02."""
    domains = DOMAINS if host != ".s3.example.fr" else DOMAINS[:1]
    assert split_target(host, path, domains) == expected


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("http://evil/b/k", "InvalidURI"),
        ("*", "InvalidURI"),
        ("", "InvalidURI"),
        ("/b/%", "InvalidURI"),
        ("/b/%4", "InvalidURI"),
        ("/b/%zz", "InvalidURI"),
        ("/b/%%41", "InvalidURI"),
        ("/b/%00", "InvalidURI"),
        ("/b/\x00", "InvalidURI"),
        ("/b/%FF", "InvalidURI"),
        ("/b/%C0%AF", "InvalidURI"),
        ("/b/%ED%A0%80", "InvalidURI"),
        ("/b/\udcff", "InvalidURI"),
        ("//k", "InvalidBucketName"),
        ("//", "InvalidBucketName"),
    ],
)
def test_refused_targets(path: str, code: str) -> None:
    with pytest.raises(S3Error) as caught:
        split_target("h", path, DOMAINS)
    assert caught.value.code == code


def test_levels() -> None:
    assert level_of(None, None) is Level.SERVICE
    assert level_of("b", None) is Level.BUCKET
    assert level_of("b", "k") is Level.OBJECT


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("b/k", ("b", "k", None)),
        ("/b/k", ("b", "k", None)),
        ("/b//k", ("b", "/k", None)),
        ("b/a/../../c/d", ("b", "a/../../c/d", None)),
        ("b%2Fk%2F..%2Fl", ("b", "k/../l", None)),
        ("b/a%2Bb+c", ("b", "a+b c", None)),
        ("b/k?versionId=v1", ("b", "k", "v1")),
        ("b/k?versionId=a+b%3D", ("b", "k", "a+b=")),
        ("b/k?x=1", ("b", "k?x=1", None)),
        ("b/k%3FversionId=v1", ("b", "k?versionId=v1", None)),
    ],
)
def test_copy_sources(value: str, expected: tuple[str, str, str | None]) -> None:
    assert split_copy_source(value) == expected


@pytest.mark.parametrize(
    "value", ["", "/", "b", "b/", "//k", "b/%zz", "b/%FF", "b/%00", "b/k?versionId="]
)
def test_refused_copy_sources(value: str) -> None:
    with pytest.raises(S3Error) as caught:
        split_copy_source(value)
    assert caught.value.code == "InvalidArgument"


@pytest.mark.parametrize(
    ("value", "key"),
    [
        ("/bucket/k", "k"),
        ("bucket/k", "k"),
        ("bucket/bucket/k", "bucket/k"),
        ("/bucket//k", "/k"),
        ("k", "k"),
        ("a/b/", "a/b/"),
        ("a%2Fb+c", "a/b+c"),
        ("bucket%2Fk", "k"),
        ("%C3%BC", "\u00fc"),
        ("bucket", "bucket"),
    ],
)
def test_rename_sources(value: str, key: str) -> None:
    assert split_rename_source(value, "bucket") == key


@pytest.mark.parametrize(
    ("value", "code"),
    [
        *((value, "InvalidArgument") for value in ("", "/", "//k", "bucket/", "/bucket", "%zz")),
        *((value, "InvalidArgument") for value in ("%FF", "a%00b", "/other/")),
        ("/other/k", "InvalidRequest"),
    ],
)
def test_refused_rename_sources(value: str, code: str) -> None:
    with pytest.raises(S3Error) as caught:
        split_rename_source(value, "bucket")
    assert caught.value.code == code


@given(st.text(max_size=30))
def test_any_rename_source_names_a_key_or_is_refused(value: str) -> None:
    try:
        key = split_rename_source(value, "bucket")
    except S3Error as error:
        assert error.code in ("InvalidArgument", "InvalidRequest", "InvalidURI")
    else:
        assert key and "\x00" not in key
