"""Another S3 endpoint, as replication needs it: look at an object, put one, delete one.

Requests are signed with SigV4; bodies are streamed and not signed, but for their MD5 where it is
known. Redirects are not followed.

Source: Amazon S3 API Reference.
"""

from __future__ import annotations

import ssl
from base64 import b64encode
from collections.abc import AsyncIterator, Mapping
from hashlib import md5
from http import HTTPStatus
from typing import NamedTuple
from urllib.parse import quote

import aiohttp
from yarl import URL

from gateway.jobs.replica_target import RemoteHead, TargetRefused, TargetUnavailable
from gateway.objects.replicas import REPLICA, STATUS_HEADER
from gateway.s3 import xml
from gateway.s3.errors import S3Error
from gateway.s3.signer import sign_request
from gateway.s3.sigv4 import RequestHead
from gateway.s3.xml_reader import fields, read
from storaged.base.env import Env

CONNECT_S = 10.0
ANSWER_S = 600.0  # of one request; a part of 5 GiB at 10 MB/s
CONNECTIONS_MAX = 16
ANSWER_BYTES_MAX = 64 * 1024
REASON_CHARACTERS_MAX = 200
_UNRESERVED = "-._~/"


class RemoteBucket(NamedTuple):
    """Where replicas go.

    Args:
        endpoint: scheme://host[:port]
    """

    endpoint: str
    region: str
    bucket: str
    access_key_id: str
    secret: str

    def __repr__(self) -> str:
        return f"RemoteBucket({self.endpoint}, {self.bucket})"


