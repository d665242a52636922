"""What has begun under the former key when a rotation comes and ends goes under the newest epoch
(C6).
"""

from __future__ import annotations

import asyncio

import pytest

from gateway.objects import annotation_copy, multipart
from gateway.objects.copy import copy_object
from gateway.objects.encryption import PLAIN, Choice
from gateway.objects.multipart import create_upload
from gateway.objects.store import store_part
from gateway.objects.values import CopyOptions, CopySource, CreateUploadOptions
from tests.support.annotations import annotate
from tests.support.annotations import content_of as annotation
from tests.support.gateway import BUCKET, Gateway
from tests.support.rotations import epochs_of_rows, rotate, run, to_the_end
from tests.support.under_keys import LARGE, SMALL

pytestmark = pytest.mark.proves("K-10", "CRY-16")


def test_a_copy_under_way_gets_its_annotations_under_the_newest_epoch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The rotation comes and ends while a copy has stored some of its annotations."""
    gate, came = asyncio.Event(), asyncio.Event()

    async def slow(*given: object) -> object:
        if gateway_rotates:
            came.set()
            await gate.wait()
        return await store_part(*given)  # type: ignore[arg-type]

    gateway_rotates: list[bool] = []

    async def test(gateway: Gateway) -> None:
        await gateway.put("k", SMALL)
        for number in range(12):
            await annotate(gateway, f"note-{number}", LARGE)
        source = CopySource(bucket=BUCKET, key="k")
        options = CopyOptions(with_annotations=True)
        monkeypatch.setattr(annotation_copy, "store_part", slow)
        gateway_rotates.append(True)
        copying = asyncio.ensure_future(copy_object(gateway.ctx(), source, BUCKET, "copy", options))
        await came.wait()
        await rotate(gateway)
        await to_the_end(gateway)
        gate.set()
        await copying
        assert set(epochs_of_rows(gateway)) == {2}
        assert await annotation(gateway, "note-11", key="copy") == LARGE

    run(test)


def test_an_upload_that_begins_while_the_key_is_rotated_is_under_the_newest_epoch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gate, came = asyncio.Event(), asyncio.Event()

    async def slow(*given: object) -> Choice:
        came.set()
        await gate.wait()
        return PLAIN

    async def test(gateway: Gateway) -> None:
        monkeypatch.setattr(multipart, "choose", slow)
        beginning = asyncio.ensure_future(
            create_upload(gateway.ctx(), BUCKET, "key", CreateUploadOptions())
        )
        await came.wait()
        await rotate(gateway)
        await to_the_end(gateway)
        gate.set()
        await beginning
        assert epochs_of_rows(gateway) == {2: 1}

    run(test)
