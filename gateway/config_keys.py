"""Where a gateway's keys of tenants are, and what the key service is told.

A gateway has a section `[keys]`. The key service reads a file of its own, `keyd.toml`: it shares
nothing with gateways but the socket, least of all a folder.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated

from gateway.config_tls import RenewalConfig
from storaged.base.config import Bounds, SecretPath
from storaged.base.log import LogFormat

# A first read of 278 objects a second, of one tenant, for an hour.
OPENS_PER_HOUR_WARN = 1_000_000
PER_HOUR_MAX = 10**12


class KeysFrom(StrEnum):
    """Who keeps the keys of tenants for a gateway."""

    FILE = "file"  # this very process, sealed under the root key: simulations, tests
    KEYD = "keyd"  # the key service


class KeydProvider(StrEnum):
    """What the key service keeps them in."""

    FILE = "file"
    PKCS11 = "pkcs11"


@dataclass(frozen=True, slots=True, kw_only=True)
class KeysConfig:
    """Section `[keys]` of a gateway.

    Args:
        socket: Unix socket of the key service on this machine.
        address: host:port of one elsewhere; mutual TLS with the certificate of `[node_tls]`.
        service: URI name in the certificate of that one, as `hexagone ca issue-node` prints it.
        deadline_ms: after which a call has failed.
        cache_s: how long what was handed out is used.
    """

    provider: KeysFrom = KeysFrom.FILE
    socket: Path | None = None
    address: str | None = None
    service: str | None = None
    deadline_ms: Annotated[int, Bounds(10, 60_000)] = 1000
    cache_s: Annotated[int, Bounds(1, 3600)] = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class KeydListenConfig:
    """Where gateways of other machines reach the key service: mutual TLS 1.3.

    Args:
        gateways: names of the gateways whose certificates are taken.
        renewal: how the certificate is renewed by itself; None: by hand.
    """

    host: str
    port: Annotated[int, Bounds(0, 65535)]
    certificate: Path
    key: SecretPath
    authority: Path
    domain: str = "hexagone.internal"
    gateways: tuple[str, ...] = ("hexagone",)
    renewal: RenewalConfig | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class KeydPkcs11Config:
    """An HSM behind a PKCS#11 module.

    Args:
        module: the vendor's library.
        token: label of the token; exactly one token has it.
        pin_file: one line, the PIN of the token's user.
        deadline_ms: of wrapping and unwrapping; what makes or erases keys has ten times as long.
    """

    module: Path
    token: str
    pin_file: SecretPath
    deadline_ms: Annotated[int, Bounds(10, 60_000)] = 800


@dataclass(frozen=True, slots=True, kw_only=True)
class KeydBudgetsConfig:
    """How many secrets are opened and resealed in an hour; 0: no limit.

    Args:
        opens_per_hour_warn: above it, for one tenant, the log and metrics warn. Reading an object
            for the first time since a gateway's start opens one; 0: never.
        opens_per_hour_max, reseals_per_hour_max: for one tenant. A rotation reseals some 30,000 a
            second.
        gateway_opens_per_hour_max, gateway_reseals_per_hour_max: for one gateway, all its tenants
            together.
    """

    opens_per_hour_warn: Annotated[int, Bounds(0, PER_HOUR_MAX)] = OPENS_PER_HOUR_WARN
    opens_per_hour_max: Annotated[int, Bounds(0, PER_HOUR_MAX)] = 0
    reseals_per_hour_max: Annotated[int, Bounds(0, PER_HOUR_MAX)] = 0
    gateway_opens_per_hour_max: Annotated[int, Bounds(0, PER_HOUR_MAX)] = 0
    gateway_reseals_per_hour_max: Annotated[int, Bounds(0, PER_HOUR_MAX)] = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class KeydMetricsConfig:
    """Where /metrics, /healthz and /readyz of the key service are answered, over plain HTTP."""

    host: str = "127.0.0.1"
    port: Annotated[int, Bounds(0, 65535)] = 7402


@dataclass(frozen=True, slots=True, kw_only=True)
class KeydLogConfig:
    """Form of the log on standard error."""

    format: LogFormat = LogFormat.AUTO


@dataclass(frozen=True, slots=True, kw_only=True)
class KeydConfig:
    """`keyd.toml`, all that the key service is told.

    Args:
        folder: its own, which no gateway can read: its secret, and the sealed keys.
        cluster_id: 32 hexadecimal digits; `hexagone keyd cluster-id` prints a gateway's.
        socket: where gateways of this machine reach it; mode 0600, or 0660 with `group`.
        group: who may reach it beside its own user.
        users: names of the users whose processes may call; none: its own user only.
        passphrase: file with the passphrase that its secret is sealed under.
        from_file: with provider pkcs11: keys that are in a sealed file are on their way into the
            token; `hexagone keys move`.
        former_keys: the folder of a gateway whose tenant keys it takes over at its first start.
        cache_s: how long a bucket's key stays open.
        budgets: what one tenant or gateway may have opened and resealed in an hour.
        metrics: where its own metrics are answered; None: nowhere.
        unsafe_sigv2: signatures of version 2 are computed, for the unsafe test profile.
    """

    folder: Path
    cluster_id: str
    socket: Path | None = None
    group: str | None = None
    users: tuple[str, ...] = ()
    provider: KeydProvider = KeydProvider.FILE
    passphrase: SecretPath | None = None
    former_keys: Path | None = None
    from_file: bool = False
    cache_s: Annotated[int, Bounds(1, 3600)] = 300
    listen: KeydListenConfig | None = None
    pkcs11: KeydPkcs11Config | None = None
    budgets: KeydBudgetsConfig = KeydBudgetsConfig()
    metrics: KeydMetricsConfig | None = None
    unsafe_sigv2: bool = False
    log: KeydLogConfig = KeydLogConfig()
