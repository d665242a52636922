"""Users of a tenant: what policies of their own and of buckets let them do, with real clients.

Source: AWS IAM User Guide, "Policy evaluation logic", "Cross-account policy evaluation logic".
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.conformance.s3.test_access_actions import ASKED, is_denied, needs
from tests.support.access import Operator, allowed, denied
from tests.support.accounts import Account, boto_of, policy_text, raw_of
from tests.support.refusals import DENIED, refusal, refusal_code
from tests.support.route_matrix import Asked, send
from tests.support.s3_gateway import NAMES, S3Gateway

COUNTER = itertools.count()


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
def root(gateway: S3Gateway, tenant: Account) -> Any:
    return boto_of(gateway, tenant)


@pytest.fixture
def held(root: Any) -> Iterator[str]:
    """A bucket of the tenant with one object."""
    name = NAMES.next()
    root.create_bucket(Bucket=name)
    root.put_object(Bucket=name, Key="k", Body=b"content", Tagging="team=blue")
    yield name


def new_name() -> str:
    return f"user-{next(COUNTER)}"


def test_a_user_may_do_nothing_until_a_policy_says_so(
    gateway: S3Gateway, operator: Operator, tenant: Account, held: str
) -> None:
    user = operator.user(tenant, new_name())
    client = boto_of(gateway, user)
    assert refusal(client.list_buckets) == DENIED
    assert refusal(client.create_bucket, Bucket=NAMES.next()) == DENIED
    assert refusal(client.get_object, Bucket=held, Key="k") == DENIED
    assert refusal(client.put_object, Bucket=held, Key="k", Body=b"") == DENIED
    assert refusal(client.list_objects_v2, Bucket=held) == DENIED
    operator.allow(tenant, user.user, allowed("s3:GetObject", on=f"arn:aws:s3:::{held}/*"))
    assert client.get_object(Bucket=held, Key="k")["Body"].read() == b"content"
    assert refusal(client.get_object, Bucket=held, Key="missing") == DENIED
    assert refusal(client.put_object, Bucket=held, Key="k", Body=b"") == DENIED
    operator.allow(tenant, user.user, allowed("s3:*"))
    assert held in [one["Name"] for one in client.list_buckets()["Buckets"]]
    name = NAMES.next()
    client.create_bucket(Bucket=name)
    client.put_object(Bucket=name, Key="k", Body=b"mine")
    assert boto_of(gateway, tenant).get_object(Bucket=name, Key="k")["Body"].read() == b"mine"
    assert refusal_code(client.get_object, Bucket=held, Key="missing") == "NoSuchKey"


def test_aut_05_what_is_said_of_a_new_bucket_needs_its_own_right(
    gateway: S3Gateway, operator: Operator, tenant: Account
) -> None:
    client = boto_of(gateway, operator.user(tenant, new_name(), allowed("s3:CreateBucket")))
    client.create_bucket(Bucket=NAMES.next())
    assert (
        refusal(client.create_bucket, Bucket=NAMES.next(), ObjectLockEnabledForBucket=True)
        == DENIED
    )
    assert (
        refusal(client.create_bucket, Bucket=NAMES.next(), ObjectOwnership="ObjectWriter") == DENIED
    )


@pytest.mark.parametrize("one", ASKED, ids=lambda one: f"{one.method} {one.target}")
def test_aut_04_a_user_needs_the_actions_of_an_operation_and_no_others(
    gateway: S3Gateway, operator: Operator, tenant: Account, root: Any, one: Asked
) -> None:
    bucket = NAMES.next()
    root.create_bucket(Bucket=bucket)
    root.put_object(Bucket=bucket, Key="k", Body=b"content")
    upload = root.create_multipart_upload(Bucket=bucket, Key="up")["UploadId"]
    user = operator.user(tenant, new_name())
    actions = needs(one)

    def ask(*statements: dict[str, Any]) -> Any:
        operator.allow(tenant, user.user, *statements)
        return send(raw_of(gateway, user), one, bucket, upload, signed=True)

    for action in actions:
        assert is_denied(ask(allowed("s3:*"), denied(action))), action
        others = [other for other in actions if other != action]
        if others:
            assert is_denied(ask(allowed(*others))), action
    answer = ask(allowed(*actions))
    assert not is_denied(answer), answer
    assert answer.status < 500
    operator("user delete", tenant=tenant.owner_id, name=user.user)
    operator("policy delete", tenant=tenant.owner_id, name=f"of-{user.user}")


# What the policy of the user says, whom that of the bucket lets in or shuts out, and whether the
# user gets in: of the same tenant, of another one.
CASES = [
    (None, None, False, False),
    ("Allow", None, True, False),
    ("Deny", None, False, False),
    (None, ("Allow", "user"), True, False),
    (None, ("Allow", "account"), False, False),
    (None, ("Allow", "*"), True, False),
    ("Allow", ("Allow", "user"), True, True),
    ("Allow", ("Allow", "account"), True, True),
    ("Deny", ("Allow", "user"), False, False),
    ("Deny", ("Allow", "account"), False, False),
    ("Allow", ("Deny", "user"), False, False),
    ("Allow", ("Deny", "account"), False, False),
    ("Allow", ("Deny", "*"), False, False),
    (None, ("Deny", "user"), False, False),
]


@pytest.mark.parametrize(("own", "of_bucket", "inside", "outside"), CASES)
def test_policies_of_users_and_buckets_together(
    gateway: S3Gateway,
    operator: Operator,
    tenant: Account,
    other: Account,
    root: Any,
    held: str,
    own: str | None,
    of_bucket: tuple[str, str] | None,
    inside: bool,
    outside: bool,
) -> None:
    for whose, lets_in in ((tenant, inside), (other, outside)):
        said = [] if own is None else [{**allowed("s3:GetObject"), "Effect": own}]
        user = operator.user(whose, new_name(), *said)
        if of_bucket is not None:
            account = f"arn:aws:iam::{whose.owner_id}"
            names = {"user": f"{account}:user/{user.user}", "account": f"{account}:root"}
            who: Any = {"AWS": names[of_bucket[1]]} if of_bucket[1] in names else "*"
            statement = {"Effect": of_bucket[0], "Principal": who, "Action": "s3:GetObject"}
            if who == "*":
                root.delete_public_access_block(Bucket=held)
            root.put_bucket_policy(Bucket=held, Policy=policy_text(held, statement))
        client = boto_of(gateway, user)
        if lets_in:
            assert client.get_object(Bucket=held, Key="k")["Body"].read() == b"content"
        else:
            assert refusal(client.get_object, Bucket=held, Key="k") == DENIED
        assert refusal(client.put_object, Bucket=held, Key="k", Body=b"") == DENIED


def test_groups_conditions_variables_and_tags(
    gateway: S3Gateway, operator: Operator, tenant: Account, root: Any, held: str
) -> None:
    me = {"tenant": tenant.owner_id}
    name = new_name()
    user = operator.user(tenant, name)
    client = boto_of(gateway, user)
    operator("group create", **me, name="homes")
    text = (
        '{"Version":"2012-10-17","Statement":['
        '{"Effect":"Allow","Action":["s3:GetObject","s3:PutObject"],'
        '"Resource":"arn:aws:s3:::*/home/${aws:username}/*"},'
        '{"Effect":"Allow","Action":"s3:ListBucket","Resource":"*",'
        '"Condition":{"StringLike":{"s3:prefix":"home/${aws:username}/*"}}},'
        '{"Effect":"Allow","Action":"s3:GetObject","Resource":"*",'
        '"Condition":{"StringEquals":{"s3:ExistingObjectTag/team":"blue"}}},'
        '{"Effect":"Deny","NotAction":["s3:GetObject","s3:PutObject","s3:ListBucket"],'
        '"Resource":"*"}]}'
    )
    operator("policy put", **me, name="homes", text=text)
    operator("policy attach", **me, name="homes", group="homes")
    assert refusal(client.put_object, Bucket=held, Key=f"home/{name}/k", Body=b"") == DENIED
    operator("group add", **me, name="homes", user=name)
    client.put_object(Bucket=held, Key=f"home/{name}/k", Body=b"mine")
    assert client.get_object(Bucket=held, Key=f"home/{name}/k")["Body"].read() == b"mine"
    assert client.get_object(Bucket=held, Key="k")["Body"].read() == b"content"
    root.put_object_tagging(Bucket=held, Key="k", Tagging={"TagSet": []})
    assert refusal(client.get_object, Bucket=held, Key="k") == DENIED
    assert refusal(client.put_object, Bucket=held, Key="home/jo/k", Body=b"") == DENIED
    assert client.list_objects_v2(Bucket=held, Prefix=f"home/{name}/")["KeyCount"] == 1
    assert refusal(client.list_objects_v2, Bucket=held, Prefix="home/") == DENIED
    assert refusal(client.delete_object, Bucket=held, Key=f"home/{name}/k") == DENIED
    operator("group remove", **me, name="homes", user=name)
    assert refusal(client.get_object, Bucket=held, Key=f"home/{name}/k") == DENIED


def test_tags_of_a_user_are_asked_for(
    gateway: S3Gateway, operator: Operator, tenant: Account, held: str
) -> None:
    me = {"tenant": tenant.owner_id}
    name = new_name()
    operator("user create", **me, name=name, tags='{"team":"k"}')
    operator.allow(
        tenant, name, allowed("s3:GetObject", on="arn:aws:s3:::*/${aws:PrincipalTag/team}")
    )
    key = operator("access-key create", **me, user=name)["access_key"]
    user = Account(tenant.name, tenant.owner_id, key["access_key_id"], key["secret"], name)
    client = boto_of(gateway, user)
    assert client.get_object(Bucket=held, Key="k")["Body"].read() == b"content"
    assert refusal(client.get_object, Bucket=held, Key="l") == DENIED


def test_aut_11_each_key_of_a_batch_is_asked_for(
    gateway: S3Gateway, operator: Operator, tenant: Account, root: Any, held: str
) -> None:
    on = f"arn:aws:s3:::{held}/mine/*"
    client = boto_of(gateway, operator.user(tenant, new_name(), allowed("s3:DeleteObject", on=on)))
    root.put_object(Bucket=held, Key="mine/k", Body=b"")
    keys = [{"Key": "mine/k"}, {"Key": "k"}]
    answer = client.delete_objects(Bucket=held, Delete={"Objects": keys})
    assert [one["Key"] for one in answer["Deleted"]] == ["mine/k"]
    assert [one["Code"] for one in answer["Errors"]] == ["AccessDenied"]


def test_aut_01_a_users_copy_needs_both_rights(
    gateway: S3Gateway, operator: Operator, tenant: Account, held: str
) -> None:
    name = new_name()
    client = boto_of(gateway, operator.user(tenant, name, allowed("s3:PutObject")))
    source = {"Bucket": held, "Key": "k"}
    assert refusal(client.copy_object, Bucket=held, Key="copy", CopySource=source) == DENIED
    tagging = ("s3:GetObjectTagging", "s3:PutObjectTagging")
    operator.allow(tenant, name, allowed("s3:PutObject"), allowed("s3:GetObject", *tagging))
    client.copy_object(Bucket=held, Key="copy", CopySource=source)


def test_what_is_disabled_or_deleted_is_let_in_no_more(
    gateway: S3Gateway, operator: Operator, held: str
) -> None:
    tenant = operator.tenant("short-lived")
    name = new_name()
    user = operator.user(tenant, name, allowed("s3:*"))
    client, root = boto_of(gateway, user), boto_of(gateway, tenant)
    of_user = {"tenant": tenant.owner_id, "name": name}
    of_key = {"access_key_id": user.access_key_id}
    for off, on, fields in (
        ("user disable", "user enable", of_user),
        ("access-key disable", "access-key enable", of_key),
        ("tenant disable", "tenant enable", {"name": tenant.owner_id}),
    ):
        client.list_buckets()
        operator(off, **fields)
        assert refusal_code(client.list_buckets) == "InvalidAccessKeyId", off
        if off == "tenant disable":
            assert refusal_code(root.list_buckets) == "InvalidAccessKeyId"
        else:
            root.list_buckets()
        operator(on, **fields)
    client.list_buckets()
    operator("user delete", **of_user)
    assert refusal_code(client.list_buckets) == "InvalidAccessKeyId"
    again = operator.user(tenant, name)
    assert refusal(boto_of(gateway, again).list_buckets) == DENIED  # the policy went with the user
    assert refusal_code(client.list_buckets) == "InvalidAccessKeyId"


@pytest.mark.proves("B-07", "A-07")
def test_aut_10_a_user_of_another_tenant_learns_nothing(
    gateway: S3Gateway, operator: Operator, other: Account, held: str
) -> None:
    client = boto_of(gateway, operator.user(other, new_name(), allowed("s3:*")))
    for key in ("k", "missing"):
        assert refusal(client.get_object, Bucket=held, Key=key) == DENIED
        assert refusal(client.get_object, Bucket=held, Key=key, IfMatch="x") == DENIED
    assert refusal(client.list_objects_v2, Bucket=held) == DENIED
    assert held not in [one["Name"] for one in client.list_buckets()["Buckets"]]


def test_aut_04_what_is_beside_an_operation_is_asked_for_too(
    gateway: S3Gateway, operator: Operator, tenant: Account, root: Any, held: str
) -> None:
    name = new_name()
    client = boto_of(gateway, operator.user(tenant, name, allowed("s3:PutObject")))
    client.put_object(Bucket=held, Key="new", Body=b"")
    tagged = {"Bucket": held, "Key": "tagged", "Body": b"", "Tagging": "a=b"}
    assert refusal(client.put_object, **tagged) == DENIED
    operator.allow(tenant, name, allowed("s3:PutObject", "s3:PutObjectTagging"))
    client.put_object(**tagged)
    root.put_bucket_ownership_controls(
        Bucket=held, OwnershipControls={"Rules": [{"ObjectOwnership": "ObjectWriter"}]}
    )
    granting = {"Bucket": held, "Key": "granted", "ACL": "bucket-owner-read"}
    assert refusal(client.put_object, **granting) == DENIED
    assert refusal(client.create_multipart_upload, **granting) == DENIED
    operator.allow(tenant, name, allowed("s3:*"), denied("s3:PutObjectAcl"))
    assert refusal(client.put_object, **granting) == DENIED
    assert refusal(client.copy_object, **granting, CopySource=f"{held}/new") == DENIED
    operator.allow(tenant, name, allowed("s3:PutObject", "s3:PutObjectAcl"))
    client.put_object(**granting)
    operator.allow(tenant, name, allowed("s3:*"), denied("s3:RenameObject"))
    asked = {"Bucket": held, "Key": "renamed", "RenameSource": "new"}
    assert refusal(client.rename_object, **asked) == DENIED
    operator.allow(tenant, name, allowed("s3:*"))
    client.rename_object(**asked)


@pytest.mark.proves("A-04")
def test_who_may_is_what_each_of_them_is_answered(
    gateway: S3Gateway, operator: Operator, other: Account
) -> None:
    tenant = operator.tenant("listed")
    root = boto_of(gateway, tenant)
    bucket = NAMES.next()
    root.create_bucket(Bucket=bucket)
    root.put_object(Bucket=bucket, Key="k", Body=b"", Tagging="team=blue")
    tags = {"StringEquals": {"s3:ExistingObjectTag/team": "blue"}}
    people = {
        "none": operator.user(tenant, "none"),
        "reader": operator.user(tenant, "reader", allowed("s3:GetObject")),
        "tagged": operator.user(tenant, "tagged", allowed("s3:GetObject", Condition=tags)),
        "named": operator.user(tenant, "named"),
        "denied": operator.user(tenant, "denied", allowed("s3:*")),
        "guest": operator.user(other, "guest", allowed("s3:GetObject")),
        "off": operator.user(tenant, "off", allowed("s3:*")),
        "root": tenant,
    }
    operator("user disable", tenant=tenant.owner_id, name="off")
    arn = f"arn:aws:iam::{tenant.owner_id}:user/"
    guests = f"arn:aws:iam::{other.owner_id}:root"
    policy = policy_text(
        bucket,
        {"Principal": {"AWS": [f"{arn}named", guests]}, "Action": "s3:GetObject"},
        {"Effect": "Deny", "Principal": {"AWS": f"{arn}denied"}, "Action": "s3:PutObject"},
    )
    root.put_bucket_policy(Bucket=bucket, Policy=policy)
    told = operator("right who", bucket=bucket, key="k")
    found = {
        one["name"]: set(one["actions"])
        for one in told["who"]
        if (one["tenant"], one["name"]) != (other.name, "root")
    }
    calls = {
        "s3:GetObject": lambda client: client.get_object(Bucket=bucket, Key="k"),
        "s3:PutObject": lambda client: client.put_object(
            Bucket=bucket, Key="k", Body=b"", Tagging=""
        ),
    }
    for name, account in people.items():
        for action, call in calls.items():
            root.put_object(Bucket=bucket, Key="k", Body=b"", Tagging="team=blue")
            try:
                call(boto_of(gateway, account))
                may = True
            except ClientError:
                may = False
            assert (action in found.get(name, set())) is may, (name, action)
    assert "anybody" not in {one["kind"] for one in told["who"]}
    assert {one["name"] for one in operator("right who", bucket=bucket)["who"]} == {
        "root",
        "denied",
    }