class RemoteS3:
    """A bucket of another endpoint; `replica_target.ReplicaTarget`."""

    def __init__(
        self, remote: RemoteBucket, env: Env, ssl_context: ssl.SSLContext | None = None
    ) -> None:
        """Make one; connects when it is first used.

        Args:
            ssl_context: whom to trust; None: the system's authorities.
        """
        self._remote = remote
        self._env = env
        self._ssl = ssl_context
        self._session: aiohttp.ClientSession | None = None

    async def head(self, key: str, version_id: str = "") -> RemoteHead | None:
        """See `ReplicaTarget`."""
        query = _of_version("", version_id)
        status, headers, _ = await self._send("HEAD", key, query, {}, None, passes=(404, 405))
        if status in (404, 405):
            return None
        length = headers.get("Content-Length", "0")
        told = {name.lower(): value for name, value in headers.items()}
        return RemoteHead(headers.get("ETag", "").strip('"'), int(length), told)

    async def tags(self, key: str, version_id: str = "") -> frozenset[tuple[str, str]]:
        """See `ReplicaTarget`."""
        query = _of_version("tagging=", version_id)
        _, _, answer = await self._send("GET", key, query, {}, None)
        try:
            found = [
                fields(tag, frozenset({"Key", "Value"}))
                for group in read(answer, "Tagging", ANSWER_BYTES_MAX).children
                for tag in group.children
            ]
        except S3Error as error:
            raise TargetUnavailable(reason="answer to GetObjectTagging") from error
        return frozenset((tag.get("Key", ""), tag.get("Value", "")) for tag in found)

    async def put(
        self, key: str, headers: Mapping[str, str], length: int, body: AsyncIterator[bytes]
    ) -> str:
        """See `ReplicaTarget`."""
        sized = {**headers, "content-length": str(length)}
        _, answered, _ = await self._send("PUT", key, "", sized, body)
        return answered.get("x-amz-version-id", "")

    async def create_upload(self, key: str, headers: Mapping[str, str]) -> str:
        """See `ReplicaTarget`."""
        _, _, answer = await self._send("POST", key, "uploads=", headers, b"")
        try:
            root = read(answer, "InitiateMultipartUploadResult", ANSWER_BYTES_MAX)
        except S3Error as error:
            raise TargetUnavailable(reason="answer to CreateMultipartUpload") from error
        upload = root.child("UploadId")
        if upload is None or not upload.text:
            raise TargetUnavailable(reason="no upload id")
        return upload.text

    async def put_part(
        self,
        key: str,
        upload_id: str,
        number: int,
        headers: Mapping[str, str],
        length: int,
        body: AsyncIterator[bytes],
    ) -> str:
        """See `ReplicaTarget`."""
        query = f"partNumber={number}&uploadId={quote(upload_id, safe='')}"
        sized = {**headers, "content-length": str(length)}
        _, answered, _ = await self._send("PUT", key, query, sized, body)
        return answered.get("ETag", "")

    async def complete(self, key: str, upload_id: str, etags: list[str]) -> str:
        """See `ReplicaTarget`."""
        parts = "".join(
            f"<Part><PartNumber>{number}</PartNumber><ETag>{quoted_etag(etag)}</ETag></Part>"
            for number, etag in enumerate(etags, 1)
        )
        body = f"<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>".encode()
        query = f"uploadId={quote(upload_id, safe='')}"
        _, headers, answer = await self._send("POST", key, query, {}, body)
        if b"<Error" in answer:
            raise TargetUnavailable(reason="CompleteMultipartUpload failed")
        return headers.get("x-amz-version-id", "")

    async def abort(self, key: str, upload_id: str) -> None:
        """See `ReplicaTarget`."""
        query = f"uploadId={quote(upload_id, safe='')}"
        await self._send("DELETE", key, query, {}, None, passes=(404,))

    async def delete(self, key: str) -> None:
        """See `ReplicaTarget`."""
        await self._send("DELETE", key, "", {}, None, passes=(404,))

    async def put_tags(self, key: str, version_id: str, tags: frozenset[tuple[str, str]]) -> None:
        """See `ReplicaTarget`."""
        query = _of_version("tagging=", version_id)
        if not tags:
            await self._send("DELETE", key, query, {}, None)
            return
        written = [
            xml.group("Tag", xml.element("Key", name), xml.element("Value", value))
            for name, value in sorted(tags)
        ]
        await self._put_document(key, query, xml.document("Tagging", xml.group("TagSet", *written)))

    async def put_retention(
        self, key: str, version_id: str, mode: str, until: str, *, bypass_governance: bool
    ) -> None:
        """See `ReplicaTarget`."""
        written = [xml.element("Mode", mode), xml.element("RetainUntilDate", until)] if mode else []
        headers = {"x-amz-bypass-governance-retention": "true"} if bypass_governance else {}
        query = _of_version("retention=", version_id)
        await self._put_document(key, query, xml.document("Retention", *written), headers)

    async def put_legal_hold(self, key: str, version_id: str, *, is_held: bool) -> None:
        """See `ReplicaTarget`."""
        status = xml.element("Status", "ON" if is_held else "OFF")
        query = _of_version("legal-hold=", version_id)
        await self._put_document(key, query, xml.document("LegalHold", status))

    async def _put_document(
        self, key: str, query: str, document: bytes, headers: Mapping[str, str] | None = None
    ) -> None:
        digest = md5(document, usedforsecurity=False).digest()
        sized = {
            **(headers or {}),
            "content-length": str(len(document)),
            "content-md5": b64encode(digest).decode(),
        }
        await self._send("PUT", key, query, sized, document)

    async def put_annotation(self, key: str, etag: str, name: str, content: bytes) -> None:
        """See `ReplicaTarget`."""
        headers = {
            "content-length": str(len(content)),
            "content-md5": b64encode(md5(content, usedforsecurity=False).digest()).decode(),
            "x-amz-object-if-match": f'"{etag}"',
        }
        query = f"annotation=&annotationName={quote(name, safe='')}"
        await self._send("PUT", key, query, headers, content)

    async def close(self) -> None:
        """See `ReplicaTarget`."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def _send(
        self,
        method: str,
        key: str,
        query: str,
        headers: Mapping[str, str],
        body: AsyncIterator[bytes] | bytes | None,
        *,
        passes: tuple[int, ...] = (),
    ) -> tuple[int, Mapping[str, str], bytes]:
        remote = self._remote
        path = f"/{quote(remote.bucket)}/{quote(key, safe=_UNRESERVED)}"
        url = URL(remote.endpoint + path + (f"?{query}" if query else ""), encoded=True)
        host = remote.endpoint.partition("://")[2]
        head = RequestHead(
            method=method,
            raw_path=path,
            raw_query=query,
            headers=[("host", host), (STATUS_HEADER, REPLICA), *headers.items()],
        )
        signed = sign_request(
            head,
            access_key_id=remote.access_key_id,
            secret=remote.secret,
            now_ms=self._env.now_ms(),
            region=remote.region,
        )
        try:
            async with self._opened().request(
                method, url, headers=dict(signed), data=body, allow_redirects=False
            ) as answer:
                content = await answer.content.read(ANSWER_BYTES_MAX)
                is_refused = answer.status == HTTPStatus.NOT_IMPLEMENTED  # and always will be
                if (answer.status >= 500 and not is_refused) or answer.status in (408, 409, 429):
                    raise TargetUnavailable(status=answer.status)
                if not 200 <= answer.status < 300 and answer.status not in passes:
                    raise TargetRefused(status=answer.status, **_said(content))
                return answer.status, answer.headers, content
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise TargetUnavailable(reason=type(error).__name__) from error

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            connector = aiohttp.TCPConnector(
                limit=CONNECTIONS_MAX, ssl=True if self._ssl is None else self._ssl
            )
            timeout = aiohttp.ClientTimeout(total=ANSWER_S, sock_connect=CONNECT_S)
            self._session = aiohttp.ClientSession(
                connector=connector,
                timeout=timeout,
                auto_decompress=False,
                skip_auto_headers=("Content-Type", "Accept-Encoding", "User-Agent"),
            )
        return self._session


def _of_version(query: str, version_id: str) -> str:
    if not version_id:
        return query
    return f"{query}&versionId={quote(version_id, safe='')}".removeprefix("&")


def _said(answer: bytes) -> dict[str, str]:
    """Code and message of an error, as far as there are any, for the log."""
    try:
        root = read(answer, "Error", ANSWER_BYTES_MAX)
    except S3Error:
        return {}
    told = {}
    for name in ("Code", "Message"):
        child = root.child(name)
        if child is not None:
            told[name.lower()] = ascii(child.text[:REASON_CHARACTERS_MAX])
    return told


def quoted_etag(etag: str) -> str:
    """An ETag inside XML."""
    return f"&quot;{quote(etag.strip(chr(34)), safe='-')}&quot;"
