"""What each algorithm is that the code uses, and the page and the CBOM that are made of it.

Not for where it is used: `tests.supply.cryptography` reads that out of the code. A quantum computer
breaks what has no level in `quantum`; levels are NIST's: 1, 3, 5 as hard as AES-128, -192, -256.

Requirement: K-18. Source: CycloneDX 1.6, cryptographic assets.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from tests.supply.locked import ROOT

DOCUMENT, CBOM = ROOT / "docs" / "cryptography.md", ROOT / "docs" / "cbom.json"
Used = dict[str, tuple[str, set[str]]]


class Algorithm(NamedTuple):
    """One line of the page; `primitive` as CycloneDX names it, `quantum` None: broken by one."""

    primitive: str
    size: str
    standard: str
    what_for: str
    quantum: int | None


ALGORITHMS: dict[str, Algorithm] = {
    "AES-256-GCM": Algorithm(
        "ae",
        "key 256, nonce 96, tag 128",
        "FIPS 197, SP 800-38D",
        "bodies, rows, the log, wrapped keys; in an HSM as well",
        5,
    ),
    "BLAKE2b": Algorithm(
        "hash", "128 to 512, keyed", "RFC 7693", "sums of rows, long row keys, listing tokens", 5
    ),
    "ECDSA P-256": Algorithm(
        "signature",
        "256, with SHA-256",
        "FIPS 186-5",
        "certificates of nodes, gateways and administrators; tokens of identity providers (ES256)",
        None,
    ),
    "Ed25519": Algorithm(
        "signature",
        "256",
        "RFC 8032",
        "the journal (beside ML-DSA-65), witnesses, attestations, approvals",
        None,
    ),
    "HKDF-SHA-512": Algorithm(
        "kdf", "key 256, out 608", "RFC 5869 § 2.3", "keys of bodies and of wrapped keys", 5
    ),
    "HMAC-SHA-1": Algorithm(
        "mac",
        "key 160, 320 or the client's",
        "RFC 2104, RFC 6238",
        "codes of second factors (TOTP); requests signed with SigV2, where it is on",
        1,
    ),
    "HMAC-SHA-256": Algorithm(
        "mac",
        "key 256",
        "FIPS 198-1",
        "SigV4, derived keys, commitments of wrapped DEKs, the log's headers, journal, backups",
        5,
    ),
    "HPKE ML-KEM-768 + X25519": Algorithm(
        "kem",
        "ML-KEM-768 with X25519, HKDF-SHA-512, AES-256-GCM",
        "RFC 9180, FIPS 203, draft-ietf-hpke-pq",
        "recovery backups",
        3,
    ),
    "JWS": Algorithm(
        "other", "RS256 or ES256", "RFC 7515", "tokens of identity providers, verified only", None
    ),
    "MD5": Algorithm(
        "hash", "128", "RFC 1321", "ETags and Content-MD5, as S3 has them; protects nothing", None
    ),
    "ML-DSA-65": Algorithm("signature", "public key 15,616", "FIPS 204", "the journal", 3),
    "PBES2": Algorithm(
        "kdf",
        "PBKDF2-HMAC-SHA-256, AES-256-CBC",
        "RFC 8018",
        "an approver's key file, where it has a passphrase",
        5,
    ),
    "RSASSA-PKCS1-v1_5": Algorithm(
        "signature",
        "the provider's",
        "RFC 8017",
        "tokens of identity providers (RS256), verified only",
        None,
    ),
    "SHA-1": Algorithm("hash", "160", "FIPS 180-4", "a checksum that clients may ask for", None),
    "SHA-256": Algorithm(
        "hash",
        "256",
        "FIPS 180-4",
        "the journal's tree, fingerprints, SigV4, checksums, digests",
        2,
    ),
    "SHA-512": Algorithm("hash", "512", "FIPS 180-4", "a checksum that clients may ask for", 5),
    "SHAKE256": Algorithm("xof", "768 out", "FIPS 202", "both keys of recovery, of one seed", 5),
    "TLS": Algorithm(
        "other",
        "1.3 inside; 1.2 (ECDHE with AES-GCM or ChaCha20) and 1.3 for S3",
        "RFC 8446, RFC 5246",
        "all connections but sockets of the machine; groups and suites are OpenSSL's",
        None,
    ),
    "X.509": Algorithm(
        "other",
        "P-256 certificates",
        "RFC 5280",
        "who is who: nodes, gateways, administrators",
        None,
    ),
    "random": Algorithm(
        "drbg", "256", "getrandom(2) of Linux", "every key, nonce, salt and secret", 5
    ),
    "scrypt": Algorithm(
        "kdf", "n 2^15, r 8, p 1, out 256", "RFC 7914", "key files that have a passphrase", 5
    ),
    "secret sharing": Algorithm(
        "other", "256, bytes over GF(2^8)", "Shamir 1979", "the recovery key, among custodians", 5
    ),
}

HEAD = """# Cryptography: an inventory

