"""Writes and reads of S3 while the journal takes no events, or one of its logs is damaged."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from botocore.exceptions import ClientError

from gateway.journal import journal as journal_module
from gateway.journal.journal import Accesses
from gateway.journal.shelf import LogDamaged
from tests.conformance.s3 import test_journal_s3
from tests.conformance.s3.test_journal_s3 import BUCKET, CANARY, LOG, POLICY, Rig

rig = test_journal_s3.rig


@pytest.mark.proves("L-02")
def test_l_02_while_the_journal_is_full_every_write_is_refused_and_reads_go_on(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    where: Any = {"Bucket": BUCKET, "Key": CANARY}
    rig.journal.accesses = Accesses.WRITES
    rig.client.put_object(**where, Body=b"before")
    upload = rig.client.create_multipart_upload(**where)["UploadId"]
    part = rig.client.upload_part(**where, UploadId=upload, PartNumber=1, Body=b"part")["ETag"]
    made: Any = {"Parts": [{"PartNumber": 1, "ETag": part}]}
    tags: Any = {"TagSet": [{"Key": "a", "Value": "b"}]}
    source = f"{BUCKET}/{CANARY}"
    form = rig.client.generate_presigned_post(BUCKET, CANARY)
    client = rig.client

    def post() -> int:
        parts = (
            f'--b\r\nContent-Disposition: form-data; name="{field}"\r\n\r\n{value}\r\n'
            for field, value in {**form["fields"], "file": "content"}.items()
        )
        kind = {"Content-Type": "multipart/form-data; boundary=b"}
        asked = Request(form["url"], f"{''.join(parts)}--b--\r\n".encode(), kind)
        with pytest.raises(HTTPError) as refused:
            urlopen(asked)
        return refused.value.code

    writes: list[Callable[[], object]] = [
        lambda: client.put_object(**where, Body=b"after"),
        lambda: client.delete_object(**where),
        lambda: client.delete_objects(Bucket=BUCKET, Delete={"Objects": [{"Key": CANARY}]}),
        lambda: client.copy_object(Bucket=BUCKET, Key="copy", CopySource=source),
        lambda: client.put_object_tagging(**where, Tagging=tags),
        lambda: client.delete_object_tagging(**where),
        lambda: client.create_multipart_upload(**where),
        lambda: client.upload_part(**where, UploadId=upload, PartNumber=2, Body=b"more"),
        lambda: client.upload_part_copy(**where, UploadId=upload, PartNumber=3, CopySource=source),
        lambda: client.complete_multipart_upload(**where, UploadId=upload, MultipartUpload=made),
        lambda: client.abort_multipart_upload(**where, UploadId=upload),
    ]
    monkeypatch.setattr(journal_module, "BUFFERED_S", 0.0)
    rig.drive.full = True
    with pytest.raises(ClientError, match="journal"):
        client.put_bucket_policy(Bucket=BUCKET, Policy=POLICY)
    for write in writes:
        with pytest.raises(ClientError, match="ServiceUnavailable"):
            write()
    assert post() == 503
    assert client.get_object(**where)["Body"].read() == b"before"
    assert client.head_object(**where)["ContentLength"] == len(b"before")
    assert [one["Key"] for one in client.list_objects_v2(Bucket=BUCKET)["Contents"]] == [CANARY]
    assert [one["PartNumber"] for one in client.list_parts(**where, UploadId=upload)["Parts"]] == [
        1
    ]
    rig.drive.full = False  # and nobody does anything
    rig.settle()
    assert client.complete_multipart_upload(**where, UploadId=upload, MultipartUpload=made)
    assert client.get_object(**where)["Body"].read() == b"part"
    seen = [one for one in rig.entries() if one.body.get("status") == 503]
    assert {one.type.removeprefix("s3.") for one in seen} >= {"PutObject", "UploadPart"}


@pytest.mark.proves("L-02")
def test_l_02_writes_into_a_log_that_is_damaged_are_refused_and_others_go_on(rig: Rig) -> None:
    rig.journal.accesses = Accesses.WRITES
    rig.client.put_object(Bucket=BUCKET, Key=CANARY, Body=b"before")
    rig.settle()
    damaged = rig.journal._shelf.damaged
    damaged[LOG] = LogDamaged(log=LOG, reason="another root")
    for key in (CANARY, "other"):
        with pytest.raises(ClientError, match="ServiceUnavailable"):
            rig.client.put_object(Bucket=BUCKET, Key=key, Body=b"after")
    assert rig.client.get_object(Bucket=BUCKET, Key=CANARY)["Body"].read() == b"before"
    damaged.clear()
    damaged["f" * 32] = LogDamaged(log="f" * 32)  # another tenant's
    rig.client.put_object(Bucket=BUCKET, Key=CANARY, Body=b"after")
    damaged.clear()
