"""Who asks: the one place that chooses between the ways in which a head may prove that.

Not for the signatures themselves (`sigv4`, `sigv2`), nor for forms, which prove themselves by their
fields (`post_form_auth`).

Source: AWS, "Authenticating Requests", S3 API Reference.
"""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import unquote

from gateway.objects.context import Principal, Services
from gateway.objects.credentials import Credentials, SigningKeyWanted
from gateway.objects.sessions import SESSION_PREFIX, SessionExpired, SessionTokenInvalid
from gateway.s3 import routes, sigv2, sigv4
from gateway.s3.errors import S3Error
from gateway.s3.frontend_config import FrontendConfig
from gateway.s3.sigv4 import Authorized, RequestHead, SigningKeyLookup

__all__ = ["SESSION_TOKEN", "SigningKeyWanted", "identify", "identify_after", "lookup"]

SESSION_TOKEN = "x-amz-security-token"


def identify(
    head: RequestHead, host: str, services: Services, config: FrontendConfig, now_ms: int
) -> tuple[Authorized, Principal | None]:
    """Who sent a request; its signature holds. None: nobody has signed it.

    Raises:
        S3Error: as `sigv4.authorize` and `sigv2.identify`.
    """
    if head.method == "OPTIONS":
        # The query of a preflight is that of the presigned request to come, signed as such.
        return sigv4.unsigned(head), None
    if services.sigv2 and sigv2.is_claimed(head):
        bucket = routes.bucket_of_host(host, config.base_domains)
        known = sigv2.identify(head, services.credentials, now_ms=now_ms, host_bucket=bucket)
        if known[1] is not None:
            services.credentials.note_use(known[1])
        return known
    return _identify_v4(head, services.credentials, now_ms=now_ms, regions=config.regions)


async def identify_after(
    wanted: SigningKeyWanted,
    head: RequestHead,
    host: str,
    services: Services,
    config: FrontendConfig,
    now_ms: int,
) -> tuple[Authorized, Principal | None]:
    """As identify, once the signing key is fetched that it wanted. Raises, too: as `fetch`."""
    await services.credentials.fetch(wanted)
    return identify(head, host, services, config, now_ms)


def _identify_v4(
    head: RequestHead, credentials: Credentials, *, now_ms: int, regions: Sequence[str]
) -> tuple[Authorized, Principal | None]:
    """Who sent a request; its signature holds. None: nobody has signed it.

    Raises:
        S3Error: as `sigv4.authorize`.
    """
    found: list[Principal] = []
    authorized = sigv4.authorize(
        head, now_ms=now_ms, regions=regions, signing_key=lookup(head, credentials, found)
    )
    if authorized is None or not found:
        return sigv4.unsigned(head), None
    principal = found[-1]
    if principal.issued_at_ms is None:
        credentials.uses[principal.access_key_id] = now_ms
    return authorized, principal


def lookup(head: RequestHead, credentials: Credentials, found: list[Principal]) -> SigningKeyLookup:
    """Looks up signing keys for one request, those of sessions too; `found` learns whose they are.

    What it gives raises S3Error: InvalidToken, ExpiredToken.
    """

    def signing_key(access_key_id: str, date: str, region: str, service: str) -> bytes | None:
        known = credentials.signing_key(access_key_id, date, region, service)
        if known is None:
            if not access_key_id.startswith(SESSION_PREFIX):
                return None
            try:
                token = _session_token(head)
                known = credentials.session_key(access_key_id, token, date, region, service)
            except SessionTokenInvalid:
                raise S3Error("InvalidToken") from None
            except SessionExpired:
                raise S3Error("ExpiredToken") from None
            if known is None:
                return None
        found.append(known[0])
        return known[1]

    return signing_key


def _session_token(head: RequestHead) -> str:
    """The token that comes with the credentials of a session. Raises: SessionTokenInvalid."""
    tokens = [value.strip() for name, value in head.headers if name == SESSION_TOKEN]
    for item in head.raw_query.split("&"):
        name, _, value = item.partition("=")
        if unquote(name).lower() == SESSION_TOKEN:
            tokens.append(unquote(value))
    if len(tokens) != 1:
        raise SessionTokenInvalid()
    return tokens[0]
