"""A cluster changes its CA: nodes and gateways trust two for a while, over real TLS on loopback,
and nothing restarts until the former one is withdrawn.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography import x509
from typer.testing import CliRunner

from gateway.main import app
from storaged.base.env import RealEnv
from storaged.enrolment import read_register
from storaged.identity import issue_gateway, issue_node, read_authority, write_issued
from storaged.memory import MemoryNode
from storaged.node import NodeUnavailable
from storaged.remote import RemoteNode
from storaged.renewal import CURRENT, CURRENT_KEY, Pair, RenewalConfig, RenewalRefused, Renewer
from storaged.renewal_ca import (
    TRUSTED,
    SuccessionRefused,
    left_behind,
    renew_spool,
    retire,
    succeed,
    withdraw_former,
)
from storaged.server import NodeServer
from storaged.tls import node_client_context, node_server_context
from tests.support.node_link import DOMAIN, PARIS_1, Certificates, make_certificates, remote, shard

pytestmark = pytest.mark.proves("K-10", "C13")

DAY_MS = 86_400_000


class Clock(RealEnv):
    """The machine's, some days off."""

    ahead_ms = 0

    def now_ms(self) -> int:
        return super().now_ms() + self.ahead_ms


@dataclass
class Holder:
    """A certificate that renews itself, and the contexts that show it."""

    certificates: Certificates
    name: str
    env: Clock

    def __post_init__(self) -> None:
        folder = self.certificates.folder
        self.trusted = folder / f"{self.name}-authority.pem"
        self.trusted.write_bytes((folder / "ca.crt").read_bytes())
        self.given = Pair(certificate=folder / f"{self.name}.crt", key=folder / f"{self.name}.key")
        make = node_server_context if self.name == "node" else node_client_context
        self.context = make(self.given.certificate, self.given.key, self.trusted)
        self.own = RenewalConfig(folder=folder / f"{self.name}-own", spool=folder / "spool")
        self.renewer = Renewer(self.given, self.trusted, self.own, [self.context], self.env)

    def issuer(self) -> bytes:
        made = x509.load_pem_x509_certificate((self.own.folder / CURRENT).read_bytes())
        key = made.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
        return key.key_identifier or b""


def holders(folder: Path, env: Clock) -> tuple[Certificates, Holder, Holder]:
    """A node and a gateway whose certificates were made four days ago."""
    env.ahead_ms = -4 * DAY_MS
    certificates = make_certificates(folder)
    authority = certificates.authority
    write_issued(issue_node(authority, PARIS_1, env), folder / "node.crt", folder / "node.key")
    issued = issue_gateway(authority, "g1", env)
    write_issued(issued, folder / "gateway.crt", folder / "gateway.key")
    env.ahead_ms = 0
    return certificates, Holder(certificates, "node", env), Holder(certificates, "gateway", env)


async def put(client: RemoteNode, counter: int) -> None:
    await client.put(shard(counter), b"a", b"b", fence=None, retain_until_ms=0)


def test_a_cluster_changes_its_ca_without_an_outage(tmp_path: Path) -> None:
    async def main() -> None:
        env = Clock(threads_max=1)
        certificates, node, gateway = holders(tmp_path, env)
        old, new = tmp_path, tmp_path / "next"
        server = NodeServer(MemoryNode(PARIS_1), ssl_context=node.context, domain=DOMAIN, env=env)
        address = await server.start("127.0.0.1", 0)
        first = remote(address, gateway.context)
        opened = [first]
        try:
            await put(first, 1)
            authority = succeed(old, new, env)
            spool = node.own.spool
            # Who does not trust the CA that is to come takes nothing from it, and goes on.
            await node.renewer.step()
            ((_, made),) = renew_spool(new, authority, spool, env)
            assert isinstance(made, x509.Certificate)
            with pytest.raises(RenewalRefused, match="not of our CA"):
                await node.renewer.step()
            # Both are trusted on both sides, while everything runs.
            for holder in (node, gateway):
                holder.trusted.write_bytes((new / TRUSTED).read_bytes())
            await gateway.renewer.step()
            await node.renewer.step()  # the answer that lay there
            assert left_behind(new, authority, env) == []
            opened.append(remote(address, gateway.context))
            await put(opened[-1], 2)  # a gateway of the former CA, a node of the new one
            assert opened[-1].certificate_sha256 != first.certificate_sha256
            renew_spool(new, authority, spool, env)
            await gateway.renewer.step()
            opened.append(remote(address, gateway.context))
            await put(opened[-1], 3)  # both of the new one
            assert node.issuer() == gateway.issuer() != b""
            await put(first, 4)  # the connection of before was never cut
            # Withdrawn: who starts from then on takes no certificate of the former CA.
            withdraw_former(new, authority, env)
            for holder in (node, gateway):
                holder.trusted.write_bytes((new / TRUSTED).read_bytes())
            await server.close()
            pair = node.own.folder / CURRENT, node.own.folder / CURRENT_KEY
            context = node_server_context(*pair, node.trusted)
            server = NodeServer(MemoryNode(PARIS_1), ssl_context=context, domain=DOMAIN, env=env)
            address = await server.start("127.0.0.1", 0)
            opened.append(remote(address, gateway.context))
            await put(opened[-1], 5)
            issued = issue_gateway(certificates.authority, "g1", env)
            write_issued(issued, tmp_path / "stolen.crt", tmp_path / "stolen.key")
            stolen = tmp_path / "stolen.crt", tmp_path / "stolen.key"
            opened.append(remote(address, node_client_context(*stolen, gateway.trusted)))
            with pytest.raises(NodeUnavailable):
                await put(opened[-1], 6)
        finally:
            for client in opened:
                await client.close()
            await server.close()

    asyncio.run(main())


