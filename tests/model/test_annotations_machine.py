"""Annotations against dictionaries: random histories with node faults and jobs."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule

from gateway.meta import keyspace
from gateway.model.bucket import Versioning
from gateway.model.errors import NoSuchKey
from gateway.objects import parting
from gateway.objects.annotating import AnnotationOptions, delete_annotation, put_annotation
from gateway.objects.annotation_reads import get_annotation, list_annotations
from gateway.objects.copy import copy_object
from gateway.objects.delete import delete_object
from gateway.objects.parting import collect_garbage
from gateway.objects.values import CopyOptions, CopySource
from gateway.objects.versioning import set_versioning
from tests.model.machine import LENGTHS, GatewayMachine, content_of
from tests.support.gateway import BUCKET, BytesBody

KEYS = st.sampled_from(["a", "b"])
NAMES = st.sampled_from(["m", "n", "n-1", "é"])
INLINE_MAX = 3  # rows of one batch: with more, they go by a garbage row
ANNOTATIONS_INLINE_MAX = 2  # likewise
NULL = "null"


class AnnotationsMachine(GatewayMachine):
    """What a client may do with the annotations of versions. The model: of each key its versions,
    the newest first, each with its id and its annotations; None for those of a delete marker.
    """

    def __init__(self) -> None:
        super().__init__()
        self.model: dict[str, list[tuple[str, dict[str, bytes] | None]]] = {}
        self.is_versioned = False
        self.inline_max = parting.INLINE_STRIPES_MAX, parting.INLINE_ANNOTATIONS_MAX
        parting.INLINE_STRIPES_MAX = INLINE_MAX
        parting.INLINE_ANNOTATIONS_MAX = ANNOTATIONS_INLINE_MAX

    def teardown(self) -> None:
        parting.INLINE_STRIPES_MAX, parting.INLINE_ANNOTATIONS_MAX = self.inline_max
        super().teardown()

    def _came(self, key: str, version_id: str | None, held: dict[str, bytes] | None) -> None:
        history = self.model.setdefault(key, [])
        if not self.is_versioned:
            history.clear()
        history.insert(0, (version_id or NULL, held))

    def _current(self, key: str) -> dict[str, bytes] | None:
        history = self.model.get(key)
        return history[0][1] if history else None

    @precondition(lambda self: self.context is not None and not self.is_versioned)
    @rule()
    def enable(self) -> None:
        self.run(set_versioning(self.gateway.ctx(), BUCKET, Versioning.ENABLED))
        self.is_versioned = True

    @rule(key=KEYS, length=LENGTHS)
    def put(self, key: str, length: int) -> None:
        head = self.run(self.gateway.put(key, content_of(length, 1)))
        self._came(key, head.version_id, {})

    @rule(key=KEYS, name=NAMES, length=LENGTHS.filter(bool), seed=st.integers(0, 999))
    def annotate(self, key: str, name: str, length: int, seed: int) -> None:
        content, held = content_of(length, seed), self._current(key)
        body, ctx = BytesBody(content), self.gateway.ctx()
        try:
            self.run(put_annotation(ctx, BUCKET, key, name, body, None, AnnotationOptions()))
        except NoSuchKey:
            assert held is None
        else:
            assert held is not None
            held[name] = content

    @precondition(lambda self: any(self.model.values()))
    @rule(data=st.data(), name=NAMES, seed=st.integers(0, 999))
    def annotate_a_version(self, data: st.DataObject, name: str, seed: int) -> None:
        key, version_id, held = self._pick(data)
        if held is None:
            return
        content = content_of(100, seed)
        options = AnnotationOptions(version_id=version_id)
        body, ctx = BytesBody(content), self.gateway.ctx()
        self.run(put_annotation(ctx, BUCKET, key, name, body, None, options))
        held[name] = content

    def _pick(self, data: st.DataObject) -> tuple[str, str, dict[str, bytes] | None]:
        places = [(key, *one) for key in sorted(self.model) for one in self.model[key]]
        return places[data.draw(st.integers(0, len(places) - 1))]

    @rule(key=KEYS, name=NAMES)
    def drop(self, key: str, name: str) -> None:
        held, ctx = self._current(key), self.gateway.ctx()
        try:
            self.run(delete_annotation(ctx, BUCKET, key, name, AnnotationOptions()))
        except NoSuchKey:
            assert held is None
        else:
            assert held is not None
            held.pop(name, None)

    @rule(key=KEYS, new_key=KEYS, with_annotations=st.booleans())
    def copy(self, key: str, new_key: str, with_annotations: bool) -> None:
        held = self._current(key)
        if held is None or (key == new_key):
            return
        source = CopySource(bucket=BUCKET, key=key)
        options = CopyOptions(with_annotations=with_annotations)
        made = self.run(copy_object(self.gateway.ctx(), source, BUCKET, new_key, options))
        self._came(new_key, made.head.version_id, dict(held) if with_annotations else {})

    @rule(key=KEYS)
    def delete(self, key: str) -> None:
        deleted = self.run(delete_object(self.gateway.ctx(), BUCKET, key))
        if self.is_versioned:
            self._came(key, deleted.version_id, None)
        else:
            self.model.pop(key, None)

    @precondition(lambda self: any(self.model.values()))
    @rule(data=st.data())
    def delete_a_version(self, data: st.DataObject) -> None:
        key, version_id, _ = self._pick(data)
        self.run(delete_object(self.gateway.ctx(), BUCKET, key, version_id=version_id))
        self.model[key] = [one for one in self.model[key] if one[0] != version_id]

    @precondition(lambda self: any(self.model.values()))
    @rule(data=st.data())
    def read(self, data: st.DataObject) -> None:
        key, version_id, held = self._pick(data)
        if held is None:
            return
        for name, content in held.items():
            ctx = self.gateway.ctx()
            found = self.run(get_annotation(ctx, BUCKET, key, name, version_id))
            assert found.content == content

    # What always holds

    @invariant()
    def names_are_the_models(self) -> None:
        if self.context is None:
            return
        for key, history in self.model.items():
            for version_id, held in history:
                if held is None:
                    continue
                ctx = self.gateway.ctx()
                page: Any = self.run(
                    list_annotations(
                        ctx, BUCKET, key, version_id, prefix="", token=None, entries_max=1000
                    )
                )
                listed = {name: part.plain_bytes for name, part in page.entries}
                assert listed == {name: len(content) for name, content in held.items()}

    @rule()
    def nothing_is_left(self) -> None:
        """Rows of annotations are those of versions, once the garbage is away."""
        while self.run(collect_garbage(self.gateway.services, rows_max=100)):
            pass
        held = [one[1] or {} for history in self.model.values() for one in history]
        rows = self.gateway.rows_of(keyspace.ANNOTATION)
        assert len(rows) == sum(map(len, held))
        assert not self.gateway.rows_of(keyspace.GARBAGE)


AnnotationsMachine.TestCase.settings = settings(
    max_examples=25,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
TestAnnotations = AnnotationsMachine.TestCase
