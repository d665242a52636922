"""Client of the admin port: JSON over HTTP on a Unix socket or over TLS, standard library only.

Not for S3, and not asyncio: the CLI asks one thing and prints it. Where the gateway is:
`gateway.cli.places`.
"""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, TypeVar
from urllib.parse import quote, urlencode

from gateway.cli.places import AdminSocketDenied as AdminSocketDenied
from gateway.cli.places import GatewayNotRunning as GatewayNotRunning
from gateway.cli.places import Place, SocketPlace
from gateway.model.second_factor_errors import SecondFactorNeeded
from storaged.base.errors import Kind, ProtocolError, StorageError

Answered = TypeVar("Answered")
Document = dict[str, Any]
"""An answer, out of its JSON."""

ANSWER_S = 30.0
COUNTED_S = 900.0  # for an answer that takes a look at every row of a bucket
ANSWER_BYTES_MAX = 64 * 1024 * 1024
LINE_BYTES_MAX = 1024 * 1024


class AdminRefused(StorageError):
    """The gateway refused.

    Attributes:
        text: what the gateway said.
        advice: what to do about it, "" when it does not say.
        said_title, details: what `text` is made of, "" and none when it does not say.
    """

    kind = Kind.INVALID

    def __init__(
        self,
        *,
        text: str,
        advice: str,
        status: int,
        title: str = "",
        details: Mapping[str, object] | None = None,
    ) -> None:
        self.text = text
        self.advice = advice
        self.said_title = title
        self.details = dict(details or {})
        super().__init__(status=status, reason=text)


class KeptToken(Protocol):
    """Where the token of a session is kept from one command to the next, and who has the code of a
    new one.
    """

    def read(self) -> str:
        """The token; "" = there is none. Raises: StorageError."""
        ...

    def keep(self, token: str) -> None:
        """Keep it for the commands that follow; "" = forget it. Raises: StorageError."""
        ...

    def code(self) -> str:
        """A code of the second factor; "" = nobody is there who has one."""
        ...


