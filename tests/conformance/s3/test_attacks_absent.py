"""Doors that other servers have, and this one has not or keeps shut to who proves nothing.

Source: MinIO CVE-2023-28432, CVE-2025-62506, CVE-2026-33322, CVE-2026-33419, CVE-2026-39414;
RustFS GHSA-jqmc-mg33-v45g, GHSA-f4vq-9ffr-m8m3.
"""

from __future__ import annotations

import io
import tarfile
from typing import Any
from urllib.parse import quote

import pytest

from tests.support.raw_s3 import presign
from tests.support.s3_gateway import S3Gateway

DEBUG_PATHS = (
    "/.well-known/openid-configuration",
    "/_status",
    "/actuator/env",
    "/console",
    "/debug/pprof/",
    "/debug/vars",
    "/env",
    "/healthz",
    "/metrics",
    "/minio/admin/v3/info",
    "/minio/bootstrap/v1/verify",
    "/minio/v2/metrics/cluster",
    "/profile/cpu",
    "/rustfs/admin/v3/info",
    "/server-status",
    "/v1/status",
)
TOKEN_CALLS = (
    "AssumeRole",
    "AssumeRoleWithClientGrants",
    "AssumeRoleWithLDAPIdentity",
    "AssumeRoleWithWebIdentity",
    "GetSessionToken",
)
PROVED_BY_TOKEN = "AssumeRoleWithWebIdentity"  # by one of a provider that is known here
# {"alg":"none"} and {"alg":"HS256"}: tokens that a confused verifier takes.
TOKENS = ("eyJhbGciOiJub25lIn0.eyJzdWIiOiJhIn0.", "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhIn0.c2ln")


@pytest.mark.parametrize("path", DEBUG_PATHS)
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "HEAD"])
def test_aut_08_nothing_but_s3_is_answered(gateway: S3Gateway, method: str, path: str) -> None:
    with gateway.raw() as client:
        client.send_head(method, path, {"host": client.authority, "content-length": "0"})
        answer = client.read_answer(is_head=method == "HEAD")
        # A bucket that is not there, or whose name none can have.
        assert answer.status in (400, 403, 404, 405)
        assert b"<Error>" in answer.body or method == "HEAD"
        for secret in (client.credentials.secret, client.credentials.access_key_id):
            assert secret.encode() not in answer.body + str(answer.headers).encode()


@pytest.mark.parametrize("action", TOKEN_CALLS)
def test_sig_16_sig_17_nobody_is_given_credentials_without_a_signature(
    gateway: S3Gateway, action: str
) -> None:
    for token in TOKENS:
        fields = f"Action={action}&Version=2011-06-15&WebIdentityToken={token}&RoleArn=arn:a"
        fields += "&RoleSessionName=se&LDAPUsername=root&LDAPPassword=root"
        with gateway.raw() as client:
            given = {"content-type": "application/x-www-form-urlencoded"}
            length = {"host": client.authority, "content-length": str(len(fields))}
            client.send_head("POST", "/", {**given, **length})
            client.send(fields.encode())
            answer = client.read_answer()
            assert b"<AccessKeyId>" not in answer.body
            if action == PROVED_BY_TOKEN:
                assert answer.status == 400
            else:
                assert (answer.status, b"<Code>AccessDenied</Code>" in answer.body) == (403, True)
                # Signed for S3: no signature of the token service.
                signed = client.request("POST", "/", fields.encode(), given)
                assert b"<Code>AuthorizationHeaderMalformed</Code>" in signed.body
            client.send_head("GET", f"/?{fields}", {"host": client.authority})
            assert client.read_answer().code == "AccessDenied"


@pytest.mark.parametrize("token", ["", "x", *TOKENS])
def test_sig_16_a_sessions_token_is_not_overlooked(
    gateway: S3Gateway, bucket: str, token: str
) -> None:
    """It means fewer rights than those of the key alone."""
    with gateway.raw() as client:
        given = {"x-amz-security-token": token}
        for method in ("GET", "PUT", "DELETE"):
            answer = client.request(method, f"/{bucket}/k", b"", given)
            assert (answer.status, answer.code) == (400, "InvalidToken")
        target = f"/{bucket}/k?X-Amz-Security-Token={quote(token, safe='')}"
        signed = presign(client.credentials, "GET", target, {"host": client.authority})
        client.send_head("GET", signed.target, signed.headers)
        assert client.read_answer().code == "InvalidToken"


def test_sig_16_a_bearer_is_nobody(gateway: S3Gateway, bucket: str) -> None:
    for token in TOKENS:
        for scheme in ("Bearer", "Basic", "Token", "Negotiate"):
            with gateway.raw() as client:
                head = {"host": client.authority, "authorization": f"{scheme} {token}"}
                client.send_head("GET", f"/{bucket}", head)
                assert client.read_answer().status in (400, 403)


def test_res_01_nothing_is_selected(gateway: S3Gateway, s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=b'{"a":1}' * 1000)
    body = b"<SelectObjectContentRequest><Expression>SELECT * FROM s</Expression></SelectObject>"
    with gateway.raw() as client:
        answer = client.request("POST", f"/{bucket}/k?select=&select-type=2", body)
        assert (answer.status, answer.code) == (501, "NotImplemented")


@pytest.mark.parametrize(
    "name",
    [
        "x-amz-meta-snowball-auto-extract",
        "x-amz-snowball-extract",
        "x-minio-extract",
        "x-rustfs-extract",
    ],
)
def test_res_02_an_archive_is_an_object(
    gateway: S3Gateway, s3: Any, bucket: str, name: str
) -> None:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as tar:
        for member in ("plain", "../outside", "/absolute"):
            tar.addfile(tarfile.TarInfo(member), io.BytesIO())
    with gateway.raw() as client:
        given = {name: "true", "content-type": "application/x-tar"}
        answer = client.request("PUT", f"/{bucket}/archive.tgz", archive.getvalue(), given)
        assert answer.status == 200
    assert [one["Key"] for one in s3.list_objects_v2(Bucket=bucket)["Contents"]] == ["archive.tgz"]
    assert s3.get_object(Bucket=bucket, Key="archive.tgz")["Body"].read() == archive.getvalue()
