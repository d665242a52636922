"""A complete cluster on this machine: what `hexagone up` lays out in a folder, and starts.

Six nodes in three datacenters (names only: they are all here), 4+2. With `processes`, each node is
a `storaged` daemon of its own, reached over mutual TLS; else all are kept by the gateway's process.
For trying and testing, or for one machine whose owner knows that it is one machine.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

import tomli_w
from cryptography.hazmat.primitives.serialization import Encoding

from gateway.admin.socket_file import remove_stale
from gateway.config import GatewayConfig, UnsafeTestProfileConfig
from gateway.config_check import check_config
from gateway.config_keys import KeydPkcs11Config, KeysFrom
from gateway.data.attestation_key import create_cluster_keys
from gateway.data.root_key import ROOT_FILE, RootKey, RootKeyLost
from gateway.keyd.child import KeydFiles, lay_out_keyd
from storaged.base.config import effective_values, read_config
from storaged.base.durable import replace_file
from storaged.base.env import Env
from storaged.base.errors import ConfigError, Kind, StorageError
from storaged.base.ids import datacenter_id, node_id
from storaged.endpoint_certificate import issue_server
from storaged.identity import (
    create_authority,
    issue_gateway,
    issue_node,
    read_authority,
    write_authority,
    write_issued,
)
from storaged.node import NodeIdentity

SITES = ("paris", "lyon", "marseille")
NODES_PER_SITE = 2
# The unsafe test profile has room for a storage class of a wider geometry.
PROFILE_NODES_PER_SITE = 4
PROFILE_CLASSES = ({"name": "GLACIER_IR", "data_shards": 8, "parity_shards": 4},)
DOMAIN = "hexagone.internal"
AUTHORITY = "authority"  # folder of the internal CA, among the keys
# `<bucket>.s3.localhost` is virtual-host style; one label more than a wildcard on `localhost`,
# which OpenSSL refuses.
BASE_DOMAIN = "s3.localhost"
WEBSITE_DOMAIN = "s3-website.localhost"
NODE_PORT_OFFSET = 100  # nodes of `--processes` listen on the S3 port + 100 + number
CAPACITY_BYTES_MIN = 256 << 20  # the least that a node takes
READY_S = 60.0
STOP_S = 20.0
SOCKET_PATH_BYTES_MAX = 107  # `sun_path` of unix(7), without the NUL


class NodeDidNotStart(StorageError):
    """A storaged process did not become ready."""

    kind = Kind.UNAVAILABLE
    hint = "NODE.log in the folder of the cluster says why"


@dataclass(frozen=True, slots=True, kw_only=True)
class UpOptions:
    """What `hexagone up` was asked for.

    Args:
        unsafe_test_profile: TOML file with the values of that section.
        region: what clients sign for.
        keys: who keeps the keys of tenants; `file`: the gateway's own process.
        hsm: TOML file with the section `[pkcs11]` of keyd.toml.
    """

    folder: Path
    port: int
    processes: bool
    tls: bool
    unsafe_test_profile: Path | None = None
    region: str = "fr"
    keys: KeysFrom = KeysFrom.FILE
    hsm: Path | None = None

    @property
    def nodes_per_site(self) -> int:
        return NODES_PER_SITE if self.unsafe_test_profile is None else PROFILE_NODES_PER_SITE


@dataclass(frozen=True, slots=True)
class Laid:
    """Where things are in the folder."""

    folder: Path

    @property
    def config(self) -> Path:
        return self.folder / "gateway.toml"

    @property
    def keys(self) -> Path:
        return self.folder / "keys"

    @property
    def keyd(self) -> KeydFiles:
        return KeydFiles(self.folder)

    @property
    def certificates(self) -> Path:
        return self.folder / "tls"

    @property
    def socket(self) -> Path:
        return self.folder / "admin.sock"

    @property
    def aws_env(self) -> Path:
        return self.folder / "aws.env"

    @property
    def authority(self) -> Path:
        return self.certificates / "authority.pem"

    @property
    def spool(self) -> Path:
        """What asks the CA to be renewed."""
        return self.certificates / "spool"

    def node(self, name: str) -> Path:
        return self.folder / "nodes" / name


def node_identities(per_site: int = NODES_PER_SITE) -> list[NodeIdentity]:
    """The nodes in the order of their numbers, from 1."""
    return [
        NodeIdentity(node=node_id(f"{site}-{at}"), datacenter=datacenter_id(site), country="fr")
        for at in range(1, per_site + 1)
        for site in SITES
    ]


def lay_out(options: UpOptions, env: Env) -> GatewayConfig:
    """Make what is missing in the folder, and read its configuration.

    Idempotent: keys, certificates and data that are there stay; `gateway.toml` follows the options.

    Raises: ConfigError; AdminSocketTaken: a cluster runs in the folder, and nothing was changed.
    """
    laid = Laid(options.folder.absolute())
    if len(os.fsencode(laid.socket)) > SOCKET_PATH_BYTES_MAX:
        raise ConfigError(key="--data", reason="too long a path for its sockets", path=laid.folder)
    remove_stale(laid.socket)  # before the files of a cluster that runs are written anew
    laid.folder.mkdir(parents=True, exist_ok=True)
    os.chmod(laid.folder, 0o700)
    if not (laid.keys / ROOT_FILE).exists():
        if laid.config.exists():
            raise RootKeyLost(path=laid.keys / ROOT_FILE)
        create_cluster_keys(laid.keys, env)
    _keys_from(laid, options, env)
    if options.processes or options.tls:
        _certificates(laid, options, env)
    settings = _settings(laid, options)
    replace_file(laid.config, tomli_w.dumps(settings).encode())
    config = read_config(GatewayConfig, laid.config)
    check_config(config)
    return config


def _keys_from(laid: Laid, options: UpOptions, env: Env) -> None:
    """Raises: ConfigError: the key service has taken the keys over, and nothing gives them back."""
    if options.keys is KeysFrom.KEYD:
        cluster_id = RootKey.load(laid.keys).cluster_id
        unsafe_sigv2 = options.unsafe_test_profile is not None
        hsm = None if options.hsm is None else read_config(KeydPkcs11Config, options.hsm)
        lay_out_keyd(laid.keyd, laid.keys, cluster_id, env, unsafe_sigv2=unsafe_sigv2, hsm=hsm)
    elif laid.keyd.folder.exists():
        raise ConfigError(
            key="keys", reason="the key service keeps this cluster's", path=laid.keyd.folder
        )


def _certificates(laid: Laid, options: UpOptions, env: Env) -> None:
    try:
        authority = read_authority(laid.keys / AUTHORITY)
    except (StorageError, OSError):
        authority = create_authority(DOMAIN, env)
        write_authority(authority, laid.keys / AUTHORITY)
    tls = laid.certificates
    tls.mkdir(exist_ok=True)
    replace_file(
        tls / "authority.pem", authority.certificate.public_bytes(Encoding.PEM), mode=0o644
    )
    if options.tls:
        hosts = (BASE_DOMAIN, f"*.{BASE_DOMAIN}", WEBSITE_DOMAIN, f"*.{WEBSITE_DOMAIN}")
        names = ("localhost", *hosts, "127.0.0.1", "::1")
        write_issued(issue_server(authority, names, env), tls / "s3.pem", tls / "s3.key")
    if options.processes:
        issued = issue_gateway(authority, "gateway-1", env)
        write_issued(issued, tls / "gateway.pem", tls / "gateway.key")
        identities = node_identities(options.nodes_per_site)
        capacity_bytes = _part_of_the_drive(laid.folder, len(identities))
        for number, identity in enumerate(identities, start=1):
            issued = issue_node(authority, identity, env)
            write_issued(issued, tls / f"{identity.node}.pem", tls / f"{identity.node}.key")
            node = {
                "data_directory": str(laid.node(identity.node)),
                "capacity_bytes": capacity_bytes,
                "listen": {"host": "127.0.0.1", "port": _node_port(options, number)},
                "tls": {
                    "certificate": str(tls / f"{identity.node}.pem"),
                    "key": str(tls / f"{identity.node}.key"),
                    "authority": str(tls / "authority.pem"),
                    "renewal": _renewal(laid, identity.node),
                },
            }
            replace_file(_node_config(laid, identity), tomli_w.dumps(node).encode())


def _part_of_the_drive(folder: Path, nodes: int) -> int:
    """What each of the nodes that share a drive may store: so `free` means something."""
    return max(CAPACITY_BYTES_MIN, shutil.disk_usage(folder).total * 95 // 100 // nodes)


def _renewal(laid: Laid, name: str) -> dict[str, str]:
    """Where a certificate is renewed."""
    return {"folder": str(laid.certificates / "renewed" / name), "spool": str(laid.spool)}


def _node_port(options: UpOptions, number: int) -> int:
    return options.port + NODE_PORT_OFFSET + number


def _node_config(laid: Laid, identity: NodeIdentity) -> Path:
    return laid.folder / f"{identity.node}.toml"


def _settings(laid: Laid, options: UpOptions) -> dict[str, object]:
    nodes = []
    for number, identity in enumerate(node_identities(options.nodes_per_site), start=1):
        node: dict[str, object] = {
            "number": number,
            "id": identity.node,
            "datacenter": identity.datacenter,
            "country": identity.country,
        }
        if options.processes:
            node["address"] = _address_of(options, number)
        else:
            node["directory"] = str(laid.node(identity.node))
        nodes.append(node)
    cluster: dict[str, object] = {"name": "hexagone", "region": options.region, "nodes": nodes}
    s3: dict[str, object] = {
        "host": "127.0.0.1",
        "port": options.port,
        "base_domains": [BASE_DOMAIN],
        "website_domains": [WEBSITE_DOMAIN],
    }
    settings: dict[str, object] = {
        "cluster": cluster,
        "storage": {"index": str(laid.folder / "index"), "keys": str(laid.keys)},
        "admin": {"socket": str(laid.socket)},
        "keys": _keys_section(laid, options),
        "journal": {"folder": str(laid.folder / "journal")},
        "s3": s3,
        "metrics": {"host": "127.0.0.1", "port": options.port + 1},
    }
    tls = laid.certificates
    if options.tls:
        s3 |= {"certificate": str(tls / "s3.pem"), "key": str(tls / "s3.key")}
    if options.processes:
        settings["node_tls"] = {
            "certificate": str(tls / "gateway.pem"),
            "key": str(tls / "gateway.key"),
            "authority": str(tls / "authority.pem"),
            "domain": DOMAIN,
            "renewal": _renewal(laid, "gateway"),
        }
    if options.unsafe_test_profile is not None:
        profile = read_config(UnsafeTestProfileConfig, options.unsafe_test_profile)
        chosen = effective_values(profile)
        cluster["storage_classes"] = list(PROFILE_CLASSES)
        settings["unsafe_test_profile"] = {k: v for k, v in chosen.items() if v is not None}
    return settings


def _keys_section(laid: Laid, options: UpOptions) -> dict[str, object]:
    if options.keys is KeysFrom.FILE:
        return {"provider": "file"}
    return {"provider": "keyd", "socket": str(laid.keyd.socket)}


def _address_of(options: UpOptions, number: int) -> str:
    """Where the gateway reaches a node; HEXAGONE_NODE_PORT_SHIFT puts a proxy in between."""
    shift = int(os.environ.get("HEXAGONE_NODE_PORT_SHIFT", "0"))
    return f"127.0.0.1:{_node_port(options, number) + shift}"


class NodeProcesses:
    """The `storaged` processes of `--processes`: started, watched, stopped with the cluster."""

    def __init__(self, folder: Path, nodes_per_site: int = NODES_PER_SITE) -> None:
        self._laid = Laid(folder.absolute())
        self._nodes_per_site = nodes_per_site
        self._processes: dict[str, asyncio.subprocess.Process] = {}

    async def start(self) -> None:
        """Start all nodes. Raises: NodeDidNotStart: none runs."""
        starts = [self._start(identity) for identity in node_identities(self._nodes_per_site)]
        for failure in await asyncio.gather(*starts, return_exceptions=True):
            if failure is not None:
                await self.stop()
                raise failure
        pids = "".join(
            f"{name} {process.pid}\n" for name, process in sorted(self._processes.items())
        )
        replace_file(self._laid.folder / "nodes.pid", pids.encode())

    async def _start(self, identity: NodeIdentity) -> None:
        log = (self._laid.folder / f"{identity.node}.log").open("ab")
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "storaged.main",
            "run",
            "--config",
            str(_node_config(self._laid, identity)),
            stdout=asyncio.subprocess.PIPE,
            stderr=log,
            start_new_session=True,
        )
        log.close()
        self._processes[identity.node] = process
        assert process.stdout is not None
        try:
            async with asyncio.timeout(READY_S):
                while True:
                    line = await process.stdout.readline()
                    if not line:
                        raise NodeDidNotStart(node=identity.node)
                    if b"ready" in line:
                        return
        except TimeoutError as error:
            raise NodeDidNotStart(node=identity.node, after_s=READY_S) from error

    async def stop(self) -> None:
        """SIGTERM, then SIGKILL for those that do not end."""
        running = [p for p in self._processes.values() if p.returncode is None]
        for process in running:
            process.send_signal(signal.SIGTERM)
        for process in running:
            try:
                await asyncio.wait_for(process.wait(), STOP_S)
            except TimeoutError:
                process.kill()
                await process.wait()
