"""What cryptography the code uses, read out of its syntax trees: module → algorithms.

Not for what an algorithm is: that is the table of `tests.supply.algorithms`. CRCs and xxHash are no
cryptography: they find damage, and nobody is kept from making one that fits.

Requirement: K-18.
"""

from __future__ import annotations

import ast

from tests.supply.locked import ROOT

PACKAGES = ("gateway", "storaged")
HPKE, P256 = "HPKE ML-KEM-768 + X25519", "ECDSA P-256"

# What the code takes out of `cryptography` and `hashlib` → the algorithm; "": none by itself, such
# as errors, encodings, parsers and types.
NAMES: dict[str, str] = {
    "AEAD": HPKE,
    "AESGCM": "AES-256-GCM",
    "BestAvailableEncryption": "PBES2",
    "ECDSA": P256,
    "Ed25519PrivateKey": "Ed25519",
    "Ed25519PublicKey": "Ed25519",
    "EllipticCurvePrivateKey": P256,
    "EllipticCurvePublicKey": P256,
    "Encoding": "",
    "ExtendedKeyUsageOID": "",
    "HKDFExpand": "HKDF-SHA-512",
    "InvalidSignature": "",
    "InvalidTag": "",
    "KeySerializationEncryption": "",
    "KDF": HPKE,
    "KEM": HPKE,
    "MLDSA65PrivateKey": "ML-DSA-65",
    "MLDSA65PublicKey": "ML-DSA-65",
    "MLKEM768PrivateKey": HPKE,
    "MLKEM768PublicKey": HPKE,
    "MLKEM768X25519PrivateKey": HPKE,
    "MLKEM768X25519PublicKey": HPKE,
    "NameOID": "",
    "NoEncryption": "",
    "PrivateFormat": "",
    "PublicFormat": "",
    "RSAPublicKey": "RSASSA-PKCS1-v1_5",
    "SECP256R1": P256,
    "SHA1": "SHA-1",
    "SHA256": "SHA-256",
    "SHA512": "SHA-512",
    "Suite": HPKE,
    "TOTP": "HMAC-SHA-1",
    "X25519PrivateKey": HPKE,
    "X25519PublicKey": HPKE,
    "_Hash": "",
    "blake2b": "BLAKE2b",
    "generate_private_key": P256,  # of `ec`
    "load_der_x509_certificate": "X.509",
    "load_pem_private_key": "",
    "md5": "MD5",
    "new": "",
    "scrypt": "scrypt",
    "serialization": "",
    "sha1": "SHA-1",
    "sha256": "SHA-256",
    "sha512": "SHA-512",
    "shake_256": "SHAKE256",
    "x509": "X.509",
}
HMAC_BY = {"sha1": "HMAC-SHA-1", "sha256": "HMAC-SHA-256", "sha512": "HMAC-SHA-512"}
FROM = ("cryptography", "hashlib")
WITH_A_DOT = {"ec", "hashes", "hashlib"}  # modules: what stands behind the dot counts
OTHERS = {  # (module, attribute) → algorithm
    ("Mechanism", "AES_GCM"): "AES-256-GCM",
    ("jwt", "decode"): "JWS",
    ("os", "urandom"): "random",
    ("ssl", "SSLContext"): "TLS",
    ("ssl", "create_default_context"): "TLS",
}
OWN = {"gateway/recovery/shamir.py": "secret sharing"}  # written here, out of no library


class UnknownPrimitive(Exception):
    """The code uses a name that this module does not have."""


def _of(name: str) -> str:
    if name not in NAMES:
        raise UnknownPrimitive(name)
    return NAMES[name]


def _hmac_by(call: ast.Call) -> str:
    """`hmac.digest` and `hmac.new`, by their last argument."""
    last = call.args[-1]
    name = last.value if isinstance(last, ast.Constant) else getattr(last, "id", "")
    if name not in HMAC_BY:
        raise UnknownPrimitive(f"hmac with {ast.unparse(last)}")
    return HMAC_BY[name]


def algorithms_of(source: str) -> set[str]:
    """The algorithms that a module uses. Raises: UnknownPrimitive."""
    tree = ast.parse(source)
    found: set[str] = set()
    modules: set[str] = set()
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names} & WITH_A_DOT
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in FROM:
            names |= {alias.name for alias in node.names}
    modules |= names & WITH_A_DOT
    names -= WITH_A_DOT
    if "HMAC" in names:
        hashed = {name for name in ("SHA256", "SHA512") if name in names}
        names -= {"HMAC", *hashed}
        found |= {HMAC_BY[name.lower()] for name in hashed}
    elif "HKDFExpand" in names:
        names.discard("SHA512")
    elif "TOTP" in names:
        names.discard("SHA1")
    found |= {_of(name) for name in names}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            if node.value.id in modules:
                found.add(_of(node.attr))
            found.add(OTHERS.get((node.value.id, node.attr), ""))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("hmac.digest", "hmac.new"):
            found.add(_hmac_by(node))
    return found - {""}


def used() -> dict[str, tuple[str, set[str]]]:
    """Module → (its own first line, algorithms). Raises: UnknownPrimitive, with the module."""
    found = {}
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            source, name = path.read_text(encoding="utf-8"), str(path.relative_to(ROOT))
            try:
                algorithms = algorithms_of(source)
            except UnknownPrimitive as error:
                raise UnknownPrimitive(f"{name}: {error}") from error
            if name in OWN:
                algorithms.add(OWN[name])
            if algorithms:
                told = (ast.get_docstring(ast.parse(source)) or "").partition("\n\n")[0]
                found[name] = (" ".join(told.split()), algorithms)
    return found
