"""The token service: POST / with a form that says Action=AssumeRole, as clients ask STS; and who
one is, as they ask IAM.

Not for who gets a session (`objects.assuming`). The body is signed, and short, so it is read before
its signature can be looked at; nothing but its bytes depends on it until then.

Source: AWS STS API Reference, API version 2011-06-15, "Common Parameters", "Common Errors"; AWS IAM
API Reference, API version 2010-05-08, "GetUser".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from urllib.parse import parse_qsl

from gateway.model.errors import InvalidArgument, MalformedPolicy
from gateway.objects import assuming
from gateway.objects.access_request import ROOT_USER
from gateway.objects.assuming import EXTERNAL_ID_MAX, Issued, Wish
from gateway.objects.context import Context, Principal
from gateway.objects.web_identity import IdentityTokenExpired, IdentityTokenInvalid
from gateway.s3 import limits_on_requests, sigv4, xml
from gateway.s3.authentication import lookup
from gateway.s3.call import Call
from gateway.s3.errors import S3Error, s3_code_for
from gateway.s3.responses import Reply
from gateway.s3.sigv4 import RequestHead
from storaged.base.errors import Kind, StorageError

OPERATION = "SecurityTokenService"
WITH_TOKEN = "AssumeRoleWithWebIdentity"
IAM_ACTION = "GetUser"
VERSION = "2011-06-15"
IAM_VERSION = "2010-05-08"
SERVICES = {VERSION: "sts", IAM_VERSION: "iam"}  # what a form of a version is signed for
FORM_TYPE = "application/x-www-form-urlencoded"
BODY_BYTES_MAX = 32 * 1024
FIELDS_MAX = 64
XML_TYPE = "text/xml"

# Codes of S3 that the token service has other names for.
_CODES = {"InvalidAccessKeyId": "InvalidClientTokenId", "InvalidToken": "InvalidClientTokenId"}


class TokenRefused(StorageError):
    """The token service refuses.

    Attributes:
        code: as STS names it.
    """

    kind = Kind.INVALID

    def __init__(self, code: str, text: str, status: int = 400) -> None:
        self.code = code
        self.text = text
        self.status = status
        super().__init__(code=code)


def is_asked(headers: Mapping[str, str]) -> bool:
    """Whether POST / is for the token service."""
    return headers.get("content-type", "").lower().startswith(FORM_TYPE)


async def answer(
    call: Call,
    head: RequestHead,
    request_id: str,
    tell_signer: Callable[[Principal | None], None],
) -> Reply:
    """Answer, in the form of the token service also where it refuses.

    Args:
        call: without a principal yet.
        tell_signer: is told who asks.
    """
    ctx = call.context
    services = ctx.services
    try:
        body = await call.body.read_document(BODY_BYTES_MAX)
        form = _form(head.raw_query, body)
        if form.get("Action") == WITH_TOKEN and form["Version"] == VERSION:
            # What proves the holder of a token is the token.
            inside, session = _done_with_token(ctx, form, tell_signer)
            return _given(WITH_TOKEN, inside, request_id, session)
        service = SERVICES[form["Version"]]
        found: list[Principal] = []
        regions = (*call.regions, "") if service == "iam" else call.regions  # it has no regions
        await services.credentials.having_key(
            lambda: sigv4.authorize_body(
                head,
                body,
                service=service,
                now_ms=services.env.now_ms(),
                regions=regions,
                signing_key=lookup(head, services.credentials, found),
            )
        )
        _check_token(call.headers, principal := found[-1])
        tell_signer(principal)
        limits_on_requests.admit_caller(services, principal)
        ctx.principal = principal
        action, inside, issued = _done(ctx, principal, form)
        return _given(action, inside, request_id, issued)
    except TokenRefused as refused:
        return _refusal(refused.status, refused.code, refused.text, request_id)
    except IdentityTokenInvalid:
        text = "The web identity token that was passed could not be validated."
        return _refusal(400, "InvalidIdentityToken", text, request_id)
    except IdentityTokenExpired:
        text = "The web identity token that was passed is expired."
        return _refusal(400, "ExpiredTokenException", text, request_id)
    except MalformedPolicy as error:
        text = str(error.fields.get("message", ""))
        return _refusal(400, "MalformedPolicyDocument", text, request_id)
    except InvalidArgument as error:
        text = str(error.fields.get("message", ""))
        return _refusal(400, "ValidationError", text, request_id)
    except StorageError as error:
        told = s3_code_for(error)
        code = _CODES.get(told.code, told.code)
        reply = _refusal(told.status, code, told.message, request_id)
        reply.close_connection = told.close_connection
        return reply


def _check_token(headers: Mapping[str, str], principal: Principal) -> None:
    """A lasting key comes without a token, as everywhere. Raises: S3Error."""
    if principal.issued_at_ms is None and "x-amz-security-token" in headers:
        raise S3Error("InvalidToken")


def _form(raw_query: str, body: bytes) -> dict[str, str]:
    if raw_query:
        raise TokenRefused("InvalidParameterValue", "The parameters are in the body.")
    try:
        pairs = parse_qsl(
            body.decode("ascii"),
            keep_blank_values=True,
            strict_parsing=bool(body),
            errors="strict",
            max_num_fields=FIELDS_MAX,
        )
    except ValueError:
        raise TokenRefused("InvalidParameterValue", "The body is no form.") from None
    form = dict(pairs)
    if len(form) != len(pairs):
        raise TokenRefused("InvalidParameterValue", "A parameter occurs more than once.")
    if form.get("Version") not in SERVICES:
        raise TokenRefused("NoSuchVersion", f"The version is {VERSION}.")
    return form


def _done(
    ctx: Context, principal: Principal, form: Mapping[str, str]
) -> tuple[str, str, Issued | None]:
    """The action, what its result holds, and the session it has given out."""
    action = form.get("Action", "")
    if form["Version"] == IAM_VERSION:
        return _done_by_iam(principal, form)
    if action == "GetCallerIdentity":
        held = (
            xml.element("Arn", assuming.holder_arn(principal)),
            xml.element("UserId", principal.user_id or principal.owner_id),
            xml.element("Account", principal.owner_id),
        )
        return action, "".join(held), None
    if action == "GetSessionToken":
        _refuse_others(form, {"DurationSeconds"})
        issued = assuming.get_session(ctx, principal, _duration(form))
        return action, _credentials(issued), issued
    if action == "AssumeRole":
        known = {"DurationSeconds", "RoleArn", "RoleSessionName", "Policy", "ExternalId"}
        _refuse_others(form, known)
        issued = assuming.assume_role(ctx, principal, _wish(form))
        return action, _credentials(issued) + _assumed(issued), issued
    raise TokenRefused("InvalidAction", "The action is not one of this service.")


def _done_by_iam(principal: Principal, form: Mapping[str, str]) -> tuple[str, str, None]:
    """IAM is asked by tools that want to know whose key they hold; all else is the admin port's."""
    if form.get("Action") != IAM_ACTION:
        raise TokenRefused("InvalidAction", "Users, groups and roles are made by `hexagone user`.")
    if principal.role:
        raise TokenRefused("ValidationError", "Must specify userName when calling with a role.")
    name = form.get("UserName", principal.user)
    _refuse_others(form, {"UserName"})
    if name != principal.user:
        raise TokenRefused("AccessDenied", "One's own user only.", 403)
    held = (
        "" if name == ROOT_USER else xml.element("UserName", name),
        xml.element("Path", "/"),
        xml.element("UserId", principal.user_id or principal.owner_id),
        xml.element("Arn", assuming.holder_arn(principal)),
    )
    return IAM_ACTION, xml.group("User", "".join(held)), None


