"""An S3 client on a bare socket with a signer of its own: it can send what no library would.

Not for throughput. Shares no code with `gateway.s3`, so a mistake there cannot hide here.
"""

from __future__ import annotations

import base64
import datetime
import hashlib
import hmac
import re
import socket
import time
import zlib
from dataclasses import dataclass, field
from urllib.parse import quote

EMPTY_SHA256 = hashlib.sha256(b"").hexdigest()
UNSIGNED = "UNSIGNED-PAYLOAD"
SIGNED_CHUNKS = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
SIGNED_CHUNKS_TRAILER = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"
UNSIGNED_CHUNKS_TRAILER = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
STREAMING_MODES = (SIGNED_CHUNKS, SIGNED_CHUNKS_TRAILER, UNSIGNED_CHUNKS_TRAILER)

Headers = dict[str, str]


@dataclass(frozen=True)
class Answer:
    """A response; `headers` by lower-case name."""

    status: int
    headers: Headers
    body: bytes
    interim: tuple[int, ...] = ()

    @property
    def code(self) -> str:
        found = re.search(rb"<Code>([^<]*)</Code>", self.body)
        return found[1].decode() if found else ""


@dataclass
class Credentials:
    access_key_id: str
    secret: str
    region: str = "us-east-1"


def _hmac(key: bytes, text: str) -> bytes:
    return hmac.new(key, text.encode(), hashlib.sha256).digest()


def signing_key(credentials: Credentials, date: str) -> bytes:
    key = ("AWS4" + credentials.secret).encode()
    for text in (date, credentials.region, "s3", "aws4_request"):
        key = _hmac(key, text)
    return key


def _canonical_query(query: str) -> str:
    if not query:
        return ""
    pairs = sorted(item.partition("=")[::2] for item in query.split("&"))
    return "&".join(f"{name}={value}" for name, value in pairs)


@dataclass
class Signed:
    """A signed head: the target to send, its headers, and what chunk signatures chain from."""

    method: str
    target: str
    headers: Headers
    signature: str
    amz_date: str
    scope: str
    key: bytes


def _now() -> datetime.datetime:
    return datetime.datetime.fromtimestamp(time.time(), datetime.UTC)


def _signature(
    method: str, target: str, headers: Headers, payload: str, amz_date: str, scope: str, key: bytes
) -> str:
    path, _, query = target.partition("?")
    names = sorted(headers)
    lines = "".join(f"{name}:{' '.join(headers[name].split())}\n" for name in names)
    canonical = "\n".join((method, path, _canonical_query(query), lines, ";".join(names), payload))
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    text = "\n".join(("AWS4-HMAC-SHA256", amz_date, scope, digest))
    return _hmac(key, text).hex()


def sign(
    credentials: Credentials,
    method: str,
    target: str,
    headers: Headers,
    *,
    payload: str = EMPTY_SHA256,
    at: datetime.datetime | None = None,
) -> Signed:
    """Sign a head. All given headers (lower-case names, `host` among them) are signed."""
    amz_date = (at or _now()).strftime("%Y%m%dT%H%M%SZ")
    scope = f"{amz_date[:8]}/{credentials.region}/s3/aws4_request"
    key = signing_key(credentials, amz_date[:8])
    signed = {**headers, "x-amz-date": amz_date, "x-amz-content-sha256": payload}
    signature = _signature(method, target, signed, payload, amz_date, scope, key)
    names = ";".join(sorted(signed))
    authorization = (
        f"AWS4-HMAC-SHA256 Credential={credentials.access_key_id}/{scope}, "
        f"SignedHeaders={names}, Signature={signature}"
    )
    signed["authorization"] = authorization
    return Signed(method, target, signed, signature, amz_date, scope, key)


def presign(
    credentials: Credentials,
    method: str,
    target: str,
    headers: Headers,
    *,
    expires_s: int = 600,
    payload: str = UNSIGNED,
) -> Signed:
    """Put the credentials into the query; the given headers are signed."""
    amz_date = _now().strftime("%Y%m%dT%H%M%SZ")
    scope = f"{amz_date[:8]}/{credentials.region}/s3/aws4_request"
    key = signing_key(credentials, amz_date[:8])
    names = ";".join(sorted(headers))
    fields = {
        "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
        "X-Amz-Credential": f"{credentials.access_key_id}/{scope}",
        "X-Amz-Date": amz_date,
        "X-Amz-Expires": str(expires_s),
        "X-Amz-SignedHeaders": names,
    }
    added = "&".join(f"{name}={quote(value, safe='')}" for name, value in fields.items())
    full = f"{target}{'&' if '?' in target else '?'}{added}"
    signature = _signature(method, full, headers, payload, amz_date, scope, key)
    return Signed(
        method,
        f"{full}&X-Amz-Signature={signature}",
        dict(headers),
        signature,
        amz_date,
        scope,
        key,
    )


