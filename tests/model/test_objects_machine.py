"""The use cases against a dictionary: random histories with node faults, over the real log."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule

from gateway.model.errors import (
    InvalidRange,
    InvalidRequest,
    InvalidWriteOffset,
    NoSuchKey,
    NoSuchUpload,
    PreconditionFailed,
)
from gateway.objects.append import append_object
from gateway.objects.complete import complete_upload
from gateway.objects.copy import copy_object
from gateway.objects.delete import delete_object, delete_objects
from gateway.objects.list import list_objects
from gateway.objects.multipart import abort_upload, create_upload, upload_part
from gateway.objects.rename import rename_object
from gateway.objects.values import (
    CompleteOptions,
    CompletePart,
    CopyOptions,
    CopySource,
    CreateUploadOptions,
    DeleteKey,
    GetOptions,
    ListOptions,
    Metadata,
    PutOptions,
    ReadConditions,
    RenameOptions,
    WriteConditions,
)
from tests.model.machine import LENGTHS, GatewayMachine, content_of
from tests.support.gateway import BUCKET, BytesBody

KEYS = st.sampled_from(["a", "a/1", "a/2", "b", "b/c/d"])


class ObjectsMachine(GatewayMachine):
    """What a client may do with one bucket."""

    def __init__(self) -> None:
        super().__init__()
        self.model: dict[str, tuple[bytes, str]] = {}
        self.uploads: dict[str, tuple[str, dict[int, tuple[bytes, str]]]] = {}

    # Objects

    @rule(key=KEYS, length=LENGTHS, seed=st.integers(0, 999), piece=st.sampled_from([50, 70_000]))
    def put(self, key: str, length: int, seed: int, piece: int) -> None:
        content = content_of(length, seed)
        options = PutOptions(metadata=Metadata(user=(("seed", str(seed)),)))
        head = self.run(
            self.gateway.put(key, content, options, piece_bytes=max(piece, length // 9))
        )
        self.model[key] = (content, head.etag)

    @rule(key=KEYS, condition=st.sampled_from(["absent", "match", "other"]))
    def put_if(self, key: str, condition: str) -> None:
        held = self.model.get(key)
        if condition == "absent":
            conditions = WriteConditions(if_none_match="*")
            holds = held is None
        else:
            etag = held[1] if held and condition == "match" else "0" * 32
            conditions = WriteConditions(if_match=f'"{etag}"')
            holds = held is not None and condition == "match"
        try:
            head = self.run(self.gateway.put(key, b"if", PutOptions(conditions=conditions)))
        except (PreconditionFailed, NoSuchKey):
            assert not holds
        else:
            assert holds
            self.model[key] = (b"if", head.etag)

    @rule(key=KEYS)
    def get(self, key: str) -> None:
        held = self.model.get(key)
        try:
            content = self.run(self.gateway.get(key))
        except NoSuchKey:
            assert held is None
        else:
            assert held is not None and content == held[0]

    @rule(key=KEYS, first=st.integers(0, 70_000), length=st.integers(1, 70_000))
    def get_range(self, key: str, first: int, length: int) -> None:
        held = self.model.get(key)
        if held is None:
            return
        options = GetOptions(range_header=f"bytes={first}-{first + length - 1}")
        try:
            content = self.run(self.gateway.get(key, options))
        except InvalidRange:
            assert first >= len(held[0])
        else:
            assert content == held[0][first : first + length]

    @rule(key=KEYS)
    def delete(self, key: str) -> None:
        self.run(delete_object(self.gateway.ctx(), BUCKET, key))
        self.model.pop(key, None)

    @rule(keys=st.lists(KEYS, max_size=4))
    def delete_many(self, keys: list[str]) -> None:
        wanted = [DeleteKey(key=key) for key in keys]
        outcomes = self.run(delete_objects(self.gateway.ctx(), BUCKET, wanted))
        assert all(outcome.error is None for outcome in outcomes)
        for key in keys:
            self.model.pop(key, None)

    @rule(source=KEYS, onto=KEYS)
    def copy(self, source: str, onto: str) -> None:
        options = CopyOptions(metadata=Metadata())
        where = CopySource(bucket=BUCKET, key=source)
        try:
            head, _ = self.run(copy_object(self.gateway.ctx(), where, BUCKET, onto, options))
        except NoSuchKey:
            assert source not in self.model
        else:
            self.model[onto] = (self.model[source][0], head.etag)

    @rule(source=KEYS, onto=KEYS, fresh=st.booleans())
    def rename(self, source: str, onto: str, fresh: bool) -> None:
        wanted = ReadConditions(if_none_match="*") if fresh else ReadConditions()
        options = RenameOptions(destination=wanted)
        try:
            self.run(rename_object(self.gateway.ctx(), BUCKET, source, onto, options))
        except NoSuchKey:
            assert source not in self.model
        except InvalidRequest:
            assert source == onto
        except PreconditionFailed:
            assert fresh and onto in self.model
        else:
            assert source != onto and not (fresh and onto in self.model)
            self.model[onto] = self.model.pop(source)

    @rule(key=KEYS, length=LENGTHS, seed=st.integers(0, 999), off_by=st.sampled_from([0, 0, 1]))
    def append(self, key: str, length: int, seed: int, off_by: int) -> None:
        before = self.model.get(key, (b"", ""))[0]
        content, body = content_of(length, seed), BytesBody(content_of(length, seed))
        offset = len(before) + off_by
        try:
            head = self.run(
                append_object(self.gateway.ctx(), BUCKET, key, body, PutOptions(), offset)
            )
        except InvalidRequest:
            assert not content
        except InvalidWriteOffset:
            assert off_by
        else:
            assert content and not off_by
            self.model[key] = (before + content, head.etag)

    # Uploads

    @precondition(lambda self: len(self.uploads) < 3)
    @rule(key=KEYS)
    def begin(self, key: str) -> None:
        made = self.run(create_upload(self.gateway.ctx(), BUCKET, key, CreateUploadOptions()))
        self.uploads[made.upload_id] = (key, {})

    @precondition(lambda self: self.uploads)
    @rule(choice=st.data(), number=st.integers(1, 4), length=LENGTHS, seed=st.integers(0, 999))
    def add_part(self, choice: Any, number: int, length: int, seed: int) -> None:
        upload = choice.draw(st.sampled_from(sorted(self.uploads)))
        key, parts = self.uploads[upload]
        content = content_of(length, seed)
        made = self.run(
            upload_part(self.gateway.ctx(), BUCKET, key, upload, number, BytesBody(content), None)
        )
        parts[number] = (content, made.etag)

    @precondition(lambda self: self.uploads)
    @rule(choice=st.data())
    def end_upload(self, choice: Any) -> None:
        upload = choice.draw(st.sampled_from(sorted(self.uploads)))
        key, parts = self.uploads.pop(upload)
        listed = sorted(choice.draw(st.sets(st.sampled_from(sorted(parts)))) if parts else [])
        if not listed or any(len(parts[number][0]) < 10 for number in listed[:-1]):
            self.run(abort_upload(self.gateway.ctx(), BUCKET, key, upload))
            return
        made = [CompletePart(part_number=number, etag=parts[number][1]) for number in listed]
        for _ in range(2):
            head = self.run(
                complete_upload(self.gateway.ctx(), BUCKET, key, upload, made, CompleteOptions())
            )
        self.model[key] = (b"".join(parts[number][0] for number in listed), head.etag)
        try:
            self.run(abort_upload(self.gateway.ctx(), BUCKET, key, upload))
        except NoSuchUpload:
            return
        raise AssertionError("a completed upload is over")

    # What always holds

    @invariant()
    def listing_is_the_model(self) -> None:
        if self.context is None:
            return
        page = self.run(list_objects(self.gateway.ctx(), BUCKET, ListOptions()))
        listed = {entry.key: (entry.content_bytes, entry.etag) for entry in page.entries}
        assert listed == {key: (len(content), etag) for key, (content, etag) in self.model.items()}
        rolled = self.run(
            list_objects(self.gateway.ctx(), BUCKET, ListOptions(delimiter="/", prefix="a"))
        )
        assert [entry.key for entry in rolled.entries] == [key for key in self.model if key == "a"]


ObjectsMachine.TestCase.settings = settings(
    max_examples=12,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
TestObjects = ObjectsMachine.TestCase
