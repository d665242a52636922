"""obstore, the Rust object_store that polars, delta-rs and DataFusion stand on."""

from __future__ import annotations

from importlib.metadata import version as installed
from pathlib import Path

import obstore
from obstore.exceptions import AlreadyExistsError, NotFoundError, PreconditionError
from obstore.store import S3Store

from tests.clients.curl import make_bucket
from tests.clients.server import MIB, ClientFailed, Server, payload, same


def version() -> str:
    return installed("obstore")


def run(server: Server, work: Path) -> str:
    bucket = server.bucket()
    make_bucket(server, bucket)
    endpoint = f"{server.scheme}://{bucket}.{server.netloc}" if server.is_virtual else server.url
    certificate = Path(server.authority).read_bytes() if server.authority else b""
    options = {"allow_http": not server.is_tls}
    if certificate:
        options["root_certificate"] = certificate
    store = S3Store(
        bucket,
        endpoint=endpoint,
        region=server.region,
        access_key_id=server.access_key,
        secret_access_key=server.secret_key,
        virtual_hosted_style_request=server.is_virtual,
        client_options=options,
        retry_config={"max_retries": 0},
    )
    body = payload(13 * MIB)
    obstore.put(store, "dir/large é", body, chunk_size=5 * MIB, use_multipart=True)
    same(bytes(obstore.get(store, "dir/large é").bytes()), body, "body")
    pieces = obstore.get_ranges(store, "dir/large é", starts=[5, 6 * MIB], ends=[15, 6 * MIB + 9])
    same([bytes(p) for p in pieces], [body[5:15], body[6 * MIB : 6 * MIB + 9]], "ranges")
    put = obstore.put(store, "state", b"1", mode="create", attributes={"Content-Type": "text/x"})
    same(obstore.get(store, "state").attributes["Content-Type"], "text/x", "attributes")
    _expect((AlreadyExistsError, PreconditionError), store, "state", b"2", "create")
    second = obstore.put(store, "state", b"2", mode={"e_tag": put["e_tag"]})
    _expect((PreconditionError,), store, "state", b"3", {"e_tag": put["e_tag"]})
    same(obstore.head(store, "state")["e_tag"], second["e_tag"], "the conditional write that won")
    obstore.copy(store, "state", "copy")
    obstore.rename(store, "copy", "renamed")
    for number in range(30):
        obstore.put(store, f"list/{number:02d}", b"x")
    listed = [meta["path"] for batch in obstore.list(store, chunk_size=7) for meta in batch]
    same(len(listed), 33, "listing")
    folded = obstore.list_with_delimiter(store)
    same(sorted(folded["common_prefixes"]), ["dir", "list"], "with a delimiter")
    obstore.delete(store, listed)
    try:
        obstore.head(store, "state")
    except (NotFoundError, FileNotFoundError):
        pass
    else:
        raise ClientFailed("deleted, and still there")
    return "multipart put, ranges, conditional put (create, ETag), copy, rename, listing, deletion"


def _expect(
    errors: tuple[type[Exception], ...], store: S3Store, key: str, body: bytes, mode: object
) -> None:
    try:
        obstore.put(store, key, body, mode=mode)
    except errors:
        return
    raise ClientFailed(f"a put with mode {mode} was let through")