class AdminClient:
    """Asks the gateway that is at a place: the path of its socket, or an address. Each call is a
    connection of its own.

    Args:
        kept: None: no session is begun when a second factor is needed.

    Raises, from every call: GatewayNotRunning, AdminSocketDenied, AdminSocketTooLong, AdminRefused,
    AdminCertificateRefused, ProtocolError.
    """

    def __init__(self, place: Path | Place, kept: KeptToken | None = None) -> None:
        self._place = SocketPlace(place) if isinstance(place, Path) else place
        self._kept = kept

    def status(self) -> Document:
        """The cluster as the gateway sees it."""
        return self._ask("GET", "/v1/status")

    def durability(self) -> Document:
        """The model's figures."""
        return self._ask("GET", "/v1/durability")

    def where(self, bucket: str, key: str) -> Document:
        """Where an object is recorded to be; `key` may hold surrogates for bytes of no UTF-8."""
        query = {"bucket": bucket, "key": key}
        return self._ask("GET", "/v1/where?" + _encoded(query))

    def attest(self, bucket: str, key: str, challenge: str) -> Document:
        """A signed statement about where an object is; `challenge` is hex, "" = the gateway's."""
        query = {"bucket": bucket, "key": key, "challenge": challenge}
        return self._ask("GET", "/v1/where/attest?" + _encoded(query))

    def produce(self, kind: str, name: str, tenant: str) -> Document:
        """What an order to a party could obtain."""
        query = {"kind": kind, "name": name, "tenant": tenant}
        return self._ask("GET", "/v1/produce?" + _encoded(query), answer_s=COUNTED_S)

    def jobs(self) -> Document:
        """All jobs."""
        return self._ask("GET", "/v1/jobs")

    def keys(self, access_key_id: str) -> Document:
        """Named keys of the account of an access key; "" = the root account."""
        return self._ask("GET", "/v1/keys?" + _encoded({"access_key_id": access_key_id}))

    def create_key(self, name: str, access_key_id: str) -> Document:
        """Make a named key; all keys of the account."""
        query = {"name": name, "access_key_id": access_key_id}
        return self._ask("POST", "/v1/keys?" + _encoded(query))

    def access(self, noun: str, verb: str, fields: Mapping[str, str]) -> Document:
        """Do something about tenants, users, groups, access keys, policies or roles."""
        body = json.dumps(dict(fields)).encode("ascii")
        return self._ask("POST", f"/v1/access/{noun}/{verb}", body)

    def journal(
        self, method: str, what: str, query: Mapping[str, str], body: bytes | None = None
    ) -> Document:
        """Ask the journal: `gateway.admin.journal_api` says what."""
        return self._ask(method, f"/v1/journal{what}?" + _encoded(query), body)

    def rotate_journal_key(self) -> Document:
        """Have the journal signed with other keys."""
        return self._ask("POST", "/v1/journal-keys/rotate")

    def signing_keys(self) -> Document:
        """What signs for the cluster."""
        return self._ask("GET", "/v1/signing-keys")

    def rotate_attestation_key(self) -> Document:
        """Have statements about places signed with another key."""
        return self._ask("POST", "/v1/signing-keys/attestation/rotate")

    def key_epochs(self, method: str, verb: str, fields: Mapping[str, str]) -> Document:
        """Ask or do something about epochs of keys; to count what is under one takes a while."""
        target = "/v1/key-epochs" + (f"/{verb}" if verb else "") + "?" + _encoded(fields)
        return self._ask(method, target, answer_s=COUNTED_S)

    def recovery(self, method: str, verb: str, fields: Mapping[str, str]) -> Document:
        """Ask or tell about recovery of keys: `gateway.admin.recovery_api` says what."""
        target = "/v1/recovery" + (f"/{verb}" if verb else "") + "?" + _encoded(fields)
        return self._ask(method, target)

    def metering(self, method: str, what: str, fields: Mapping[str, str]) -> Document:
        """Usage, limits and plans: `gateway.admin.metering_api` says what."""
        return self._ask(method, f"/v1/metering/{what}?" + _encoded(fields))

    def key_move(self, method: str, verb: str, fields: Mapping[str, str]) -> Document:
        """Keys that move into an HSM: `gateway.admin.key_move_api` says what; to count takes a
        while.
        """
        return self._ask(method, f"/v1/key-move{verb}?" + _encoded(fields), answer_s=COUNTED_S)

    def departure(self, method: str, verb: str, fields: Mapping[str, str]) -> Document:
        """Tenants that leave: `gateway.admin.departure_api` says what."""
        return self._ask(method, f"/v1/departure{verb}?" + _encoded(fields))

    def erasure(self, method: str, what: str, fields: Mapping[str, str]) -> Document:
        """Erasures and purges: `gateway.admin.erasure_api` says what; counting takes a while."""
        return self._ask(method, f"/v1/{what}?" + _encoded(fields), answer_s=COUNTED_S)

    def approvals(self, what: str, fields: Mapping[str, str] | None = None) -> Document:
        """Approvers and requests for approval; `fields` of what changes something."""
        if fields is None:
            return self._ask("GET", f"/v1/{what}")
        return self._ask("POST", f"/v1/{what}", json.dumps(dict(fields)).encode("ascii"))

    def transfer(
        self, method: str, what: str, fields: Mapping[str, str], body: bytes | None = None
    ) -> Document:
        """Ask about an export or import: `gateway.admin.export_api` and `import_api` say what."""
        return self._ask(method, f"/v1/{what}?" + _encoded(fields), body, answer_s=COUNTED_S)

    @contextmanager
    def streamed(
        self,
        method: str,
        what: str,
        fields: Mapping[str, str],
        body: Iterator[bytes] | None = None,
    ) -> Iterator[http.client.HTTPResponse]:
        """An answer that is read as it comes, and a body that is made as it goes. A connection
        that breaks in the block is a ProtocolError.
        """
        self._begin_if_needed()
        connection = self._place.connection(COUNTED_S)
        try:
            target = f"/v1/{what}?" + _encoded(fields)
            response = self._send(connection, method, target, body)
            if response.status != 200:
                raise _refusal(response.status, _document(response.read(LINE_BYTES_MAX)))
            yield response
        except (OSError, http.client.HTTPException) as error:
            raise ProtocolError(reason="the connection broke", detail=str(error)) from error
        finally:
            connection.close()

    def administrators(self) -> Document:
        """Administrators' accounts, and what the local root may."""
        return self._ask("GET", "/v1/administrators")

    def change_administrator(self, verb: str, fields: Mapping[str, str]) -> Document:
        """Make or change an account: `gateway.admin.administrators_api` says what."""
        body = json.dumps(dict(fields)).encode("ascii")
        return self._ask("POST", f"/v1/administrators/{verb}", body)

    def begin_session(self, code: str) -> Document:
        """Begin a session with a code of the second factor; its token is kept."""
        return self._begun("/v1/session", code)

    def end_session(self) -> Document:
        """End the session, and forget its token."""
        try:
            return self._ask_once("POST", "/v1/session/end")
        finally:
            if self._kept is not None:
                self._kept.keep("")

    def begin_enrolment(self, invitation: str) -> Document:
        """The secret of a second factor."""
        body = json.dumps({"invitation": invitation}).encode("ascii")
        return self._ask_once("POST", "/v1/second-factor/begin", body)

    def confirm_enrolment(self, code: str) -> Document:
        """Have it take effect; its first session's token is kept."""
        return self._begun("/v1/second-factor/confirm", code)

    def whoami(self) -> Document:
        """Who asks, as the gateway sees it."""
        return self._ask("GET", "/v1/whoami")

    def api_document(self) -> Document:
        """The admin API as an OpenAPI document."""
        return self._ask("GET", "/v1/openapi.json")

    def pause(self, name: str) -> Document:
        """Stop a job after the step under way."""
        return self._ask("POST", f"/v1/jobs/{quote(name, safe='')}/pause")

    def resume(self, name: str) -> Document:
        """Let a paused job go on."""
        return self._ask("POST", f"/v1/jobs/{quote(name, safe='')}/resume")

    def run(self, name: str) -> Iterator[Document]:
        """Run one round of a job: documents with "job" while it runs, the last one with "result".

        Raises: AdminRefused also at the end, when the round failed.
        """
        self._begin_if_needed()
        connection = self._place.connection(ANSWER_S)
        try:
            response = self._send(
                connection, "POST", f"/v1/jobs/{quote(name, safe='')}/run?follow=1"
            )
            if response.status != 200:
                raise _refusal(response.status, _document(response.read(LINE_BYTES_MAX)))
            while line := response.readline(LINE_BYTES_MAX):
                document = _document(line)
                if "error" in document:
                    raise _refusal(response.status, document)
                yield document
                if "result" in document:
                    return
            raise ProtocolError(reason="the gateway hung up before the round had ended")
        except (OSError, http.client.HTTPException) as error:
            raise ProtocolError(reason=f"the connection broke: {error}") from error
        finally:
            connection.close()

    def _ask(
        self, method: str, target: str, body: bytes | None = None, *, answer_s: float = ANSWER_S
    ) -> Document:
        return self._in_session(lambda: self._ask_once(method, target, body, answer_s=answer_s))

    def _in_session(self, ask: Callable[[], Answered]) -> Answered:
        """Ask, and once more in a new session where that is what is missing."""
        try:
            return ask()
        except AdminRefused as refused:
            if self._kept is None or refused.said_title != SecondFactorNeeded.title():
                raise
            code = self._kept.code()
            if not code:
                raise
        self.begin_session(code)
        return ask()

    def _begin_if_needed(self) -> None:
        """Before what cannot be asked twice, such as a body that is made as it goes."""
        if self._kept is not None:
            self.whoami()

    def _begun(self, target: str, code: str) -> Document:
        body = json.dumps({"code": code}).encode("ascii")
        answer = self._ask_once("POST", target, body)
        token = str(answer.pop("token", ""))  # nobody prints it
        if self._kept is not None:
            self._kept.keep(token)
        return answer

    def _ask_once(
        self, method: str, target: str, body: bytes | None = None, *, answer_s: float = ANSWER_S
    ) -> Document:
        connection = self._place.connection(answer_s)
        try:
            response = self._send(connection, method, target, body)
            document = _document(response.read(ANSWER_BYTES_MAX))
        except (OSError, http.client.HTTPException) as error:
            raise ProtocolError(reason=f"the connection broke: {error}") from error
        finally:
            connection.close()
        if response.status != 200:
            raise _refusal(response.status, document)
        return document

    def _send(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        target: str,
        body: bytes | Iterator[bytes] | None = None,
    ) -> http.client.HTTPResponse:
        was_open = False
        try:
            token = "" if self._kept is None else self._kept.read()
            shown = {"Authorization": f"Bearer {token}"} if token else {}
            connection.connect()
            was_open = True
            connection.request(method, target, body, shown)
            return connection.getresponse()
        except (OSError, http.client.HTTPException) as error:
            known = self._place.meaning_of(error, was_open=was_open)
            if known is None:
                raise
            raise known from error


def _encoded(query: Mapping[str, str]) -> str:
    return urlencode(query, encoding="utf-8", errors="surrogateescape")


def _document(raw: bytes) -> Document:
    try:
        document = json.loads(raw)
    except ValueError as error:
        raise ProtocolError(reason="the gateway's answer is no JSON") from error
    if not isinstance(document, dict):
        raise ProtocolError(reason="the gateway's answer is no JSON object")
    return document


def _refusal(status: int, document: Document) -> AdminRefused:
    fields = document.get("fields")
    return AdminRefused(
        text=str(document.get("error") or "no reason given"),
        advice=str(document.get("hint") or ""),
        status=status,
        title=str(document.get("title") or ""),
        details=fields if isinstance(fields, dict) else None,
    )