def _done_with_token(
    ctx: Context, form: Mapping[str, str], tell_signer: Callable[[Principal | None], None]
) -> tuple[str, Issued]:
    known = {"DurationSeconds", "RoleArn", "RoleSessionName", "Policy", "WebIdentityToken"}
    _refuse_others(form, known)
    token = _needed(form, "WebIdentityToken")
    issued, claims = assuming.assume_role_with_token(ctx, _wish(form), token)
    session = issued.session
    owner_id = ctx.services.identities.of_tenant(session.tenant).owner_id
    # Who has no key of his own is known by that of the session.
    tell_signer(
        Principal(
            tenant=session.tenant, access_key_id=session.access_key_id, owner_id=owner_id, user=""
        )
    )
    inside = (
        _credentials(issued)
        + _assumed(issued)
        + xml.element("SubjectFromWebIdentityToken", claims.subject)
        + xml.element("Audience", claims.audience)
        + xml.element("Provider", claims.issuer)
    )
    return inside, issued


def _wish(form: Mapping[str, str]) -> Wish:
    return Wish(
        role_arn=_needed(form, "RoleArn"),
        name=_needed(form, "RoleSessionName"),
        policy=form.get("Policy", ""),
        duration_s=_duration(form),
        external_id=form.get("ExternalId", "")[:EXTERNAL_ID_MAX],
    )