For who has to judge the algorithms, and to plan for the day on which one falls (K-18). `make sbom`
writes this page and [`cbom.json`](cbom.json) (CycloneDX 1.6, cryptographic assets) from the code:
every import of `cryptography` and `hashlib`, every use of `hmac`, `ssl`, PKCS#11 and of the
system's random numbers. A test (`tests/supply/test_cryptography.py`) fails where the code uses a
primitive that is not here, or no longer one that is. Which key opens what:
[security](security.md#keys).

CRCs and xxHash are not in it: they find damage and keep nobody from anything. What OpenSSL does
inside TLS is OpenSSL's.

## Algorithms

*Quantum* is NIST's level against a quantum computer, as far as one is known: 5 as hard as AES-256,
3 as AES-192, 2 as a collision of SHA-256, 1 as AES-128. *No*: one would break it. What is kept for
years is sealed on levels 3 and 5. With *no* are left what proves who somebody is **now**
(certificates, TLS, approvals, tokens; traffic inside is ciphertext already), Ed25519 in the
journal, which ML-DSA-65 signs beside it, and checksums that S3 has from its clients. So nothing
that is stored is opened by a quantum computer; what clients send over TLS today could be, if it was
recorded.

| algorithm | size, in bits | standard | what for | quantum | modules |
|---|---|---|---|---|---|
"""


def modules_by_algorithm(used: Used) -> dict[str, list[str]]:
    """Algorithm → modules."""
    found: dict[str, list[str]] = {}
    for module, (_, algorithms) in used.items():
        for name in algorithms:
            found.setdefault(name, []).append(module)
    return found


def document(used: Used) -> str:
    """The whole page."""
    by_name, lines = modules_by_algorithm(used), [HEAD]
    for name, one in sorted(ALGORITHMS.items()):
        level = "no" if one.quantum is None else str(one.quantum)
        count = len(by_name.get(name, ()))
        cells = (name, one.size, one.standard, one.what_for, level, str(count))
        lines.append(f"| {' | '.join(cells)} |\n")
    lines.append("\n## Modules\n\n| module | what it is | algorithms |\n|---|---|---|\n")
    for module, (told, algorithms) in sorted(used.items()):
        told = told.replace("|", "\\|")
        lines.append(f"| `{module}` | {told} | {', '.join(sorted(algorithms))} |\n")
    return "".join(lines)


def _asset(name: str, one: Algorithm, modules: list[str]) -> dict[str, Any]:
    if name == "TLS":
        properties: dict[str, Any] = {
            "assetType": "protocol",
            "protocolProperties": {"type": "tls", "version": "1.3"},
        }
    elif name == "X.509":
        properties = {
            "assetType": "certificate",
            "certificateProperties": {"certificateFormat": "X.509"},
        }
    else:
        properties = {
            "assetType": "algorithm",
            "algorithmProperties": {
                "primitive": one.primitive,
                "parameterSetIdentifier": one.size,
                "nistQuantumSecurityLevel": one.quantum or 0,
            },
        }
    return {
        "type": "cryptographic-asset",
        "bom-ref": f"crypto/{name.lower().replace(' ', '-')}",
        "name": name,
        "description": f"{one.what_for} ({one.standard})",
        "cryptoProperties": properties,
        "evidence": {"occurrences": [{"location": module} for module in sorted(modules)]},
    }


def cbom_text(used: Used) -> str:
    """CycloneDX 1.6. No serial number and no time: the same code gives the same bytes."""
    by_name = modules_by_algorithm(used)
    held = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "components": [
            _asset(name, one, by_name[name]) for name, one in sorted(ALGORITHMS.items())
        ],
    }
    return json.dumps(held, indent=1, ensure_ascii=False) + "\n"
