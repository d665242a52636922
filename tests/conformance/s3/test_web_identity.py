"""Roles for holders of tokens of identity providers, with a real client of STS.

Source: AWS STS API Reference, "AssumeRoleWithWebIdentity"; RFC 8725.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from typing import Any

import boto3
import jwt
import pytest
from botocore import UNSIGNED
from botocore.config import Config
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from gateway.admin.access_desk import AccessCommandInvalid
from gateway.objects.providers import IdentityProviderInvalid
from gateway.objects.tenancy import IdentityExists
from gateway.objects.web_identity import VALUES_MAX, KeySetInvalid
from tests.conformance.s3.test_sessions import of_session
from tests.support.access import Operator, allowed, document
from tests.support.accounts import Account, boto_of
from tests.support.refusals import DENIED, refusal
from tests.support.s3_gateway import NAMES, REGION, S3Gateway

ISSUER = "https://id.example.fr/realms/mairie"
HOST = ISSUER.removeprefix("https://")
RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
EC = ec.generate_private_key(ec.SECP256R1())
OTHER = rsa.generate_private_key(public_exponent=65537, key_size=2048)
INVALID = (400, "InvalidIdentityToken")


def jwk(private: Any, kid: str, **more: Any) -> dict[str, Any]:
    kind = jwt.algorithms.RSAAlgorithm
    if isinstance(private, ec.EllipticCurvePrivateKey):
        return {**jwt.algorithms.ECAlgorithm.to_jwk(private.public_key(), as_dict=True), "kid": kid}
    return {**kind.to_jwk(private.public_key(), as_dict=True), "kid": kid, **more}


JWKS = json.dumps({"keys": [jwk(RSA, "r"), jwk(EC, "e"), jwk(OTHER, "enc", use="enc")]})


def claims(**more: Any) -> dict[str, Any]:
    now = int(time.time())
    base = {"iss": ISSUER, "sub": "alice", "aud": "s3", "iat": now, "exp": now + 300}
    return {name: value for name, value in {**base, **more}.items() if value is not None}


def token_of(key: Any = RSA, kid: str | None = "r", algorithm: str = "RS256", **more: Any) -> str:
    headers = {} if kid is None else {"kid": kid}
    return jwt.encode(claims(**more), key, algorithm=algorithm, headers=headers)


def by_hand(header: dict[str, Any], body: dict[str, Any], signature: bytes = b"") -> str:
    parts = [json.dumps(header).encode(), json.dumps(body).encode(), signature]
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts)


@pytest.fixture(scope="module")
def operator(gateway: S3Gateway) -> Operator:
    return Operator(gateway)


@pytest.fixture(scope="module")
def tenant(operator: Operator) -> Account:
    made = operator.tenant("mairie")
    put_provider(operator, made)
    return made


def put_provider(operator: Operator, tenant: Account, **more: str) -> Any:
    fields = {"name": "id", "issuer": ISSUER, "audiences": "s3\nother", "jwks": JWKS, **more}
    return operator("identity-provider put", tenant=tenant.owner_id, **fields)


def role_of(operator: Operator, tenant: Account, name: str, who: Any, **more: Any) -> str:
    statement = {
        "Effect": "Allow",
        "Principal": who,
        "Action": "sts:AssumeRoleWithWebIdentity",
        **more,
    }
    trust = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    me = {"tenant": tenant.owner_id}
    made = operator("role put", **me, name=name, trust=trust)
    operator("policy put", **me, name=f"of-{name}", text=document(allowed("s3:GetObject")))
    operator("policy attach", **me, name=f"of-{name}", role=name)
    return str(made["role"]["arn"])


@pytest.fixture(scope="module")
def role(operator: Operator, tenant: Account) -> str:
    condition = {"StringEquals": {f"{HOST}:sub": "alice", f"{HOST}:aud": "s3"}}
    return role_of(operator, tenant, "reader", {"Federated": ISSUER}, Condition=condition)


@pytest.fixture(scope="module")
def sts(gateway: S3Gateway) -> Any:
    config = Config(retries={"total_max_attempts": 1}, signature_version=UNSIGNED)
    return boto3.client("sts", endpoint_url=gateway.url, region_name=REGION, config=config)


def ask(sts: Any, role: str, token: str, **more: Any) -> Any:
    asked = {"RoleArn": role, "RoleSessionName": "web", "WebIdentityToken": token, **more}
    return sts.assume_role_with_web_identity(**asked)


@pytest.mark.parametrize(("key", "kid", "algorithm"), [(RSA, "r", "RS256"), (EC, "e", "ES256")])
def test_a_token_gives_a_session_of_the_role(
    gateway: S3Gateway, tenant: Account, sts: Any, role: str, key: Any, kid: str, algorithm: str
) -> None:
    bucket = NAMES.next()
    root = boto_of(gateway, tenant)
    root.create_bucket(Bucket=bucket)
    root.put_object(Bucket=bucket, Key="k", Body=b"content")
    made = ask(sts, role, token_of(key, kid, algorithm, aud=["s3", "web"]), DurationSeconds=900)
    assert (made["SubjectFromWebIdentityToken"], made["Audience"]) == ("alice", "s3")
    assert made["Provider"] == ISSUER
    client = of_session(gateway, made["Credentials"])
    assert client.get_object(Bucket=bucket, Key="k")["Body"].read() == b"content"
    assert refusal(client.put_object, Bucket=bucket, Key="k", Body=b"") == DENIED
    long = document(allowed("s3:PutObject")) + " " * 9000
    refused = refusal(ask, sts, role, token_of(key, kid, algorithm), Policy=long)
    assert refused == (400, "ValidationError")
    narrow = ask(sts, role, token_of(key, kid, algorithm), Policy=document(allowed("s3:PutObject")))
    client = of_session(gateway, narrow["Credentials"])
    assert refusal(client.get_object, Bucket=bucket, Key="k") == DENIED
    assert refusal(client.put_object, Bucket=bucket, Key="k", Body=b"") == DENIED


def test_sig_16_tokens_that_prove_nothing(sts: Any, role: str) -> None:
    public = RSA.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    now = int(time.time())
    hs256 = by_hand({"alg": "HS256", "kid": "r"}, claims())
    head = hs256.rpartition(".")[0]
    confused = hmac.new(public, head.encode(), hashlib.sha256).digest()
    good = token_of()
    wrong = [
        "x.y.z.w",
        "....",
        by_hand({"alg": "none", "kid": "r"}, claims()),
        by_hand({"alg": "None", "kid": "r"}, claims()),
        by_hand({"kid": "r"}, claims()),
        head + "." + base64.urlsafe_b64encode(confused).rstrip(b"=").decode(),
        token_of(algorithm="RS512"),
        token_of(algorithm="PS256"),
        token_of(kid="e"),  # an RSA signature under the name of the EC key
        token_of(EC, "r", "ES256"),
        token_of(OTHER),
        token_of(OTHER, "enc"),  # a key for another use
        token_of(kid=None),
        token_of(kid="unknown"),
        good[:-6] + "AAAAAA",
        token_of(iss="https://id.example.fr"),
        token_of(iss=None),
        token_of(aud="web"),
        token_of(aud=[]),
        token_of(aud=[*(f"web-{at}" for at in range(VALUES_MAX)), "s3"]),
        token_of(aud=None),
        token_of(sub=None),
        token_of(sub=""),
        token_of(exp=None),
        token_of(exp="soon"),
        token_of(iat=now + 600),
        token_of(iat=None),
        token_of(nbf=now + 600),
        jwt.encode(
            claims(), RSA, algorithm="RS256", headers={"kid": "r", "crit": ["exp"], "exp": 1}
        ),
        jwt.encode(
            claims(), OTHER, algorithm="RS256", headers={"kid": "r", "jwk": jwk(OTHER, "r")}
        ),
    ]
    for token in wrong:
        assert refusal(ask, sts, role, token) == INVALID, token
    assert refusal(ask, sts, role, token_of(exp=now - 1)) == (400, "ExpiredTokenException")
    ask(sts, role, good)


def test_aut_10_roles_that_are_not_there_and_conditions_that_do_not_hold(
    operator: Operator, tenant: Account, sts: Any, role: str
) -> None:
    assert refusal(ask, sts, role, token_of(sub="bob")) == DENIED
    assert refusal(ask, sts, role, token_of(aud="other")) == DENIED
    assert refusal(ask, sts, role + "x", token_of()) == DENIED
    nobody = f"arn:aws:iam::{'0' * 64}:role/reader"
    assert refusal(ask, sts, nobody, token_of()) == INVALID
    other = operator.tenant("prefecture")
    elsewhere = role_of(operator, other, "reader", {"Federated": ISSUER})
    assert (
        refusal(ask, sts, elsewhere, token_of()) == INVALID
    )  # the other's provider is not its own


def test_whom_a_role_trusts(operator: Operator, tenant: Account, sts: Any) -> None:
    arn = f"arn:aws:iam::{tenant.owner_id}:oidc-provider/{HOST}"
    ask(sts, role_of(operator, tenant, "by-arn", {"Federated": arn}), token_of(sub="bob"))
    for number, who in enumerate(("*", {"AWS": "*"}, {"AWS": tenant.owner_id})):
        name = f"wide-{number}"
        assert refusal(ask, sts, role_of(operator, tenant, name, who), token_of()) == DENIED
    elsewhere = {"Federated": "https://other.example.fr"}
    assert refusal(ask, sts, role_of(operator, tenant, "else", elsewhere), token_of()) == DENIED


def test_what_is_no_provider(operator: Operator, tenant: Account) -> None:
    small = rsa.generate_private_key(public_exponent=65537, key_size=1024)
    p384 = ec.generate_private_key(ec.SECP384R1())
    private = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(RSA))
    for jwks in (
        "x",
        "{}",
        '{"keys":[]}',
        '{"keys":[1]}',
        json.dumps({"keys": [jwk(small, "s")]}),
        json.dumps({"keys": [jwk(p384, "p")]}),
        json.dumps({"keys": [{**private, "kid": "r"}]}),
        json.dumps({"keys": [{"kty": "oct", "k": "c2VjcmV0", "kid": "o"}]}),
        json.dumps({"keys": [{**jwk(RSA, "r"), "alg": "HS256"}]}),
        json.dumps({"keys": [jwk(RSA, "r", use="enc")]}),
    ):
        with pytest.raises(KeySetInvalid):
            put_provider(operator, tenant, jwks=jwks)
    for issuer in ("http://id.example.fr", "https://", "https://a b", "https://x?y", "id"):
        with pytest.raises(IdentityProviderInvalid):
            put_provider(operator, tenant, issuer=issuer)
    with pytest.raises(AccessCommandInvalid):
        put_provider(operator, tenant, audiences="")
    with pytest.raises(IdentityExists):
        put_provider(operator, tenant, name="again")


def test_no_tokens_are_taken_of_a_provider_that_has_gone(operator: Operator, sts: Any) -> None:
    tenant = operator.tenant("gone")
    put_provider(operator, tenant)
    role = role_of(operator, tenant, "reader", {"Federated": ISSUER})
    ask(sts, role, token_of())
    listed = operator("identity-provider list", tenant=tenant.owner_id)["identity_providers"]
    assert [(one["issuer"], one["keys"]) for one in listed] == [(ISSUER, ["e", "r"])]
    put_provider(operator, tenant, jwks=json.dumps({"keys": [jwk(EC, "e")]}))
    assert refusal(ask, sts, role, token_of()) == INVALID
    operator("identity-provider delete", tenant=tenant.owner_id, name="id")
    assert refusal(ask, sts, role, token_of(EC, "e", "ES256")) == INVALID
