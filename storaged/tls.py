"""TLS contexts: mutual 1.3 between gateways and nodes, 1.2 and 1.3 for the S3 endpoint.

Not for names: whom a verified certificate names is checked by `storaged.identity`.
"""

from __future__ import annotations

import ssl
from pathlib import Path

from storaged.identity import CertificateUnusable


def node_server_context(certificate: Path, key: Path, authority: Path) -> ssl.SSLContext:
    """TLS of a node's port: 1.3 only, a client certificate of our CA is required."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.num_tickets = 0  # a gateway connects once and stays
    return _mutual(context, certificate, key, authority)


def node_client_context(certificate: Path, key: Path, authority: Path) -> ssl.SSLContext:
    """TLS of a gateway towards nodes: 1.3 only; the name is checked by `check_node_peer`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    return _mutual(context, certificate, key, authority)


def s3_server_context(certificate: Path, key: Path) -> ssl.SSLContext:
    """TLS of the S3 endpoint: 1.2 (forward-secret AEAD suites only) and 1.3.

    No client certificate.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("ECDHE+AESGCM:ECDHE+CHACHA20")
    _load_pair(context, certificate, key)
    return context


def _mutual(
    context: ssl.SSLContext, certificate: Path, key: Path, authority: Path
) -> ssl.SSLContext:
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_3
    context.verify_mode = ssl.CERT_REQUIRED
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    _load_pair(context, certificate, key)
    try:
        context.load_verify_locations(cafile=authority)
    except OSError as error:
        raise CertificateUnusable(path=authority, reason=type(error).__name__) from error
    return context


def _load_pair(context: ssl.SSLContext, certificate: Path, key: Path) -> None:
    try:
        context.load_cert_chain(certificate, key)
    except OSError as error:
        raise CertificateUnusable(
            certificate=certificate, key=key, reason=type(error).__name__
        ) from error
