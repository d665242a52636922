"""What users may write by other ways than a plain PUT: forms, replicas."""

from __future__ import annotations

import urllib.error
import urllib.request

from tests.support.access import Operator, allowed
from tests.support.accounts import boto_of
from tests.support.s3_gateway import NAMES, S3Gateway


def test_a_replica_is_what_somebody_says_who_may_replicate(gateway: S3Gateway) -> None:
    operator = Operator(gateway)
    tenant = operator.tenant("mairie-of-replicas")
    held = NAMES.next()
    boto_of(gateway, tenant).create_bucket(Bucket=held)
    user = operator.user(tenant, "writer", allowed("s3:PutObject", "s3:GetObject"))
    client = boto_of(gateway, user)
    client.meta.events.register(
        "before-sign.s3.PutObject",
        lambda request, **_: request.headers.add_header("x-amz-replication-status", "REPLICA"),
    )
    client.put_object(Bucket=held, Key="r", Body=b"")
    assert "ReplicationStatus" not in client.head_object(Bucket=held, Key="r")
    operator.allow(tenant, user.user, allowed("s3:PutObject", "s3:GetObject", "s3:ReplicateObject"))
    client.put_object(Bucket=held, Key="r", Body=b"")
    assert client.head_object(Bucket=held, Key="r")["ReplicationStatus"] == "REPLICA"


def test_a_form_has_the_rights_of_the_user_that_signed_it(
    gateway: S3Gateway,
) -> None:
    operator = Operator(gateway)
    tenant = operator.tenant("mairie-of-forms")
    held, name = NAMES.next(), "poster"
    boto_of(gateway, tenant).create_bucket(Bucket=held)
    client = boto_of(gateway, operator.user(tenant, name, allowed("s3:GetObject")))

    def post() -> int:
        form = client.generate_presigned_post(held, "posted")
        fields = {**form["fields"], "file": "content"}
        body = "".join(
            f'--b\r\nContent-Disposition: form-data; name="{field}"\r\n\r\n{value}\r\n'
            for field, value in fields.items()
        )
        headers = {"Content-Type": "multipart/form-data; boundary=b"}
        request = urllib.request.Request(form["url"], f"{body}--b--\r\n".encode(), headers)
        try:
            with urllib.request.urlopen(request) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as refused:
            return refused.code

    assert post() == 403
    operator.allow(tenant, name, allowed("s3:PutObject"))
    assert post() == 204
