"""The use cases against a dictionary: random histories with node faults, over the real log.

One gateway per history, on memory nodes. One datacenter is faulty now and then, which is what 4+2
over three promises to survive. The limits are small, so that few steps reach far.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any, TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from gateway.commit.compact import Compacter
from gateway.commit.free import Freer
from gateway.data import writer
from gateway.model.errors import InvalidRange, NoSuchKey, NoSuchUpload, PreconditionFailed
from gateway.objects import assembly, store
from gateway.objects.complete import complete_upload
from gateway.objects.copy import copy_object
from gateway.objects.delete import delete_object, delete_objects
from gateway.objects.list import list_objects
from gateway.objects.multipart import abort_upload, create_upload, upload_part
from gateway.objects.parting import collect_garbage
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
    WriteConditions,
)
from tests.support.gateway import BUCKET, BytesBody, Gateway, memory_gateway
from tests.support.log_rig import keys_of

T = TypeVar("T")
SMALL_MAX = 64  # bodies above are striped
KEYS = st.sampled_from(["a", "a/1", "a/2", "b", "b/c/d"])
# Around the empty body, the bound of small bodies, and the frame.
LENGTHS = st.sampled_from([0, 1, 63, 64, 65, 4095, 65_535, 65_536, 65_537, 140_000])
SITES = st.sampled_from(["paris", "lyon", "marseille"])
FAULTS = st.sampled_from(["down", "corrupt_gets", "truncate_gets", "deny_shards"])


def content_of(length: int, seed: int) -> bytes:
    return (b"%03d." % seed * (length // 4 + 1))[:length]


class ObjectsMachine(RuleBasedStateMachine):
    """What a client may do with one bucket."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.context: Any = None
        self.gateway: Gateway
        self.site = ""
        self.model: dict[str, tuple[bytes, str]] = {}
        self.uploads: dict[str, tuple[str, dict[int, tuple[bytes, str]]]] = {}
        self.small_max = store.SMALL_BODY_BYTES_MAX
        self.part_min = assembly.PART_BYTES_MIN

    def run(self, call: Awaitable[T]) -> T:
        async def main() -> T:
            return await call

        return self.runner.run(main())

    @initialize(seed=st.integers(0, 1000), site=SITES)
    def start(self, seed: int, site: str) -> None:
        self.site = site
        store.SMALL_BODY_BYTES_MAX = writer.SMALL_BODY_BYTES_MAX = SMALL_MAX
        assembly.PART_BYTES_MIN = 10
        self.context = memory_gateway(seed=seed)
        self.gateway = self.run(self.context.__aenter__())

    def teardown(self) -> None:
        if self.context is not None:
            self.mend()
            self.run(self.context.__aexit__(None, None, None))
        self.runner.close()
        store.SMALL_BODY_BYTES_MAX = writer.SMALL_BODY_BYTES_MAX = self.small_max
        assembly.PART_BYTES_MIN = self.part_min

    # Faults, of one datacenter in each history: what was written while it was away is at the NODE
    # tier, so without repair no other one may go.

    @rule(fault=FAULTS)
    def break_site(self, fault: str) -> None:
        self.mend()
        for node in self.gateway.cluster.in_datacenter(self.site):
            setattr(node, fault, True)

    @rule()
    def mend(self) -> None:
        for node in self.gateway.cluster.nodes.values():
            node.mend()
        self.run(self.gateway.cluster.health.probe())

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

    @rule()
    def tidy(self) -> None:
        while self.run(collect_garbage(self.gateway.services, rows_max=100)):
            pass

    @rule()
    def compact_and_free(self) -> None:
        """Bodies move to packs and emptied stripes go, commit stripes too, for nobody restarts."""
        self.mend()
        gateway, services = self.gateway, self.gateway.services
        compacter = Compacter(
            log=gateway.log,
            store=services.stripes,
            keys=keys_of(b"root"),
            records=services.records,
            nonces=services.nonces,
            env=services.env,
            floor_sequence=lambda: 1 << 40,
        )
        freer = Freer(
            log=gateway.log,
            store=services.stripes,
            records=services.records,
            oldest_read_s=services.reads.oldest_s,
            env=services.env,
            floor_sequence=lambda: floor,
        )
        while not self.run(compacter.step()):
            pass
        floor = gateway.log.position.sequence
        while not self.run(freer.step()):
            pass
        gateway.log.on_applied.clear()

    # What always holds

    @invariant()
    def listing_is_the_model(self) -> None:
        if self.context is None:
            return
        page = self.run(list_objects(self.gateway.ctx(), BUCKET, ListOptions()))
        listed = {entry.key: (entry.length, entry.etag) for entry in page.entries}
        assert listed == {key: (len(content), etag) for key, (content, etag) in self.model.items()}
        rolled = self.run(
            list_objects(self.gateway.ctx(), BUCKET, ListOptions(delimiter="/", prefix="a"))
        )
        assert [entry.key for entry in rolled.entries] == [key for key in self.model if key == "a"]

    @invariant()
    def live_bytes_are_what_rows_name(self) -> None:
        """Every stripe's count is what the version and part rows name in it, to the byte."""
        if self.context is None:
            return
        assert self.gateway.live_bytes() == self.gateway.named_bytes()
        assert self.gateway.log.reservations.open_count == 0


ObjectsMachine.TestCase.settings = settings(
    max_examples=12,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
TestObjects = ObjectsMachine.TestCase
