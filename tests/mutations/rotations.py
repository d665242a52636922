"""Planted bugs in the rotation of keys."""

from __future__ import annotations

from tests.mutations.table import Mutation

ROTATION = "tests/unit/gateway/jobs/test_rotation.py"
ROTATION_RACES = "tests/unit/gateway/jobs/test_rotation_races.py"
NAMED_ROTATION = "tests/unit/gateway/jobs/test_named_rotation.py"
NAMED_ROTATION_RACES = "tests/unit/gateway/jobs/test_named_rotation_races.py"
MUTATIONS: tuple[Mutation, ...] = (
    Mutation(
        name="put-under-older-epoch",
        file="gateway/objects/publish.py",
        old="rewrapped_version(services, target.opened.bucket, target.key, version)",
        new="version",
        seen_by=(ROTATION,),
    ),
    Mutation(
        name="promoted-under-older-epoch",
        file="gateway/objects/history.py",
        old="    promoted = rewrapped_version(\n"
        "        services, target.opened.bucket, target.key, promoted, is_promoted=True\n    )\n",
        new="",
        seen_by=(ROTATION,),
    ),
    Mutation(
        name="named-key-of-an-older-epoch",
        file="gateway/objects/named_rewrapping.py",
        old="    if not bucket.named_turns or encryption is None",
        new="    if True or encryption is None",
        seen_by=(NAMED_ROTATION,),
    ),
    Mutation(
        name="named-key-and-no-turn",
        file="gateway/jobs/named_pass.py",
        old="            if not await turn_buckets(services, tenant):\n",
        new="            if False:\n",
        seen_by=(NAMED_ROTATION,),
    ),
    Mutation(
        name="named-rotation-overwrites",
        file="gateway/jobs/named_pass.py",
        old="checks=(Exists(rotation.row_key), *checks)",
        new="checks=(Exists(rotation.row_key),)",
        seen_by=(NAMED_ROTATION_RACES,),
    ),
    Mutation(
        name="lost-named-key-comes-in",
        file="gateway/objects/named_rewrapping.py",
        old="        if is_promoted:\n",
        new="        if True:\n",
        seen_by=(NAMED_ROTATION,),
    ),
    Mutation(
        name="part-under-older-epoch",
        file="gateway/objects/multipart.py",
        old="_part_change(services, target, stored.upload,",
        new="_part_change(services, target, upload,",
        seen_by=(ROTATION,),
    ),
    Mutation(
        name="annotation-under-older-epoch",
        file="gateway/objects/annotation_copy.py",
        old="                bucket.bucket.key_epoch,\n",
        new="                self._new.key_epoch,\n",
        seen_by=("tests/unit/gateway/jobs/test_rotation_meanwhile.py",),
    ),
    Mutation(
        name="rotation-overwrites",
        file="gateway/jobs/rotation_page.py",
        old="        found.checks.append(Check(row.key, revision_of(row.value)))\n",
        new="",
        seen_by=(ROTATION_RACES,),
    ),
    Mutation(
        name="customer-epoch-lost",
        file="gateway/objects/rewrapping.py",
        old="return replace(attributes, encryption=replace(encryption, bound_epoch=key_epoch))",
        new="return attributes",
        seen_by=(ROTATION,),
    ),
    Mutation(
        name="disabled-key-still-cached",
        file="gateway/objects/key_epochs.py",
        old="        services.bucket_keys.forget(bucket)\n",
        new="        pass\n",
        seen_by=(ROTATION,),
    ),
)
