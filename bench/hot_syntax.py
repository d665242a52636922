"""Hot paths of the two protocols: SigV4 and aws-chunked for clients, messages for nodes.

Modules are imported inside, as in `bench.hot_data`.
"""

from __future__ import annotations

from pathlib import Path

from bench.load import payload
from bench.micro import Prepared, path

NOW_MS = 1_700_000_000_000
ACCESS_KEY, SECRET, REGION = "AKIDEXAMPLE", "not a secret", "fr"
AMZ_DATE = "20231114T221320Z"
MIB = 1024 * 1024


@path("SigV4: verify the head of a PUT")
async def verify(folder: Path) -> Prepared:
    from gateway.s3.signer import sign_request
    from gateway.s3.sigv4 import RequestHead, authorize, derive_signing_key

    bare = RequestHead(
        method="PUT",
        raw_path="/bench/4096/r1-00000017",
        raw_query="",
        headers=[("host", "127.0.0.1:9000"), ("content-length", "4096")],
    )
    headers = sign_request(
        bare, access_key_id=ACCESS_KEY, secret=SECRET, now_ms=NOW_MS, region=REGION
    )
    head = RequestHead(
        method="PUT", raw_path=bare.raw_path, raw_query=bare.raw_query, headers=headers
    )
    key = derive_signing_key(SECRET, date=AMZ_DATE[:8], region=REGION)

    def call() -> object:
        return authorize(head, now_ms=NOW_MS, regions=[REGION], signing_key=lambda *_: key)

    if call() is None:
        raise TypeError("authorize() takes the request for an anonymous one")
    return Prepared(call=call)


def _chunked(body: bytes, chunk_bytes: int) -> bytes:
    """An unsigned aws-chunked body without trailers."""
    pieces = []
    for start in range(0, len(body), chunk_bytes):
        piece = body[start : start + chunk_bytes]
        pieces.append(b"%x\r\n%s\r\n" % (len(piece), piece))
    return b"".join([*pieces, b"0\r\n\r\n"])


@path("aws-chunked: 1 MiB in chunks of 64 KiB, unsigned")
async def decode_chunks(folder: Path) -> Prepared:
    from gateway.s3.aws_chunked import ChunkDecoder
    from gateway.s3.sigv4 import PayloadMode

    raw = memoryview(_chunked(payload(MIB), 65_536))
    mode = PayloadMode.STREAMING_UNSIGNED_TRAILER

    def call() -> None:
        decoder = ChunkDecoder(mode=mode, seed=None, decoded_bytes=MIB)
        for start in range(0, len(raw), 262_144):
            decoder.feed(raw[start : start + 262_144])
        decoder.finish()

    return Prepared(call=call, bytes_per_call=MIB)


@path("aws-chunked: 1 MiB in chunks of 64 KiB, signed")
async def decode_signed_chunks(folder: Path) -> Prepared:
    from hashlib import sha256

    from gateway.s3.aws_chunked import ChunkDecoder
    from gateway.s3.sigv4 import Authorized, PayloadMode, chain_signature, derive_signing_key

    key = derive_signing_key(SECRET, date=AMZ_DATE[:8], region=REGION)
    scope = f"{AMZ_DATE[:8]}/{REGION}/s3/aws4_request"
    mode = PayloadMode.STREAMING_SIGNED
    seed = Authorized(
        access_key_id=ACCESS_KEY,
        region=REGION,
        payload_mode=mode,
        content_sha256=None,
        seed_signature="0" * 64,
        signing_key=key,
        scope=scope,
        amz_date=AMZ_DATE,
        presigned=False,
    )
    body, link, pieces = payload(MIB), seed.seed_signature, []
    for start in range(0, MIB + 1, 65_536):
        piece = body[start : start + 65_536]
        text = (
            f"AWS4-HMAC-SHA256-PAYLOAD\n{AMZ_DATE}\n{scope}\n{link}\n"
            f"{sha256(b'').hexdigest()}\n{sha256(piece).hexdigest()}"
        )
        link = chain_signature(key, text)
        pieces.append(f"{len(piece):x};chunk-signature={link}\r\n".encode() + piece + b"\r\n")
    raw = memoryview(b"".join(pieces))

    def call() -> None:
        decoder = ChunkDecoder(mode=mode, seed=seed, decoded_bytes=MIB)
        for start in range(0, len(raw), 262_144):
            decoder.feed(raw[start : start + 262_144])
        decoder.finish()

    call()
    return Prepared(call=call, bytes_per_call=MIB)


def _shard() -> object:
    from storaged.base.ids import ShardId, StripeFamily, StripeId

    return ShardId(StripeId(StripeFamily.COMMIT, 1, 17), 3)


@path("wire: encode a put of 16 KiB")
async def encode_put_message(folder: Path) -> Prepared:
    from storaged.verbs import encode_put
    from storaged.wire import MessageType, encode_message

    shard, attributes, content = _shard(), bytes(400), memoryview(payload(16_384))

    def call() -> bytes:
        fields = encode_put(shard, attributes, fence=None, retain_until_ms=0)  # type: ignore[arg-type]
        return encode_message(
            MessageType.REQUEST, 7, fields, content, total_bytes=len(content), deadline_ms=1000
        )

    call()
    return Prepared(call=call, bytes_per_call=16_384)


@path("wire: one put of 16 KiB through both sessions")
async def sessions(folder: Path) -> Prepared:
    from storaged.session import ClientSession, Requested, ServerSession, local_hello
    from storaged.verbs import encode_done, encode_put

    client = ClientSession(local_hello(("bench",)))
    server = ServerSession(local_hello(("fr", "paris", "paris-1")))
    content = memoryview(payload(16_384))
    fields = encode_put(_shard(), bytes(400), fence=None, retain_until_ms=0)  # type: ignore[arg-type]

    def carry(source: object, target: object) -> list[object]:
        events: list[object] = []
        while pieces := source.take_output():  # type: ignore[attr-defined]
            for piece in pieces:
                events += target.receive(piece)  # type: ignore[attr-defined]
        return events

    def both_ways() -> list[object]:
        events = carry(client, server)
        for event in events:
            if isinstance(event, Requested):
                server.respond(event.request, encode_done())
                if hasattr(event, "release"):
                    event.release()
        return events + carry(server, client)

    both_ways()
    both_ways()

    def call() -> None:
        client.request(fields, content, deadline_ms=1000)
        if not both_ways():
            raise RuntimeError("nothing arrived")

    call()
    return Prepared(call=call, bytes_per_call=16_384)
