"""Versioning against a list of versions per key: random histories with node faults and jobs."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule

from gateway.meta import keyspace
from gateway.model.bucket import Versioning
from gateway.model.errors import MethodNotAllowed, NoSuchKey, NoSuchVersion
from gateway.model.version import Pairs
from gateway.objects.complete import complete_upload
from gateway.objects.delete import delete_object
from gateway.objects.list import list_objects
from gateway.objects.multipart import create_upload, upload_part
from gateway.objects.tagging import get_object_tags, put_object_tags
from gateway.objects.values import (
    CompleteOptions,
    CompletePart,
    CreateUploadOptions,
    GetOptions,
    ListOptions,
)
from gateway.objects.versioning import VersionsOptions, list_versions, set_versioning
from tests.model.machine import LENGTHS, GatewayMachine, content_of
from tests.support.gateway import BUCKET, BytesBody

KEYS = st.sampled_from(["a", "a/1", "b"])
TAGS = st.dictionaries(st.sampled_from(["x", "y", "z"]), st.sampled_from(["", "1", "é"]))
NULL = "null"


class Held(NamedTuple):
    """A version; `content` None: a delete marker."""

    version_id: str
    content: bytes | None
    tags: Pairs = ()


class VersionsMachine(GatewayMachine):
    """What a client may do with the versions of one bucket. The model has the newest first."""

    def __init__(self) -> None:
        super().__init__()
        self.model: dict[str, list[Held]] = {}
        self.state = Versioning.OFF

    def _came(self, key: str, version_id: str | None, content: bytes | None) -> None:
        history = self.model.setdefault(key, [])
        if self.state is Versioning.OFF:
            history.clear()
        if self.state is not Versioning.ENABLED:
            history[:] = [held for held in history if held.version_id != NULL]
        assert (version_id is None or version_id == NULL) is (self.state is not Versioning.ENABLED)
        history.insert(0, Held(version_id or NULL, content))

    @rule(state=st.sampled_from([Versioning.ENABLED, Versioning.SUSPENDED]))
    def turn(self, state: Versioning) -> None:
        self.run(set_versioning(self.gateway.ctx(), BUCKET, state))
        self.state = state

    @rule(key=KEYS, length=LENGTHS, seed=st.integers(0, 999))
    def put(self, key: str, length: int, seed: int) -> None:
        content = content_of(length, seed)
        self._came(key, self.run(self.gateway.put(key, content)).version_id, content)

    @rule(key=KEYS, length=LENGTHS, seed=st.integers(0, 999))
    def put_in_parts(self, key: str, length: int, seed: int) -> None:
        content = content_of(length, seed)
        ctx = self.gateway.ctx
        upload = self.run(create_upload(ctx(), BUCKET, key, CreateUploadOptions())).upload_id
        body = BytesBody(content)
        made = self.run(upload_part(ctx(), BUCKET, key, upload, 1, body, None))
        parts = [CompletePart(part_number=1, etag=made.etag)]
        head = self.run(complete_upload(ctx(), BUCKET, key, upload, parts, CompleteOptions()))
        self._came(key, head.version_id, content)

    @rule(key=KEYS)
    def delete(self, key: str) -> None:
        done = self.run(delete_object(self.gateway.ctx(), BUCKET, key))
        if self.state is Versioning.OFF:
            self.model.pop(key, None)
            return
        assert done.is_marker and done.version_id is not None
        self._came(key, done.version_id, None)

    @precondition(lambda self: any(self.model.values()))
    @rule(choice=st.data())
    def take_away(self, choice: Any) -> None:
        key = choice.draw(st.sampled_from(sorted(key for key in self.model if self.model[key])))
        held = choice.draw(st.sampled_from(self.model[key]))
        for _ in range(2):
            self.run(delete_object(self.gateway.ctx(), BUCKET, key, version_id=held.version_id))
        self.model[key].remove(held)

    @precondition(lambda self: any(self.model.values()))
    @rule(choice=st.data(), tags=TAGS)
    def tag(self, choice: Any, tags: dict[str, str]) -> None:
        """Set the tags of some version: its row is written anew, its bytes stay."""
        key = choice.draw(st.sampled_from(sorted(key for key in self.model if self.model[key])))
        position = choice.draw(st.integers(0, len(self.model[key]) - 1))
        held = self.model[key][position]
        tags_now = tuple(sorted(tags.items()))
        call = put_object_tags(self.gateway.ctx(), BUCKET, key, held.version_id, tags_now)
        if held.content is None:
            with pytest.raises(MethodNotAllowed):
                self.run(call)
            return
        self.run(call)
        self.model[key][position] = held._replace(tags=tags_now)

    @precondition(lambda self: any(self.model.values()))
    @rule(choice=st.data())
    def read(self, choice: Any) -> None:
        key = choice.draw(st.sampled_from(sorted(key for key in self.model if self.model[key])))
        held = choice.draw(st.sampled_from(self.model[key]))
        assert self._read(key, held.version_id) == held.content
        if held.content is not None:
            found = get_object_tags(self.gateway.ctx(), BUCKET, key, held.version_id)
            assert found.tags == held.tags
        assert self._read(key, None) == self.model[key][0].content
        try:
            self._read(key, "00" * 15 + "01")
        except NoSuchVersion:
            return
        raise AssertionError("a version that never was")

    def _read(self, key: str, version_id: str | None) -> bytes | None:
        try:
            return self.run(self.gateway.get(key, GetOptions(version_id=version_id)))
        except (NoSuchKey, MethodNotAllowed):
            return None

    # What always holds

    @invariant()
    def listings_are_the_model(self) -> None:
        if self.context is None:
            return
        wanted = [
            (key, held.version_id, position == 0, held.content is None)
            for key in sorted(self.model)
            for position, held in enumerate(self.model[key])
        ]
        for keys_max in (1000, 2):
            assert self._listed(keys_max) == wanted
        page = self.run(list_objects(self.gateway.ctx(), BUCKET, ListOptions()))
        visible = {key: held[0] for key, held in self.model.items() if held}
        assert [entry.key for entry in page.entries] == sorted(
            key for key, newest in visible.items() if newest.content is not None
        )

    def _listed(self, keys_max: int) -> list[tuple[str, str, bool, bool]]:
        found: list[tuple[str, str, bool, bool]] = []
        options = VersionsOptions(keys_max=keys_max)
        while True:
            page = self.run(list_versions(self.gateway.ctx(), BUCKET, options))
            found += [
                (item.key, item.version_id, item.is_latest, item.version.is_delete_marker)
                for item in page.versions
            ]
            if page.next_key is None or page.next_version_id is None:
                return found
            options = VersionsOptions(
                keys_max=keys_max,
                after_key=page.next_key,
                after_version_id=page.next_version_id,
            )

    @invariant()
    def a_key_without_versions_has_no_row(self) -> None:
        if self.context is None:
            return
        rows = len(self.gateway.rows_of(keyspace.CURRENT))
        assert rows == sum(1 for history in self.model.values() if history)
        older = len(self.gateway.rows_of(keyspace.NONCURRENT))
        assert older == sum(max(0, len(history) - 1) for history in self.model.values())


VersionsMachine.TestCase.settings = settings(
    max_examples=12,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
TestVersions = VersionsMachine.TestCase
