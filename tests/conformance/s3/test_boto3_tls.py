"""Over TLS boto3 sends unsigned chunks with a checksum trailer: its default for streams."""

from __future__ import annotations

import datetime
import io
import ipaddress
import json
import os
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import ClientError
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from gateway.metrics import S3Metrics
from gateway.s3.http import FrontendConfig, S3Frontend
from tests.support.accounts import allowing
from tests.support.encryption_modes import own_key
from tests.support.gateway import ACCESS_KEY, SECRET
from tests.support.s3_gateway import REGION, S3Gateway


def make_certificate(folder: Path) -> tuple[Path, Path]:
    """(certificate, key) of 127.0.0.1, signed by itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    addresses = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(addresses, critical=False)
        .sign(key, hashes.SHA256())
    )
    paths = folder / "server.crt", folder / "server.key"
    paths[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return paths


@contextmanager
def tls_client(gateway: S3Gateway, tmp_path: Path, **options: Any) -> Iterator[Any]:
    """A client of the gateway over TLS; options are those of its configuration."""
    certificate, key = make_certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    frontend = S3Frontend(gateway.gateway.services, FrontendConfig(regions=(REGION,)), S3Metrics())
    port = gateway.thread.run(frontend.start("127.0.0.1", 0, context))
    client = boto3.client(
        "s3",
        endpoint_url=f"https://127.0.0.1:{port}",
        aws_access_key_id=ACCESS_KEY,
        aws_secret_access_key=SECRET,
        region_name=REGION,
        verify=str(certificate),
        config=Config(
            s3={"addressing_style": "path"}, retries={"total_max_attempts": 1}, **options
        ),
    )
    try:
        yield client
    finally:
        client.close()
        gateway.thread.run(frontend.stop(1.0))


def test_keys_of_clients_and_named_keys_travel_over_tls(gateway: S3Gateway, tmp_path: Path) -> None:
    assert not gateway.gateway.services.sse_over_http
    with tls_client(gateway, tmp_path) as client:
        client.put_object(Bucket="bucket", Key="own", Body=b"x", **own_key("a"))
        read = client.get_object(Bucket="bucket", Key="own", **own_key("a"))
        assert read["Body"].read() == b"x"
        client.put_object(Bucket="bucket", Key="named", Body=b"x", ServerSideEncryption="aws:kms")
        assert client.get_object(Bucket="bucket", Key="named")["SSEKMSKeyId"] == "aws/s3"


@pytest.mark.parametrize("length", [0, 10_000, 3_000_000])
def test_streams_over_tls(gateway: S3Gateway, tmp_path: Path, length: int) -> None:
    modes: list[Any] = []
    content = os.urandom(length)
    with tls_client(gateway, tmp_path) as client:
        client.meta.events.register(
            "before-send.s3.PutObject",
            lambda request, **_: modes.append(request.headers["x-amz-content-sha256"]),
        )
        put = client.put_object(Bucket="bucket", Key="tls", Body=io.BytesIO(content))
        assert modes == [b"STREAMING-UNSIGNED-PAYLOAD-TRAILER"]
        assert put["ChecksumCRC32"]
        assert client.get_object(Bucket="bucket", Key="tls")["Body"].read() == content


@pytest.mark.proves("HTTP-01")
@pytest.mark.parametrize("way", [UNSIGNED, "s3", "s3v4"])
def test_what_is_stored_is_what_was_sent_in_every_way_of_signing(
    gateway: S3Gateway, s3: Any, bucket: str, tmp_path: Path, way: Any
) -> None:
    """Only Version 4 has a header for the mode of a body; who signs nothing sends chunks too."""
    s3.delete_public_access_block(Bucket=bucket)
    s3.put_bucket_policy(Bucket=bucket, Policy=allowing(bucket, "s3:PutObject", "s3:GetObject"))
    gateway.gateway.services.sigv2 = True
    framed: list[bool] = []
    content = os.urandom(100_000)
    try:
        with tls_client(gateway, tmp_path, signature_version=way) as client:
            client.meta.events.register(
                "before-send.s3.PutObject",
                lambda request, **_: framed.append("X-Amz-Trailer" in request.headers),
            )
            client.put_object(Bucket=bucket, Key="k", Body=io.BytesIO(content))
            assert framed == [way != "s3"]
            read = client.get_object(Bucket=bucket, Key="k")
            assert read["Body"].read() == content
            assert "ContentEncoding" not in read
    finally:
        gateway.gateway.services.sigv2 = False


def test_policies_may_ask_for_tls(gateway: S3Gateway, s3: Any, tmp_path: Path) -> None:
    s3.create_bucket(Bucket="secure")
    s3.put_object(Bucket="secure", Key="k")
    plain = {"Bool": {"aws:SecureTransport": "false"}}
    old = {"NumericLessThan": {"s3:TlsVersion": "1.2"}}
    impossible = {"NumericGreaterThanEquals": {"s3:TlsVersion": "1.2"}}
    denial = {"Effect": "Deny", "Principal": "*", "Resource": "arn:aws:s3:::secure/*"}
    reading = {**denial, "Action": "s3:GetObject"}
    statements: list[dict[str, Any]] = [
        {**reading, "Condition": plain},
        {**reading, "Condition": old},
        {**denial, "Action": "s3:PutObject", "Condition": impossible},
    ]
    policy = json.dumps({"Version": "2012-10-17", "Statement": statements})
    s3.put_bucket_policy(Bucket="secure", Policy=policy)
    with tls_client(gateway, tmp_path) as secure:
        secure.get_object(Bucket="secure", Key="k")
        with pytest.raises(ClientError):
            secure.put_object(Bucket="secure", Key="k")
    with pytest.raises(ClientError):
        s3.get_object(Bucket="secure", Key="k")
    s3.put_object(Bucket="secure", Key="k")
