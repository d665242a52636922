"""The section [admin] of a gateway: the socket, and where administrators with a name come in.

Not for what they may do (`gateway.admin.routes`). `gateway.config_check` asks `check_admin`.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated

from gateway.model.administrators import LocalRights
from gateway.model.second_factor import SecondFactorRule
from storaged.base.config import Bounds, SecretPath
from storaged.base.errors import ConfigError

Network = IPv4Network | IPv6Network
LOOPBACK = ("127.", "localhost", "::1")


@dataclass(frozen=True, slots=True, kw_only=True)
class AdminConfig:
    """The Unix socket that the CLI talks to, whose mode is 0600, and a listener over TLS beside it.

    Args:
        local: what the socket is good for.
        break_glass_until: until when it is good for everything all the same, a time such as
            2026-11-23T12:00:00Z, 24 hours from a start at most; "": that is not so.
        port: None: there is no listener. 0: one of the kernel's choice.
        certificate, key: what the listener shows.
        authority: the admin CA, whose certificates alone are let in.
        beyond_loopback: listen on an address that other machines reach.
        second_factor: whether administrators with a name need one.
        sources: networks that administrators come from, such as 10.1.0.0/16; none: from anywhere.
    """

    socket: Path
    local: LocalRights = LocalRights.BOOTSTRAP
    break_glass_until: str = ""
    host: str = "127.0.0.1"
    port: Annotated[int, Bounds(0, 65535)] | None = None
    certificate: Path | None = None
    key: SecretPath | None = None
    authority: Path | None = None
    beyond_loopback: bool = False
    sources: tuple[str, ...] = ()
    second_factor: SecondFactorRule = SecondFactorRule.OPTIONAL

    @property
    def networks(self) -> tuple[Network, ...]:
        """`sources`, read. Raises: ConfigError."""
        return tuple(_network(source) for source in self.sources)


def _network(source: str) -> Network:
    try:
        return ip_network(source)
    except ValueError as error:
        reason = "a network is an address and a length, with nothing behind: 10.1.0.0/16"
        raise ConfigError(key="admin.sources", reason=reason, source=source[:64]) from error


def check_admin(
    admin: AdminConfig, taken: dict[str, tuple[str, int]], authorities: dict[str, Path]
) -> None:
    """Rules of the section that no single field can state. Raises: ConfigError.

    Args:
        taken: addresses of the other listeners, by the section that names them.
        authorities: CAs of other planes, by the key that names them.
    """
    given = (admin.certificate, admin.key, admin.authority)
    if admin.networks and admin.port is None:
        raise ConfigError(key="admin.sources", reason="they are for a listener: admin.port")
    if admin.port is None:
        if admin.second_factor is SecondFactorRule.REQUIRED:
            raise ConfigError(key="admin.second_factor", reason="it is for a listener: admin.port")
        if any(one is not None for one in given):
            raise ConfigError(
                key="admin.port",
                reason="missing: certificate, key and authority are for a listener",
            )
        return
    if any(one is None for one in given):
        raise ConfigError(
            key="admin.certificate", reason="a listener needs certificate, key and authority"
        )
    if not admin.host.startswith(LOOPBACK) and not admin.beyond_loopback:
        raise ConfigError(
            key="admin.host",
            reason="listening beyond loopback needs beyond_loopback = true, on a network of "
            "administrators' own",
        )
    for section, address in taken.items():
        if admin.port and address == (admin.host, admin.port):
            raise ConfigError(key="admin.port", reason=f"{section} listens there")
    for key, path in authorities.items():
        if admin.authority is not None and path.absolute() == admin.authority.absolute():
            raise ConfigError(
                key="admin.authority", reason=f"the admin CA is one of its own, not that of {key}"
            )
