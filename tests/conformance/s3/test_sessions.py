"""Sessions and roles, as real clients of STS ask for them and use them.

Source: AWS STS API Reference; AWS IAM User Guide, "Policy evaluation logic", "Temporary security
credentials in IAM".
"""

from __future__ import annotations

import base64
import itertools
from dataclasses import replace
from typing import Any
from urllib.request import urlopen

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ParamValidationError

from gateway.objects.sessions import open_session, seal_session
from tests.support.access import Operator, allowed, denied, document, trust
from tests.support.accounts import Account, boto_of, policy_text
from tests.support.refusals import DENIED, refusal, refusal_code
from tests.support.s3_gateway import NAMES, REGION, S3Gateway

COUNTER = itertools.count()


def new_name(kind: str = "user") -> str:
    return f"{kind}-{next(COUNTER)}"


def client_of(service: str, gateway: S3Gateway, account: Account, token: str = "") -> Any:
    return boto3.client(
        service,
        endpoint_url=gateway.url,
        region_name=REGION,
        aws_access_key_id=account.access_key_id,
        aws_secret_access_key=account.secret,
        aws_session_token=token or None,
        config=Config(
            retries={"total_max_attempts": 1},
            s3={"addressing_style": "path"},
            signature_version="s3v4" if service == "s3" else "v4",
        ),
    )


def of_session(gateway: S3Gateway, held: dict[str, Any], service: str = "s3") -> Any:
    """A client with temporary credentials."""
    return client_of(
        service,
        gateway,
        Account("", "", held["AccessKeyId"], held["SecretAccessKey"]),
        held["SessionToken"],
    )


@pytest.fixture(scope="module")
def operator(gateway: S3Gateway) -> Operator:
    return Operator(gateway)


@pytest.fixture(scope="module")
def tenant(operator: Operator) -> Account:
    return operator.tenant("mairie")


@pytest.fixture(scope="module")
def other(operator: Operator) -> Account:
    return operator.tenant("prefecture")


@pytest.fixture
def held(gateway: S3Gateway, tenant: Account) -> str:
    """A bucket of the tenant with one object."""
    name = NAMES.next()
    root = boto_of(gateway, tenant)
    root.create_bucket(Bucket=name)
    root.put_object(Bucket=name, Key="k", Body=b"content")
    return name


def role_of(operator: Operator, tenant: Account, trusted: str, *statements: Any) -> tuple[str, str]:
    """(name, ARN) of a new role with these rights."""
    name = new_name("role")
    me = {"tenant": tenant.owner_id}
    made = operator("role put", **me, name=name, trust=trusted)["role"]
    operator("policy put", **me, name=f"of-{name}", text=document(*statements))
    operator("policy attach", **me, name=f"of-{name}", role=name)
    return name, made["arn"]


def user_arn(user: Account) -> str:
    return f"arn:aws:iam::{user.owner_id}:user/{user.user}"


def root_arn(tenant: Account) -> str:
    return f"arn:aws:iam::{tenant.owner_id}:root"


def test_a_session_of_oneself_does_what_one_may_and_no_more(
    gateway: S3Gateway, operator: Operator, tenant: Account, held: str
) -> None:
    user = operator.user(tenant, new_name(), allowed("s3:GetObject"))
    sts = client_of("sts", gateway, user)
    assert sts.get_caller_identity()["Arn"] == user_arn(user)
    made = sts.get_session_token(DurationSeconds=900)["Credentials"]
    client = of_session(gateway, made)
    assert client.get_object(Bucket=held, Key="k")["Body"].read() == b"content"
    assert refusal(client.put_object, Bucket=held, Key="k", Body=b"") == DENIED
    url = client.generate_presigned_url("get_object", Params={"Bucket": held, "Key": "k"})
    with urlopen(url) as answer:
        assert answer.read() == b"content"
    again = of_session(gateway, made, "sts")
    assert again.get_caller_identity()["Arn"] == user_arn(user)
    assert refusal(again.get_session_token) == DENIED  # it would outlive itself
    operator("user disable", tenant=tenant.owner_id, name=user.user)
    assert refusal_code(client.get_object, Bucket=held, Key="k") == "InvalidAccessKeyId"
    operator("user enable", tenant=tenant.owner_id, name=user.user)
    client.get_object(Bucket=held, Key="k")
    operator("access-key disable", access_key_id=user.access_key_id)
    assert refusal_code(client.get_object, Bucket=held, Key="k") == "InvalidAccessKeyId"


