"""The inventory of cryptography has all that the code uses, and nothing else."""

from __future__ import annotations

import json

import pytest

from tests.supply.algorithms import (
    ALGORITHMS,
    CBOM,
    DOCUMENT,
    cbom_text,
    document,
    modules_by_algorithm,
)
from tests.supply.cryptography import UnknownPrimitive, algorithms_of, used


@pytest.mark.proves("K-18")
def test_the_inventory_has_what_the_code_uses_and_no_more() -> None:
    assert modules_by_algorithm(used()).keys() == ALGORITHMS.keys()


@pytest.mark.proves("K-18")
def test_page_and_cbom_are_what_would_be_written() -> None:
    found = used()
    assert DOCUMENT.read_text(encoding="utf-8") == document(found), "make sbom"
    assert CBOM.read_text(encoding="utf-8") == cbom_text(found), "make sbom"
    places = {
        (asset["name"], place["location"])
        for asset in json.loads(CBOM.read_text(encoding="utf-8"))["components"]
        for place in asset["evidence"]["occurrences"]
    }
    assert places == {(name, module) for module, (_, names) in found.items() for name in names}


@pytest.mark.parametrize(
    ("source", "algorithms"),
    [
        ("from hashlib import sha256", {"SHA-256"}),
        ("import hashlib\nhashlib.md5(b'')", {"MD5"}),
        ("import hmac\nhmac.compare_digest(a, b)", set()),
        ("import hmac\nhmac.digest(k, t, 'sha1')", {"HMAC-SHA-1"}),
        ("import os\nos.urandom(8)", {"random"}),
        ("import ssl\nssl.create_default_context()", {"TLS"}),
        (
            "from cryptography.hazmat.primitives.hmac import HMAC\n"
            "from cryptography.hazmat.primitives.hashes import SHA512",
            {"HMAC-SHA-512"},
        ),
        (
            "from cryptography.hazmat.primitives.asymmetric import ec\nec.ECDSA(x)",
            {"ECDSA P-256"},
        ),
    ],
)
def test_uses_are_seen(source: str, algorithms: set[str]) -> None:
    assert algorithms_of(source) == algorithms


@pytest.mark.proves("K-18")
@pytest.mark.parametrize(
    "source",
    [
        "from cryptography.hazmat.primitives.ciphers.aead import AESSIV",
        "from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305",
        "from hashlib import sha3_256",
        "import hashlib\nhashlib.sha224(b'')",
        "from cryptography.hazmat.primitives.asymmetric import rsa",
        "from cryptography.hazmat.primitives.asymmetric import ec\nec.SECP384R1()",
        "import hmac\nhmac.digest(k, t, 'md5')",
        "import hmac\nhmac.new(k, t, chosen)",
    ],
)
def test_a_primitive_that_nobody_has_entered_is_refused(source: str) -> None:
    with pytest.raises(UnknownPrimitive):
        algorithms_of(source)