def _refuse_others(form: Mapping[str, str], known: set[str]) -> None:
    """What narrows a session, or asks for a proof, is not overlooked."""
    others = form.keys() - known - {"Action", "Version"}
    if others:
        raise TokenRefused("InvalidParameterValue", f"Not supported: {min(others)[:64]}")


def _needed(form: Mapping[str, str], name: str) -> str:
    value = form.get(name, "")
    if not value:
        raise TokenRefused("ValidationError", f"{name} is needed.")
    return value


def _duration(form: Mapping[str, str]) -> int | None:
    text = form.get("DurationSeconds")
    if text is None:
        return None
    if not (text.isascii() and text.isdigit()) or len(text) > 6:
        raise TokenRefused("ValidationError", "DurationSeconds is a number of seconds.")
    return int(text)


def _credentials(issued: Issued) -> str:
    session = issued.session
    return xml.group(
        "Credentials",
        xml.element("AccessKeyId", session.access_key_id),
        xml.element("SecretAccessKey", session.secret),
        xml.element("SessionToken", issued.token),
        xml.element("Expiration", xml.timestamp(session.expires_at_ms)),
    )


def _assumed(issued: Issued) -> str:
    return xml.group(
        "AssumedRoleUser",
        xml.element("AssumedRoleId", issued.holder_id),
        xml.element("Arn", issued.arn),
    )


def _document(action: str, inside: str, request_id: str) -> str:
    result = xml.group(f"{action}Result", inside)
    told = xml.group("ResponseMetadata", xml.element("RequestId", request_id))
    return f'<{action}Response xmlns="{_namespace(action)}">{result}{told}</{action}Response>'


def _namespace(action: str) -> str:
    version = IAM_VERSION if action == IAM_ACTION else VERSION
    return f"https://{SERVICES[version]}.amazonaws.com/doc/{version}/"


def _given(action: str, inside: str, request_id: str, issued: Issued | None) -> Reply:
    reply = _reply(200, _document(action, inside, request_id))
    if issued is not None:
        reply.issued = (("session", issued.session.access_key_id), ("as", issued.arn))
    return reply


def _refusal(status: int, code: str, text: str, request_id: str) -> Reply:
    error = xml.group(
        "Error",
        xml.element("Type", "Sender" if status < 500 else "Receiver"),
        xml.element("Code", code),
        xml.element("Message", text),
    )
    inside = error + xml.element("RequestId", request_id)
    reply = _reply(status, f'<ErrorResponse xmlns="{_namespace("")}">{inside}</ErrorResponse>')
    reply.code = code
    return reply


def unavailable(request_id: str) -> Reply:
    """A session that cannot be recorded is not given out."""
    text = "The journal cannot be written, and sessions have to be recorded."
    return _refusal(503, "ServiceUnavailable", text, request_id)


def _reply(status: int, document: str) -> Reply:
    return Reply(
        status=status,
        headers=[("Content-Type", XML_TYPE), ("Cache-Control", "no-store")],
        body=f"{xml.DECLARATION}{document}".encode(),
    )