def test_iam_tells_who_one_is_and_nothing_else(
    gateway: S3Gateway, operator: Operator, tenant: Account
) -> None:
    user = operator.user(tenant, new_name())
    iam = client_of("iam", gateway, user)
    told = iam.get_user()["User"]
    assert (told["Arn"], told["UserName"]) == (user_arn(user), user.user)
    assert iam.get_user(UserName=user.user)["User"] == told
    assert refusal_code(iam.get_user, UserName="other") == "AccessDenied"
    assert refusal_code(iam.list_users) == "InvalidAction"
    assert refusal_code(iam.create_user, UserName="x") == "InvalidAction"
    root = client_of("iam", gateway, tenant).get_user()["User"]
    assert root["Arn"] == root_arn(tenant) and "UserName" not in root
    forged = replace(user, secret="wrong")
    assert refusal_code(client_of("iam", gateway, forged).get_user) == "SignatureDoesNotMatch"


def test_a_session_of_the_root(gateway: S3Gateway, operator: Operator, held: str) -> None:
    tenant = operator.tenant(new_name("tenant"))
    made = client_of("sts", gateway, tenant).get_session_token()["Credentials"]
    client = of_session(gateway, made)
    name = NAMES.next()
    client.create_bucket(Bucket=name)
    assert [one["Name"] for one in client.list_buckets()["Buckets"]] == [name]
    assert refusal(client.get_object, Bucket=held, Key="k") == DENIED
    operator("tenant disable", name=tenant.owner_id)
    assert refusal_code(client.list_buckets) == "InvalidAccessKeyId"


# Whom the role trusts, what the caller's own policy says of sts:AssumeRole, and whether a user of
# the same tenant, of another one, gets in.
CASES = [
    ("user", None, True, False),
    ("user", "Allow", True, True),
    ("user", "Deny", False, False),
    ("root", None, False, False),
    ("root", "Allow", True, True),
    ("root", "Deny", False, False),
    ("nobody", "Allow", False, False),
]


@pytest.mark.parametrize(("trusted", "own", "inside", "outside"), CASES)
def test_who_may_become_a_role(
    gateway: S3Gateway,
    operator: Operator,
    tenant: Account,
    other: Account,
    held: str,
    trusted: str,
    own: str | None,
    inside: bool,
    outside: bool,
) -> None:
    for whose, lets_in in ((tenant, inside), (other, outside)):
        said = [] if own is None else [{**allowed("sts:AssumeRole"), "Effect": own}]
        user = operator.user(whose, new_name(), *said)
        nobody = f"arn:aws:iam::{whose.owner_id}:user/nobody"
        who = {"user": user_arn(user), "root": root_arn(whose), "nobody": nobody}[trusted]
        name, arn = role_of(operator, tenant, trust(who), allowed("s3:GetObject"))
        sts = client_of("sts", gateway, user)
        if not lets_in:
            asked = {"RoleArn": arn, "RoleSessionName": "se"}
            assert refusal(sts.assume_role, **asked) == DENIED
            continue
        made = sts.assume_role(RoleArn=arn, RoleSessionName="se")
        assert made["AssumedRoleUser"]["Arn"].endswith(f":assumed-role/{name}/se")
        client = of_session(gateway, made["Credentials"])
        assert client.get_object(Bucket=held, Key="k")["Body"].read() == b"content"
        assert refusal(client.put_object, Bucket=held, Key="k", Body=b"") == DENIED
        identity = of_session(gateway, made["Credentials"], "sts").get_caller_identity()
        assert identity["Arn"] == made["AssumedRoleUser"]["Arn"]


def test_aut_10_a_role_that_is_not_there_looks_like_one_that_is(
    gateway: S3Gateway, operator: Operator, tenant: Account, other: Account
) -> None:
    user = operator.user(other, new_name(), allowed("sts:AssumeRole"))
    _, arn = role_of(operator, tenant, trust(root_arn(tenant)), allowed("s3:*"))
    sts = client_of("sts", gateway, user)
    for one in (
        arn,
        arn + "x",
        f"arn:aws:iam::{'0' * 64}:role/r",
        f"arn:aws:iam::{'0' * 32}:role/r",
    ):
        assert refusal(sts.assume_role, RoleArn=one, RoleSessionName="se") == DENIED