def encode_chunks(
    signed: Signed, mode: str, content: bytes, *, chunk_bytes: int = 64 * 1024, trailer: str = ""
) -> bytes:
    """An aws-chunked body. `trailer` is `name:value`, needed by the trailer modes."""
    previous = signed.signature
    out = bytearray()
    pieces = [content[i : i + chunk_bytes] for i in range(0, len(content), chunk_bytes)]
    for piece in (*pieces, b""):
        line = f"{len(piece):x}"
        if mode != UNSIGNED_CHUNKS_TRAILER:
            text = "\n".join(
                (
                    "AWS4-HMAC-SHA256-PAYLOAD",
                    signed.amz_date,
                    signed.scope,
                    previous,
                    EMPTY_SHA256,
                    hashlib.sha256(piece).hexdigest(),
                )
            )
            previous = _hmac(signed.key, text).hex()
            line += f";chunk-signature={previous}"
        out += line.encode() + b"\r\n" + piece
        if piece:
            out += b"\r\n"
    if mode == SIGNED_CHUNKS:
        return bytes(out + b"\r\n")
    out += trailer.encode() + b"\r\n" if trailer else b""
    if mode == SIGNED_CHUNKS_TRAILER:
        text = "\n".join(
            (
                "AWS4-HMAC-SHA256-TRAILER",
                signed.amz_date,
                signed.scope,
                previous,
                hashlib.sha256(trailer.encode() + b"\n").hexdigest(),
            )
        )
        out += f"x-amz-trailer-signature:{_hmac(signed.key, text).hex()}\r\n".encode()
    return bytes(out + b"\r\n")


def crc32_text(content: bytes) -> str:
    return base64.b64encode(zlib.crc32(content).to_bytes(4, "big")).decode()


class ClosedByServer(Exception):
    """The connection ended before a whole response; `received` is what came."""

    def __init__(self, received: bytes) -> None:
        self.received = received
        super().__init__(f"connection closed after {len(received)} bytes")


@dataclass
class RawClient:
    """One connection, opened at need."""

    host: str
    port: int
    credentials: Credentials
    timeout_s: float = 10.0
    _socket: socket.socket | None = field(default=None, repr=False)
    _rest: bytes = b""

    @property
    def authority(self) -> str:
        return f"{self.host}:{self.port}"

    def connect(self) -> socket.socket:
        if self._socket is None:
            self._socket = socket.create_connection((self.host, self.port), self.timeout_s)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._rest = b""
        return self._socket

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def reset(self) -> None:
        """Close so that the other side sees a reset."""
        if self._socket is not None:
            self._socket.setsockopt(
                socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00"
            )
        self.close()

    def __enter__(self) -> RawClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def send(self, raw: bytes) -> None:
        self.connect().sendall(raw)

    def send_head(self, method: str, target: str, headers: Headers) -> None:
        lines = [f"{method} {target} HTTP/1.1"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        self.send(("\r\n".join(lines) + "\r\n\r\n").encode("utf-8", "surrogateescape"))

    def _more(self, received: bytes) -> bytes:
        try:
            piece = self.connect().recv(1 << 20)
        except ConnectionError:
            piece = b""
        if not piece:
            self.close()
            raise ClosedByServer(received)
        return piece

    def read_answer(self, *, is_head: bool = False) -> Answer:
        """The next response; interim ones are collected."""
        interim: list[int] = []
        while True:
            received = self._rest
            while b"\r\n\r\n" not in received:
                received += self._more(received)
            head, _, rest = received.partition(b"\r\n\r\n")
            first, *lines = head.decode("utf-8", "surrogateescape").split("\r\n")
            status = int(first.split(" ", 2)[1])
            self._rest = rest
            if status >= 200:
                break
            interim.append(status)
        headers = {}
        for line in lines:
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        length = int(headers.get("content-length", "0"))
        if is_head or status in (204, 304):
            length = 0
        body = self._rest
        while len(body) < length:
            body += self._more(body)
        self._rest = body[length:]
        if headers.get("connection", "").lower() == "close":
            self.close()
        return Answer(status, headers, body[:length], tuple(interim))

    def request(
        self,
        method: str,
        target: str,
        body: bytes = b"",
        headers: Headers | None = None,
        *,
        payload: str | None = None,
    ) -> Answer:
        """A well-formed signed request; `payload` is by default the body's digest."""
        given = {"host": self.authority, **(headers or {})}
        if body or method in ("PUT", "POST"):
            given.setdefault("content-length", str(len(body)))
        digest = hashlib.sha256(body).hexdigest() if payload is None else payload
        signed = sign(self.credentials, method, target, given, payload=digest)
        self.send_head(method, target, signed.headers)
        if body:
            self.send(body)
        return self.read_answer(is_head=method == "HEAD")

    def put_chunked(
        self, target: str, content: bytes, mode: str, *, chunk_bytes: int = 64 * 1024
    ) -> Answer:
        """A PUT in one of the streaming modes, with a CRC32 trailer where the mode has one."""
        headers = {
            "host": self.authority,
            "content-encoding": "aws-chunked",
            "x-amz-decoded-content-length": str(len(content)),
        }
        trailer = ""
        if mode != SIGNED_CHUNKS:
            headers["x-amz-trailer"] = "x-amz-checksum-crc32"
            trailer = f"x-amz-checksum-crc32:{crc32_text(content)}"
        signed = sign(self.credentials, "PUT", target, headers, payload=mode)
        body = encode_chunks(signed, mode, content, chunk_bytes=chunk_bytes, trailer=trailer)
        self.send_head("PUT", target, {**signed.headers, "content-length": str(len(body))})
        self.send(body)
        return self.read_answer()

    def is_open(self) -> bool:
        """The server has not closed this connection (waits a moment for it to do so)."""
        if self._socket is None:
            return False
        self._socket.settimeout(0.3)
        try:
            return bool(self._socket.recv(1, socket.MSG_PEEK))
        except TimeoutError:
            return True
        except ConnectionError:
            return False
        finally:
            self._socket.settimeout(self.timeout_s)
