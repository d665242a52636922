"""Buckets and single objects by curl's own SigV4, for clients that cannot make or see them."""

from __future__ import annotations

from tests.clients.server import Server, command


def request(server: Server, method: str, target: str, *more: str, body: str = "") -> str:
    """One signed request, always in path style; returns the answer's body."""
    trust = ["--cacert", server.authority] if server.authority else []
    data = ["--data-binary", body] if body else []
    words = ["curl", "-sS", "--fail-with-body", "-X", method, *trust, *data, *more]
    words += ["--user", f"{server.access_key}:{server.secret_key}"]
    words += ["--aws-sigv4", f"aws:amz:{server.region}:s3"]
    words += ["-H", "x-amz-content-sha256: UNSIGNED-PAYLOAD"]
    return command([*words, f"{server.scheme}://127.0.0.1:{server.port}/{target}"])


def make_bucket(server: Server, bucket: str) -> None:
    request(server, "PUT", bucket)


def read_object(server: Server, bucket: str, key: str) -> str:
    """The text of an object; `key` is as in the URL, or a query."""
    return request(server, "GET", f"{bucket}{'' if key.startswith('?') else '/'}{key}")