def test_sig_16_a_sessions_policy_only_narrows(
    gateway: S3Gateway, operator: Operator, tenant: Account, held: str
) -> None:
    root = boto_of(gateway, tenant)
    user = operator.user(tenant, new_name())
    name, arn = role_of(
        operator, tenant, trust(user_arn(user)), allowed("s3:GetObject", "s3:PutObject")
    )
    sts = client_of("sts", gateway, user)

    def session(*statements: dict[str, Any]) -> Any:
        policy = document(*statements)
        made = sts.assume_role(RoleArn=arn, RoleSessionName="se", Policy=policy)
        return of_session(gateway, made["Credentials"])

    reader = session(allowed("s3:GetObject"), allowed("s3:DeleteObject"))
    assert reader.get_object(Bucket=held, Key="k")["Body"].read() == b"content"
    assert refusal(reader.put_object, Bucket=held, Key="l", Body=b"") == DENIED
    assert refusal(reader.delete_object, Bucket=held, Key="k") == DENIED
    nothing = session(allowed("s3:*"), denied("s3:GetObject"))
    assert refusal(nothing.get_object, Bucket=held, Key="k") == DENIED
    nothing.put_object(Bucket=held, Key="l", Body=b"")
    # Nor does the policy of a bucket reach around it.
    role = f"arn:aws:iam::{tenant.owner_id}:role/{name}"
    lets_in = {"Principal": {"AWS": role}, "Action": "s3:DeleteObject"}
    root.put_bucket_policy(Bucket=held, Policy=policy_text(held, lets_in))
    plain = of_session(gateway, sts.assume_role(RoleArn=arn, RoleSessionName="se")["Credentials"])
    plain.delete_object(Bucket=held, Key="l")
    reader.delete_object(Bucket=held, Key="l")  # its own policy leaves room for it
    assert refusal(nothing.get_object, Bucket=held, Key="k") == DENIED
    narrow = session(allowed("s3:GetObject"))
    assert refusal(narrow.delete_object, Bucket=held, Key="k") == DENIED


def test_policies_of_buckets_name_sessions(
    gateway: S3Gateway, operator: Operator, tenant: Account, held: str
) -> None:
    root = boto_of(gateway, tenant)
    user = operator.user(tenant, new_name())
    name, arn = role_of(operator, tenant, trust(user_arn(user)), denied("s3:PutObject"))
    sts = client_of("sts", gateway, user)
    clients = {
        se: of_session(gateway, sts.assume_role(RoleArn=arn, RoleSessionName=se)["Credentials"])
        for se in ("one", "two")
    }
    who = {"AWS": f"arn:aws:sts::{tenant.owner_id}:assumed-role/{name}/one"}
    said = {"Principal": who, "Action": ["s3:GetObject", "s3:PutObject"]}
    root.put_bucket_policy(Bucket=held, Policy=policy_text(held, said))
    assert clients["one"].get_object(Bucket=held, Key="k")["Body"].read() == b"content"
    assert refusal(clients["one"].put_object, Bucket=held, Key="k", Body=b"") == DENIED
    assert refusal(clients["two"].get_object, Bucket=held, Key="k") == DENIED


def test_conditions_of_trust_and_how_long_a_session_lasts(
    gateway: S3Gateway, operator: Operator, tenant: Account
) -> None:
    user = operator.user(tenant, new_name())
    condition = {"StringEquals": {"sts:ExternalId": "e-1"}}
    trusted = trust(user_arn(user), Condition=condition)
    _, arn = role_of(operator, tenant, trusted, allowed("s3:*"))
    sts = client_of("sts", gateway, user)
    asked = {"RoleArn": arn, "RoleSessionName": "se"}
    assert refusal(sts.assume_role, **asked) == DENIED
    assert refusal(sts.assume_role, **asked, ExternalId="e-2") == DENIED
    sts.assume_role(**asked, ExternalId="e-1", DurationSeconds=900)
    for wrong in (
        {"DurationSeconds": 3601},
        {"RoleArn": "arn:aws:iam::x:user/" + "u" * 20},
        {"Policy": "{}"},
        {"Tags": [{"Key": "a", "Value": "b"}]},
        {"SerialNumber": "arn:aws:iam::1:mfa/x", "TokenCode": "123456"},
    ):
        with pytest.raises(Exception) as refused:
            sts.assume_role(**{**asked, "ExternalId": "e-1", **wrong})
        assert not isinstance(refused.value, ParamValidationError)
        code = refused.value.response["Error"]["Code"]  # type: ignore[attr-defined]
        assert code in ("ValidationError", "MalformedPolicyDocument", "InvalidParameterValue")


