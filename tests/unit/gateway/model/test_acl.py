"""ACLs: what headers and documents ask for, what is granted, and that nothing breaks them."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.model import acl
from gateway.model.acl import Canned
from gateway.model.acl_headers import asked_acl
from gateway.model.action import Action
from gateway.model.attributes import Grant
from gateway.model.errors import SemanticError
from gateway.s3.errors import S3Error, s3_code_for
from gateway.s3.operations.acls import parse_acl

ME, OWNER = "me", "owner"
HEADERS = (
    "x-amz-grant-read",
    "x-amz-grant-write",
    "x-amz-grant-read-acp",
    "x-amz-grant-write-acp",
    "x-amz-grant-full-control",
)


def user(grantee: str, permission: str) -> Grant:
    return Grant(kind=acl.USER, grantee=grantee, permission=permission)


def group(uri: str, permission: str) -> Grant:
    return Grant(kind=acl.GROUP, grantee=uri, permission=permission)


@pytest.mark.parametrize(
    ("canned", "granted"),
    [
        (Canned.PRIVATE, ()),
        (Canned.AWS_EXEC_READ, ()),
        (Canned.PUBLIC_READ, (group(acl.ALL_USERS, "READ"),)),
        (
            Canned.PUBLIC_READ_WRITE,
            (group(acl.ALL_USERS, "READ"), group(acl.ALL_USERS, "WRITE")),
        ),
        (Canned.AUTHENTICATED_READ, (group(acl.AUTHENTICATED, "READ"),)),
        (
            Canned.LOG_DELIVERY_WRITE,
            (group(acl.LOG_DELIVERY, "WRITE"), group(acl.LOG_DELIVERY, "READ_ACP")),
        ),
    ],
)
def test_canned_acls(canned: Canned, granted: tuple[Grant, ...]) -> None:
    expected = (*granted, user(ME, "FULL_CONTROL")) if granted else ()
    assert acl.grants_of(canned, ME, OWNER) == expected


def test_canned_acls_for_the_owner_of_the_bucket() -> None:
    assert acl.grants_of(Canned.BUCKET_OWNER_READ, ME, OWNER) == (
        user(ME, "FULL_CONTROL"),
        user(OWNER, "READ"),
    )
    assert acl.grants_of(Canned.BUCKET_OWNER_FULL_CONTROL, ME, OWNER) == (
        user(ME, "FULL_CONTROL"),
        user(OWNER, "FULL_CONTROL"),
    )
    for canned in (Canned.BUCKET_OWNER_READ, Canned.BUCKET_OWNER_FULL_CONTROL):
        assert acl.grants_of(canned, OWNER, OWNER) == ()


def test_what_a_permission_allows() -> None:
    assert acl.bucket_permission(Action.LIST_BUCKET) == "READ"
    assert acl.bucket_permission(Action.PUT_OBJECT) == "WRITE"
    assert acl.bucket_permission(Action.GET_OBJECT) is None
    assert acl.object_permission(Action.GET_OBJECT) == "READ"
    assert acl.object_permission(Action.DELETE_OBJECT) is None
    for action in (Action.PUT_BUCKET_POLICY, Action.DELETE_BUCKET, Action.GET_BUCKET_POLICY):
        assert acl.bucket_permission(action) is None


def test_who_is_granted_what() -> None:
    held = (user(ME, "READ"), group(acl.AUTHENTICATED, "WRITE"), user("you", "FULL_CONTROL"))
    for caller, permission, granted in (
        (ME, "READ", True),
        (ME, "WRITE", True),
        (ME, "READ_ACP", False),
        ("you", "WRITE_ACP", True),
        ("other", "READ", False),
        ("other", "WRITE", True),
        (None, "WRITE", False),
    ):
        assert acl.grants(held, permission, caller, ignores_public=False) is granted
    assert not acl.grants(held, "WRITE", ME, ignores_public=True)
    everybody = (group(acl.ALL_USERS, "READ"),)
    assert acl.grants(everybody, "READ", None, ignores_public=False)
    assert not acl.grants(everybody, "READ", None, ignores_public=True)
    deliverers = (group(acl.LOG_DELIVERY, "WRITE"),)
    assert not acl.grants(deliverers, "WRITE", ME, ignores_public=False)
    assert not acl.is_public(deliverers)
    assert acl.is_public(held)


def test_grants_in_headers() -> None:
    asked = asked_acl(
        {
            "x-amz-grant-full-control": 'id="a"',
            "x-amz-grant-read": f'uri="{acl.ALL_USERS}", id=b',
            "host": "x",
        },
        acl.OBJECT_CANNED,
    )
    assert asked is not None
    assert asked.grants == (
        group(acl.ALL_USERS, "READ"),
        user("b", "READ"),
        user("a", "FULL_CONTROL"),
    )
    assert asked_acl({"host": "x"}, acl.OBJECT_CANNED) is None
    assert asked_acl({"x-amz-acl": ""}, acl.OBJECT_CANNED) is None


@settings(max_examples=200, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(("x-amz-acl", *HEADERS)),
        st.text(max_size=30) | st.sampled_from(["private", "id=a", 'id="a",uri="b"', "id=,id="]),
    )
)
def test_any_header_is_an_acl_or_refused(headers: dict[str, str]) -> None:
    try:
        asked_acl(headers, acl.BUCKET_CANNED)
    except SemanticError as error:
        assert 400 <= s3_code_for(error).status < 500


_TEXT = st.sampled_from(["a", "", "READ", "FULL_CONTROL", acl.ALL_USERS, "&lt;"])
_LEAF = st.builds(
    lambda name, text: f"<{name}>{text}</{name}>",
    st.sampled_from(["ID", "URI", "DisplayName", "EmailAddress", "Permission", "X"]),
    _TEXT,
)
_GRANTEE = st.builds(
    lambda kind, leaves: (
        '<Grantee xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" '
        f'xsi:type="{kind}">{"".join(leaves)}</Grantee>'
    ),
    st.sampled_from(["CanonicalUser", "Group", "AmazonCustomerByEmail", "", "x"]),
    st.lists(_LEAF, max_size=2),
)
_GRANT = st.builds(
    lambda parts: f"<Grant>{''.join(parts)}</Grant>", st.lists(_GRANTEE | _LEAF, max_size=3)
)
_DOCUMENT = st.builds(
    lambda owner, grants: (
        f"<AccessControlPolicy>{''.join(owner)}<AccessControlList>{''.join(grants)}"
        "</AccessControlList></AccessControlPolicy>"
    ),
    st.lists(st.sampled_from(["<Owner><ID>a</ID></Owner>", "<Owner/>", "<X/>"]), max_size=2),
    st.lists(_GRANT, max_size=3),
)


@settings(max_examples=300, deadline=None)
@given(_DOCUMENT.map(str.encode) | st.binary(max_size=60))
def test_any_document_is_an_acl_or_refused(document: bytes) -> None:
    try:
        wanted = parse_acl(document)
    except (SemanticError, S3Error) as error:
        assert 400 <= s3_code_for(error).status < 500
        return
    assert all(grant.permission in acl.PERMISSIONS for grant in wanted.asked.grants)
