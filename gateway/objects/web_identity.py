"""Tokens of identity providers (OpenID Connect): who the holder is, by the provider's signature.

Not for what the holder may become (`objects.assuming`). The public keys of a provider are what an
operator has given; nothing is fetched, so no token can make the gateway ask anybody. The algorithm
is that of the key, never what a token says of itself.

Source: RFC 7515, RFC 7517, RFC 7519, RFC 8725 ("JSON Web Token Best Current Practices"); OpenID
Connect Core 1.0 §2.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import jwt
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from gateway.meta.identities import PROVIDERS, IdentityProvider
from gateway.model.names import TenantId
from gateway.model.policy_patterns import key_name
from gateway.objects.access_request import Values
from gateway.objects.context import Services
from storaged.base.errors import Kind, StorageError

TOKEN_CHARACTERS_MAX = 20_000
JWKS_CHARACTERS_MAX = 32 * 1024
KEYS_MAX = 32  # of a provider
RSA_BITS_MIN, RSA_BITS_MAX = 2048, 8192
SKEW_S = 60  # how far the provider's clock may be ahead
KEYS_CACHED_MAX = 128
VALUES_MAX = 64  # of a claim
ISSUER = re.compile(r"https://([A-Za-z0-9.-]{1,253}(?::[0-9]{1,5})?(?:/[A-Za-z0-9/._-]{1,200})?)\Z")

# Claims that a policy of trust may ask for, as <issuer without https://>:<claim>.
_CLAIMS = ("amr", "aud", "azp", "email", "groups", "roles", "sub")
# Times are looked at here: the clock is the gateway's own.
_UNTIMED = {"verify_exp": False, "verify_iat": False, "verify_nbf": False}
_UNPROVED: Any = {"verify_signature": False, **_UNTIMED}
_PROVED: Any = {"require": ["aud", "exp", "iat", "iss", "sub"], **_UNTIMED}

PublicKey = RSAPublicKey | EllipticCurvePublicKey


class IdentityTokenInvalid(StorageError):
    """The token proves nothing here."""

    kind = Kind.INVALID


class IdentityTokenExpired(StorageError):
    """The token has been good."""

    kind = Kind.INVALID


class KeySetInvalid(StorageError):
    """These are no public keys of an identity provider."""

    kind = Kind.INVALID
    hint = "a JWKS of RSA keys of 2048 bits or more, and EC keys of P-256, each with a kid"


class Claims(NamedTuple):
    """What a token says that has been verified.

    Args:
        host: the issuer without https://.
        values: of condition keys.
    """

    issuer: str
    host: str
    subject: str
    audience: str
    values: Mapping[str, Values]


class _Key(NamedTuple):
    algorithm: str
    public: PublicKey


def verified(services: Services, tenant: TenantId, token: str) -> Claims:
    """What a token says, if a provider of the tenant has signed it for one of its audiences.

    Raises: IdentityTokenInvalid, IdentityTokenExpired.
    """
    if len(token) > TOKEN_CHARACTERS_MAX or not token.isascii():
        raise IdentityTokenInvalid()
    try:
        header = jwt.get_unverified_header(token)
        unproved = jwt.decode(token, options=_UNPROVED)
    except (jwt.PyJWTError, ValueError, RecursionError) as error:
        raise IdentityTokenInvalid() from error
    issuer, kid = unproved.get("iss"), header.get("kid")
    if not isinstance(issuer, str) or not isinstance(kid, str) or "crit" in header:
        raise IdentityTokenInvalid()
    for stored in PROVIDERS.scan(services.log, services.records, tenant):
        if stored.held.issuer == issuer:
            key = public_keys(stored.held.jwks).get(kid)
            if key is not None and header.get("alg") == key.algorithm:
                now_s = services.env.now_ms() / 1000
                return _checked(stored.held, key, token, now_s)
    raise IdentityTokenInvalid()


def _checked(provider: IdentityProvider, key: _Key, token: str, now_s: float) -> Claims:
    try:
        held = jwt.decode(
            token,
            key.public,
            algorithms=[key.algorithm],
            audience=list(provider.audiences),
            issuer=provider.issuer,
            options=_PROVED,
        )
    except (jwt.PyJWTError, ValueError, TypeError) as error:
        raise IdentityTokenInvalid() from error
    _check_times(held, now_s)
    subject = held["sub"]
    if not isinstance(subject, str) or not 1 <= len(subject) <= 255:
        raise IdentityTokenInvalid()
    host = provider.issuer.removeprefix("https://")
    audiences = _texts(held["aud"]) or ()
    audience = next((one for one in audiences if one in provider.audiences), None)
    if audience is None:
        raise IdentityTokenInvalid()  # behind more others than are looked at
    values = {key_name(f"{host}:{name}"): _texts(held.get(name)) for name in _CLAIMS}
    return Claims(provider.issuer, host, subject, audience, values)


def _check_times(held: Mapping[str, Any], now_s: float) -> None:
    times = [held["exp"], held["iat"], held.get("nbf", 0)]
    if not all(isinstance(one, (int, float)) and not isinstance(one, bool) for one in times):
        raise IdentityTokenInvalid()
    expires_s, issued_s, begins_s = times
    if not (issued_s <= now_s + SKEW_S and begins_s <= now_s + SKEW_S):
        raise IdentityTokenInvalid()
    if not now_s < expires_s:
        raise IdentityTokenExpired()


def _texts(claim: object) -> tuple[str, ...] | None:
    listed: Sequence[object] = claim if isinstance(claim, list) else [claim]
    texts = tuple(one for one in listed[:VALUES_MAX] if isinstance(one, str))
    return texts or None


@lru_cache(maxsize=KEYS_CACHED_MAX)
def public_keys(jwks: str) -> Mapping[str, _Key]:
    """Public keys by their kid, with the algorithm of each. Raises: KeySetInvalid."""
    try:
        listed = json.loads(jwks)["keys"]
        if not isinstance(listed, list) or not 1 <= len(listed) <= KEYS_MAX:
            raise KeySetInvalid()
        found = dict(_key_of(one) for one in listed if one.get("use", "sig") == "sig")
    except (jwt.PyJWTError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise KeySetInvalid() from error
    if not found:
        raise KeySetInvalid()
    return found


def _key_of(raw: dict[str, Any]) -> tuple[str, _Key]:
    kid, kind = raw["kid"], raw["kty"]
    algorithm = {"RSA": "RS256", "EC": "ES256"}.get(kind)
    if not isinstance(kid, str) or not kid or algorithm is None or "d" in raw:
        raise KeySetInvalid()  # a private key has no business here
    if raw.get("alg", algorithm) != algorithm:
        raise KeySetInvalid()
    public = jwt.PyJWK(raw, algorithm).key
    if isinstance(public, RSAPublicKey):
        if not RSA_BITS_MIN <= public.key_size <= RSA_BITS_MAX:
            raise KeySetInvalid()
        return kid, _Key(algorithm, public)
    if isinstance(public, EllipticCurvePublicKey) and isinstance(public.curve, SECP256R1):
        return kid, _Key(algorithm, public)
    raise KeySetInvalid()