def test_sig_16_tokens_that_are_not_ours_open_nothing(
    gateway: S3Gateway, operator: Operator, tenant: Account, held: str
) -> None:
    user = operator.user(tenant, new_name(), allowed("s3:*"))
    sts = client_of("sts", gateway, user)
    one, two = (sts.get_session_token()["Credentials"] for _ in range(2))
    raw = bytearray(base64.urlsafe_b64decode(one["SessionToken"]))
    raw[40] ^= 1
    altered = base64.urlsafe_b64encode(raw).decode()
    for token in (two["SessionToken"], altered, "x", one["SessionToken"][:-8], "A" * 9000):
        client = of_session(gateway, {**one, "SessionToken": token})
        code = "RequestHeaderSectionTooLarge" if len(token) > 8192 else "InvalidToken"
        assert refusal(client.list_buckets) == (400, code)
    assert refusal_code(of_session(gateway, {**one, "SecretAccessKey": "x"}).list_buckets) == (
        "SignatureDoesNotMatch"
    )
    bare = Account("", "", one["AccessKeyId"], one["SecretAccessKey"])
    assert refusal_code(boto_of(gateway, bare).list_buckets) == "InvalidToken"
    lasting = client_of("s3", gateway, user, one["SessionToken"])
    assert refusal_code(lasting.list_buckets) == "InvalidToken"
    services = gateway.gateway.services
    now_ms = services.env.now_ms()
    session = open_session(services.records, one["AccessKeyId"], one["SessionToken"], now_ms)
    assert user.secret not in one["SessionToken"] and session.secret not in repr(session)


def test_an_expired_session_is_refused(
    gateway: S3Gateway, operator: Operator, tenant: Account
) -> None:
    user = operator.user(tenant, new_name(), allowed("s3:*"))
    made = client_of("sts", gateway, user).get_session_token(DurationSeconds=900)["Credentials"]
    services = gateway.gateway.services
    now_ms = services.env.now_ms()
    session = open_session(services.records, made["AccessKeyId"], made["SessionToken"], now_ms)
    assert 890_000 < session.expires_at_ms - now_ms <= 900_000
    for left_ms, code in ((600, None), (-1, "ExpiredToken")):
        now_ms = services.env.now_ms()
        edited = replace(session, expires_at_ms=now_ms + left_ms)
        token = seal_session(services.records, services.nonces, edited)
        client = of_session(gateway, {**made, "SessionToken": token})
        if code is None:
            client.list_buckets()
            # What is held of it ends with it.
            held = next(reversed(services.credentials._sessions.values()))
            assert held[0] <= services.env.monotonic_s() + left_ms / 1000
        else:
            assert refusal_code(client.list_buckets) == code
            sts = of_session(gateway, {**made, "SessionToken": token}, "sts")
            assert refusal_code(sts.get_caller_identity) == code


def test_what_goes_away_takes_its_sessions_along(
    gateway: S3Gateway, operator: Operator, tenant: Account, held: str
) -> None:
    user = operator.user(tenant, new_name())
    name, arn = role_of(operator, tenant, trust(user_arn(user)), allowed("s3:GetObject"))
    sts = client_of("sts", gateway, user)
    client = of_session(gateway, sts.assume_role(RoleArn=arn, RoleSessionName="se")["Credentials"])
    client.get_object(Bucket=held, Key="k")
    me = {"tenant": tenant.owner_id, "name": name}
    operator("policy detach", tenant=tenant.owner_id, name=f"of-{name}", role=name)
    assert refusal(client.get_object, Bucket=held, Key="k") == DENIED
    operator("role delete", **me)
    assert refusal_code(client.get_object, Bucket=held, Key="k") == "InvalidAccessKeyId"
    # Another role of the same name is not the same.
    operator("role put", **me, trust=trust(user_arn(user)))
    operator("policy attach", tenant=tenant.owner_id, name=f"of-{name}", role=name)
    assert refusal_code(client.get_object, Bucket=held, Key="k") == "InvalidAccessKeyId"


def test_a_delete_of_many_is_none_of_the_token_service(gateway: S3Gateway) -> None:
    """A bucket in the host makes the path `/`, and some clients call every body a form."""
    with gateway.raw() as raw:
        raw.send(
            b"POST /?delete HTTP/1.1\r\nhost: bucket.s3.test\r\ncontent-length: 0\r\n"
            b"content-type: application/x-www-form-urlencoded\r\n\r\n"
        )
        answer = raw.read_answer()
    assert answer.status == 403
    assert b"<Error><Code>AccessDenied" in answer.body