def test_the_former_ca_stays_while_somebody_shows_what_it_has_issued(tmp_path: Path) -> None:
    async def main() -> None:
        env = Clock(threads_max=1)
        certificates, node, gateway = holders(tmp_path, env)
        spool = node.own.spool
        for holder in (node, gateway):
            await holder.renewer.step()
        renew_spool(tmp_path, certificates.authority, spool, env)
        for holder in (node, gateway):
            await holder.renewer.step()
        authority = succeed(tmp_path, tmp_path / "next", env)
        new = tmp_path / "next"
        names = left_behind(new, authority, env)
        assert len(names) == 2
        with pytest.raises(SuccessionRefused) as refused:
            withdraw_former(new, authority, env)
        assert refused.value.fields["names"] == names
        # Retired, or ended: nobody that could be cut off.
        retire(new, names[0], env)
        assert left_behind(new, authority, env) == names[1:]
        env.ahead_ms = 8 * DAY_MS
        assert left_behind(new, authority, env) == []
        env.ahead_ms = 0
        withdraw_former(new, authority, env, cut=True)
        with pytest.raises(SuccessionRefused, match="there is no former CA"):
            withdraw_former(new, authority, env)
        told = [entry["what"] for entry in read_register(new)]
        assert told == ["succeeds", "retired", "withdrew"]
        assert read_register(tmp_path)[-1]["what"] == "succeeded"

    asyncio.run(main())


def test_what_was_retired_or_copied_is_found_out_by_the_ca_that_follows(tmp_path: Path) -> None:
    async def main() -> None:
        env = Clock(threads_max=1)
        _, node, gateway = holders(tmp_path, env)
        for holder in (node, gateway):
            await holder.renewer.step()
        (name,) = [path.stem for path in node.own.spool.glob("p1-*")]
        retire(tmp_path, name, env)
        new = tmp_path / "next"
        authority = succeed(tmp_path, new, env)
        found = dict(renew_spool(new, authority, node.own.spool, env))
        assert isinstance(found.pop(name), RenewalRefused)
        ((_, made),) = found.items()
        assert isinstance(made, x509.Certificate)
        # A CA that nobody has followed is none of ours.
        stranger = make_certificates(tmp_path / "stranger")
        for one in renew_spool(tmp_path / "stranger", stranger.authority, node.own.spool, env):
            assert isinstance(one[1], RenewalRefused)
        for bad in (new, tmp_path / "third"):
            with pytest.raises(SuccessionRefused):
                succeed(new, bad, env)

    asyncio.run(main())


def test_the_commands(tmp_path: Path) -> None:
    def run(*words: object, code: int = 0) -> str:
        done = CliRunner().invoke(app, ["ca", *map(str, words)])
        assert done.exit_code == code, done.output
        return done.output

    old, new = tmp_path / "ca", tmp_path / "ca-2"
    run("init", "--dir", old, "--domain", "cluster.test")
    answer = json.loads(run("succeed", "--dir", new, "--from", old, "--json"))
    assert answer == {
        "domain": "cluster.test",
        "directory": str(new),
        "authority": f"{new}/{TRUSTED}",
    }
    run("succeed", "--dir", new, "--from", old, code=1)
    # What is issued while both are trusted comes with both.
    out = tmp_path / "out"
    issue = ("issue-node", "--id", "paris-1", "--datacenter", "paris", "--out", out)
    run(*issue, "--dir", new)
    assert (out / "authority.pem").read_bytes() == (new / TRUSTED).read_bytes()
    assert len(x509.load_pem_x509_certificates((new / TRUSTED).read_bytes())) == 2
    tried = json.loads(run("withdraw-former", "--dir", new, "--dry-run", "--json"))
    assert tried == {"withdrawn": False, "left_behind": []}
    run("withdraw-former", "--dir", new)
    (one,) = x509.load_pem_x509_certificates((new / TRUSTED).read_bytes())
    assert one == read_authority(new).certificate
    run("withdraw-former", "--dir", new, code=1)
