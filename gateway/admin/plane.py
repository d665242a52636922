"""What the admin port of a gateway is made of, from its configuration: accounts, gate, listener.

Not for what it answers. Called by the composition root.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from aiohttp import web

from gateway.admin.administrators_api import administrator_routes
from gateway.admin.gate import Gate
from gateway.admin.listener import AdminListener, admin_server_context, check_own_authority
from gateway.admin.local_root import LocalRoot, break_glass_ms
from gateway.admin.second_factor_api import second_factor_routes
from gateway.admin.second_factors import SecondFactors
from gateway.config_admin import AdminConfig
from gateway.objects.administrators import Administrators
from gateway.objects.context import Services


class AdminPlane(NamedTuple):
    """Parts for `gateway.admin.api.AdminServer`; `listener` None: there is only the socket."""

    gate: Gate
    listener: AdminListener | None
    routes: list[web.RouteDef]


def admin_plane(
    config: AdminConfig, services: Services, other_authorities: list[Path], cluster: str = ""
) -> AdminPlane:
    """The parts. Raises: AdminListenerUnusable, ConfigError.

    Args:
        other_authorities: files of CAs whose certificates are no use here, ever.
        cluster: name of the cluster, as an authenticator shows it beside a code.
    """
    held = Administrators(services)
    until_ms = break_glass_ms(config.break_glass_until)
    local_root = LocalRoot(services.env, held, config.local, until_ms)
    issuer = f"Hexagone-{cluster}" if cluster else "Hexagone"
    factors = SecondFactors(services.env, held, config.second_factor, issuer)
    gate = Gate(
        services.env,
        administrators=held,
        local_root=local_root,
        second_factors=factors,
        journal=services.journal,
        sources=config.networks,
    )
    listener = None
    if config.port is not None:
        assert config.certificate is not None and config.key is not None
        assert config.authority is not None
        check_own_authority(config.authority, other_authorities)
        context = admin_server_context(config.certificate, config.key, config.authority)
        listener = AdminListener(config.host, config.port, context)
    routes = [*administrator_routes(held, gate, factors), *second_factor_routes(held, factors)]
    return AdminPlane(gate, listener, routes)
