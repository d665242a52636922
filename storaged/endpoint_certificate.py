"""Certificates of the S3 endpoint, which name hosts and addresses and not who is who.

Not for nodes and gateways (`storaged.identity`).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from storaged.base.env import Env
from storaged.identity import Authority, CertificateUnusable, Issued, issue

SERVER_DAYS = 730


def issue_server(authority: Authority, names: Sequence[str], env: Env) -> Issued:
    """A certificate for the S3 endpoint: DNS names (wildcards too) and IP addresses."""
    if not names:
        raise CertificateUnusable(reason="no names")
    alternatives: list[x509.GeneralName] = []
    for name in names:
        try:
            alternatives.append(x509.IPAddress(ipaddress.ip_address(name)))
        except ValueError:
            alternatives.append(x509.DNSName(name))
    usage = ExtendedKeyUsageOID.SERVER_AUTH
    return issue(authority, alternatives, usage, names[0], env, SERVER_DAYS)
