"""Manifests of checkpoints: their format, and those that say none."""

from __future__ import annotations

import asyncio
import json

import pytest

from gateway.commit.manifest import (
    FORMAT,
    CheckpointCorrupt,
    Manifest,
    decode_manifest,
    encode_manifest,
)
from tests.support.log_rig import LogRig


async def _taken(rig: LogRig) -> Manifest:
    await rig.open()
    await rig.put("a", b"1")
    manifest = await rig.checkpointer().take()
    await rig.log.close()
    return manifest


def test_a_manifest_says_its_format_and_another_is_refused() -> None:
    manifest = asyncio.run(_taken(LogRig()))
    document = json.loads(encode_manifest(manifest))
    assert document["format"] == FORMAT
    assert decode_manifest(encode_manifest(manifest)) == manifest
    for other in (0, 2, "1", None):
        with pytest.raises(CheckpointCorrupt) as caught:
            Manifest.of(document | {"format": other})
        assert caught.value.fields["reason"] == "manifest format"


def test_an_index_is_rebuilt_from_a_manifest_without_a_format(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    said = Manifest.document

    def unsaid(self: Manifest) -> dict[str, object]:
        document = said(self)
        del document["format"]
        return document

    async def main() -> None:
        rig = LogRig()
        monkeypatch.setattr(Manifest, "document", unsaid)
        await _taken(rig)
        monkeypatch.undo()
        await rig.open(takeover=True)
        newest = rig.checkpointer().newest
        assert newest is not None and newest.segments
        await rig.log.close()
        assert await rig.rebuild() == []
        assert rig.get("a") == b"1"

    asyncio.run(main())
