"""Identity providers of a tenant: whose tokens are taken, and for which audiences.

Not for tokens (`objects.web_identity`).
"""

from __future__ import annotations

from gateway.meta.identities import PROVIDERS, IdentityProvider, Stored
from gateway.meta.kv import Check
from gateway.model.identity_names import AUDIENCES_MAX, PROVIDERS_MAX, checked_name
from gateway.model.names import TenantId
from gateway.objects.context import Services
from gateway.objects.tenancy import IdentityExists, IdentityLimit, NoSuchIdentity, Step, change
from gateway.objects.web_identity import (
    ISSUER,
    JWKS_CHARACTERS_MAX,
    KeySetInvalid,
    public_keys,
)
from storaged.base.errors import Kind, StorageError

AUDIENCE_CHARACTERS_MAX = 255


class IdentityProviderInvalid(StorageError):
    """No tokens can be taken from such a provider."""

    kind = Kind.INVALID
    hint = "an issuer such as https://id.example.fr/realms/x, as tokens name it, and audiences"


def providers(services: Services, tenant: TenantId) -> list[IdentityProvider]:
    """Identity providers of a tenant, by name. Raises: RowCorrupt."""
    return [one.held for one in PROVIDERS.scan(services.log, services.records, tenant)]


def find_provider(services: Services, tenant: TenantId, name: str) -> Stored[IdentityProvider]:
    """An identity provider. Raises: NoSuchIdentity."""
    found = PROVIDERS.read(services.log, services.records, tenant, name)
    if found is None:
        raise NoSuchIdentity(identity_provider=name[:64])
    return found


async def put_provider(
    services: Services,
    tenant: TenantId,
    name: str,
    issuer: str,
    audiences: tuple[str, ...],
    jwks: str,
) -> IdentityProvider:
    """Take tokens of a provider, or set its audiences and keys.

    Raises: IdentityNameInvalid, IdentityProviderInvalid, KeySetInvalid, IdentityExists (another
        one has this issuer), IdentityLimit.
    """
    checked_name(name)
    if ISSUER.match(issuer) is None or not 1 <= len(audiences) <= AUDIENCES_MAX:
        raise IdentityProviderInvalid(issuer=issuer[:128])
    if not all(1 <= len(one) <= AUDIENCE_CHARACTERS_MAX for one in audiences):
        raise IdentityProviderInvalid(issuer=issuer)
    if len(jwks) > JWKS_CHARACTERS_MAX:
        raise KeySetInvalid()
    public_keys(jwks)
    log, records = services.log, services.records
    others = [one for one in providers(services, tenant) if one.name != name]
    if any(one.issuer == issuer for one in others):
        raise IdentityExists(issuer=issuer)
    if len(others) >= PROVIDERS_MAX:
        raise IdentityLimit(providers_max=PROVIDERS_MAX)
    provider = IdentityProvider(
        tenant=tenant,
        name=name,
        created_at_ms=services.env.now_ms(),
        issuer=issuer,
        audiences=audiences,
        jwks=jwks,
    )

    def decide() -> tuple[Step, IdentityProvider]:
        held = PROVIDERS.read(log, records, tenant, name)
        write = PROVIDERS.set(records, services.nonces, provider)
        check = Check(write.key, None if held is None else held.revision)
        return Step((check,), (write,)), provider

    return await change(services, decide)


async def delete_provider(services: Services, tenant: TenantId, name: str) -> IdentityProvider:
    """Take no more tokens of a provider; sessions got with them go on. Raises: NoSuchIdentity."""

    def decide() -> tuple[Step, IdentityProvider]:
        stored = find_provider(services, tenant, name)
        drop = PROVIDERS.drop(tenant, name)
        return Step((Check(drop.key, stored.revision),), (drop,)), stored.held

    return await change(services, decide)
