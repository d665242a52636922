"""The planted bugs: a guard that is taken away, and the commands that must fail then.

A guard that moves takes its entry with it: one whose text is not found is told as STALE.
"""

from __future__ import annotations

from dataclasses import dataclass

COMMIT = "tests/unit/gateway/commit"
DATA = "tests/unit/gateway/data"
JOBS = "tests/unit/gateway/jobs"
NODE = "tests/conformance/test_node"
DRIVE = "tests/unit/storaged"
ACCESS = "tests/conformance/s3/test_boto3_access.py"
OBJECTS = "tests/unit/gateway/objects"
ACLS = "tests/conformance/s3/test_boto3_acls.py"


@dataclass(frozen=True, slots=True)
class Sim:
    """The simulation, seeds 0 to `count` − 1, until one fails."""

    count: int = 200


Command = str | Sim
"""A pytest target, or the simulation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutation:
    """A planted bug: `old`, once in `file`, becomes `new`; then each of `seen_by` fails."""

    name: str
    file: str
    old: str
    new: str
    seen_by: tuple[Command, ...]


DELETE_UNKNOWN = "tests/unit/gateway/objects/test_delete_unknown.py"
MUTATIONS: tuple[Mutation, ...] = (
    # Order of what clients asked for
    Mutation(
        name="delete-before-the-unknown",
        file="gateway/objects/publish.py",
        old="        if change is None and services.log.has_unknown:\n",
        new="        if False:\n",
        seen_by=(DELETE_UNKNOWN,),
    ),
    Mutation(
        name="deletes-before-the-unknown",
        file="gateway/objects/delete.py",
        old=" or ctx.services.log.has_unknown:\n",
        new=":\n",
        seen_by=(DELETE_UNKNOWN,),
    ),
    # The chain of the log
    Mutation(
        name="chain-digest",
        file="gateway/commit/replay.py",
        old="if epoch < applied.epoch or previous not in (None, candidate.header.previous):",
        new="if epoch < applied.epoch:",
        seen_by=(f"{COMMIT}/test_forks.py",),
    ),
    Mutation(
        name="chain-end",
        file="gateway/commit/replay.py",
        old="return sequence >= self._last and all(",
        new="return sequence >= self._last or all(",
        seen_by=(f"{COMMIT}/test_forks.py",),
    ),
    Mutation(
        name="chain-successor",
        file="gateway/commit/replay.py",
        old="if link is not None and link.applied.digest in named:",
        new="if link is not None:",
        seen_by=(f"{COMMIT}/test_opening.py",),
    ),
    # What was reached
    Mutation(
        name="tier-acknowledged",
        file="gateway/data/stripe_write.py",
        old="        if tier >= self._required:\n",
        new="        if tier >= min(self._required, Tier.NODE):\n",
        seen_by=(f"{DATA}/test_stripe_write.py", Sim()),
    ),
    Mutation(
        name="tier-counted",
        file="gateway/data/placement.py",
        old="    if len(stored) - most_in_datacenter >= k:\n",
        new="    if len(stored) - most_in_datacenter >= k - 1:\n",
        seen_by=(f"{DATA}/test_placement.py", Sim()),
    ),
    # Groups that nobody can judge
    Mutation(
        name="undecided-void",
        file="gateway/commit/recovery.py",
        old="return Verdict.STOP if have + possible > geometry.k else Verdict.VOID",
        new="return Verdict.VOID",
        seen_by=(f"{COMMIT}/test_decide.py", Sim()),
    ),
    Mutation(
        name="undecided-any-tier",
        file="gateway/commit/recovery.py",
        old="if candidate.header.tier is Tier.FULL and len",
        new="if len",
        seen_by=(f"{COMMIT}/test_decide.py",),
    ),
    Mutation(
        name="undecided-one-shard-a-node",
        file="gateway/commit/recovery.py",
        old="min(geometry.n - have, 2 * len(unreachable))",
        new="min(geometry.n - have, len(unreachable))",
        seen_by=(f"{COMMIT}/test_decide.py",),
    ),
    Mutation(
        name="undecided-passed-over",
        file="gateway/commit/replay.py",
        old="            if not self._accept_loss:\n                raise problem\n",
        new="",
        seen_by=(f"{COMMIT}/test_replay.py",),
    ),
    Mutation(
        name="undecided-blank-nodes",
        file="gateway/commit/opening.py",
        old="return frozenset() if empty == reachable else empty",
        new="return frozenset()",
        seen_by=(f"{COMMIT}/test_replay.py",),
    ),
    Mutation(
        name="newest-group-left-weak",
        file="gateway/commit/replay.py",
        old="            await self._complete(newest.candidate, fenced.epoch)\n",
        new="",
        seen_by=(f"{COMMIT}/test_replay.py",),
    ),
    Mutation(
        name="takeover-unasked",
        file="gateway/commit/opening.py",
        old="if promised > applied.epoch and promised not in ours and not takeover:",
        new="if False:",
        seen_by=(f"{COMMIT}/test_log.py",),
    ),
    # Tags before decoding
    Mutation(
        name="shard-tags",
        file="gateway/data/stripe_read.py",
        old="        check_range(key, header, offset, content)\n",
        new="",
        seen_by=(f"{DATA}/test_stripes.py", Sim()),
    ),
    # The sweep against those who name what it looks at
    Mutation(
        name="sweep-looks-once",
        file="gateway/jobs/audit.py",
        old="if shard.stripe not in held and not _is_named(self._log, shard, number)",
        new="if shard.stripe not in held",
        seen_by=(f"{JOBS}/test_sweep_races.py", Sim()),
    ),
    Mutation(
        name="sweep-ignores-repair",
        file="gateway/jobs/audit.py",
        old="if shard.stripe not in held and not _is_named(self._log, shard, number)",
        new="if not _is_named(self._log, shard, number)",
        seen_by=(f"{JOBS}/test_sweep_races.py", Sim()),
    ),
    Mutation(
        name="sweep-holds-nothing",
        file="gateway/jobs/audit.py",
        old="        held |= stripes\n",
        new="",
        seen_by=(f"{JOBS}/test_sweep_races.py",),
    ),
    Mutation(
        name="sweep-after-takeover",
        file="gateway/jobs/audit.py",
        old="        await self._log.commit_change(self._nothing())\n",
        new="",
        seen_by=(f"{JOBS}/test_sweep_races.py",),
    ),
    Mutation(
        name="sweep-in-flight",
        file="gateway/jobs/audit.py",
        old="[info for info in page.shards if not self._in_flight(info.shard.stripe)]",
        new="list(page.shards)",
        seen_by=(f"{JOBS}/test_audit_repair.py", Sim()),
    ),
    Mutation(
        name="sweep-unproven",
        file="gateway/jobs/audit.py",
        old="if unnamed and current.sweeping:",
        new="if unnamed:",
        seen_by=(f"{JOBS}/test_audit_repair.py",),
    ),
    # Nodes and drives
    Mutation(
        name="no-fdatasync",
        file="storaged/files.py",
        old="            os.fdatasync(self._fd)\n",
        new="            pass\n",
        seen_by=("tests/fault/test_nodes.py::test_a_failed_sync_takes_the_drive_out_of_service",),
    ),
    Mutation(
        name="no-sync-of-a-group",
        file="storaged/volumes.py",
        old="    volume.file.sync()\n    if group.volume is None:\n",
        new="    if group.volume is None:\n",
        seen_by=(f"{DRIVE}/test_shardstore_crash.py",),
    ),
    Mutation(
        name="failed-sync-forgotten",
        file="storaged/writer.py",
        old="        if self.failure is None:\n            self.failure = error\n",
        new="        pass\n",
        seen_by=(f"{DRIVE}/test_shardstore_crash.py",),
    ),
    Mutation(
        name="page-checksum",
        file="storaged/shardformat.py",
        old="if crc32c(page) != _CHECKSUM.unpack_from(block, sums + 4 * index)[0]:",
        new="if False:",
        seen_by=(f"{DRIVE}/test_local_damage.py",),
    ),
    Mutation(
        name="head-checksum",
        file="storaged/shardformat.py",
        old="if crc32c(view[: end - 4]) != _CHECKSUM.unpack_from(block, end - 4)[0]:",
        new="if False:",
        seen_by=(f"{DRIVE}/test_shardformat.py",),
    ),
    Mutation(
        name="record-of-another-place",
        file="storaged/shardformat.py",
        old="    if head.volume != volume or head.offset != offset:\n",
        new="    if False:\n",
        seen_by=(f"{DRIVE}/test_shardformat.py",),
    ),
    Mutation(
        name="wire-checksum",
        file="storaged/multiplex.py",
        old="damaged = header.payload_crc != checksum(raw, checksum(fields))",
        new="damaged = False",
        seen_by=(f"{DRIVE}/test_session.py",),
    ),
    Mutation(
        name="fence-of-a-drive",
        file="storaged/writer.py",
        old="            if request.fence.epoch < promised:\n",
        new="            if False:\n",
        seen_by=(f"{NODE}_local.py",),
    ),
    Mutation(
        name="fence-in-memory",
        file="storaged/memory.py",
        old="            if fence.epoch < promised:\n",
        new="            if False:\n",
        seen_by=(f"{NODE}_memory.py", f"{COMMIT}/test_log.py", Sim()),
    ),
    Mutation(
        name="holes-not-synced",
        file="storaged/upkeep.py",
        old="        for volume in touched.values():\n            volume.file.sync()\n",
        new="",
        seen_by=(f"{DRIVE}/test_shardstore_crash.py",),
    ),
    Mutation(
        name="delete-record-goes-first",
        file="storaged/volume_index.py",
        old="        if count == 0:\n            self.discard(*place, killer_length)\n",
        new="        if count <= 1:\n            self.discard(*place, killer_length)\n",
        seen_by=(f"{DRIVE}/test_shardstore_crash.py",),
    ),
    # Commit and free
    Mutation(
        name="answer-before-commit",
        file="gateway/commit/pipeline.py",
        old="        self.unapplied.append(group)\n        try:\n",
        new=(
            "        self.unapplied.append(group)\n"
            "        for waiter in group.waiters:\n"
            "            self._callers.succeed(group.position, waiter)\n"
            "        try:\n"
        ),
        seen_by=(f"{COMMIT}/test_log.py", Sim()),
    ),
    Mutation(
        name="applied-out-of-order",
        file="gateway/commit/pipeline.py",
        old="            await self.settle()\n            if self.dead is not None:\n",
        new="            if self.dead is not None:\n",
        seen_by=(f"{COMMIT}/test_order.py",),
    ),
    Mutation(
        name="quorum-of-promises",
        file="gateway/commit/fencing.py",
        old="        if is_quorum(granted, topology, geometry):\n",
        new="        if granted:\n",
        seen_by=(f"{COMMIT}/test_log.py",),
    ),
    Mutation(
        name="free-what-is-being-read",
        file="gateway/commit/free.py",
        old="            if oldest_s is not None and oldest_s <= emptied_s:\n",
        new="            if False:\n",
        seen_by=(f"{JOBS}/test_free.py",),
    ),
    Mutation(
        name="free-before-release",
        file="gateway/commit/free.py",
        old="        forgotten = await asyncio.gather(*(forget(row) for row in rows))\n",
        new="""        rows = list(rows)
        await self._store.delete(rows)
        forgotten = await asyncio.gather(*(forget(row) for row in rows))
""",
        seen_by=(Sim(),),
    ),
    Mutation(
        name="free-the-log-above-its-floor",
        file="gateway/commit/free.py",
        old="if stripe.family is StripeFamily.COMMIT and stripe.counter > floor:",
        new="if False:",
        seen_by=(f"{JOBS}/test_audit_repair.py", Sim()),
    ),
    # Keys, signatures, conditions
    Mutation(
        name="key-commitment",
        file="gateway/data/cipher.py",
        old="    if not hmac.compare_digest(keys.commitment, commitment):\n",
        new="    if False:\n",
        seen_by=(f"{DATA}/test_cipher.py",),
    ),
    Mutation(
        name="unsatisfiable-range",
        file="gateway/model/conditions.py",
        old="    if first >= content_bytes:\n",
        new="    if False:\n",
        seen_by=("tests/unit/gateway/model/test_conditions.py",),
    ),
    Mutation(
        name="if-none-match",
        file="gateway/model/conditions.py",
        old="if none_match is not None and etag is not None and names_etag(none_match, etag):",
        new="if False:",
        seen_by=("tests/unit/gateway/model/test_conditions.py", Sim()),
    ),
    Mutation(
        name="signature-skew",
        file="gateway/s3/sigv4_claim.py",
        old="    if abs(requested_s * 1000 - now_ms) > SKEW_MAX_S * 1000:\n",
        new="    if False:\n",
        seen_by=("tests/unit/gateway/s3/test_sigv4_claim.py",),
    ),
    Mutation(
        name="signature",
        file="gateway/s3/sigv4.py",
        old="    if hmac.compare_digest(_signature(key, text), provided):\n",
        new="    if True:\n",
        seen_by=("tests/unit/gateway/s3/test_sigv4.py",),
    ),
    Mutation(
        name="form-signature",
        file="gateway/s3/post_form_auth.py",
        old="    if not hmac.compare_digest(expected.encode(), signature.encode()):\n",
        new="    if False:\n",
        seen_by=("tests/conformance/s3/test_boto3_forms.py",),
    ),
    Mutation(
        name="form-extra-field",
        file="gateway/s3/post_form_policy.py",
        old="        if name not in told and name not in _FREE ",
        new="        if False and name not in _FREE ",
        seen_by=("tests/unit/gateway/s3/test_post_form_policy.py",),
    ),
    Mutation(
        name="form-length-shrinks-late",
        file="gateway/s3/post_form_body.py",
        old="        return self.file_is_whole or remaining <= AFTER_BYTES_MAX\n",
        new="        return False\n",
        seen_by=("tests/unit/gateway/s3/test_post_form_body.py",),
    ),
    Mutation(
        name="chunk-signature",
        file="gateway/s3/aws_chunked.py",
        old="        if not hmac.compare_digest(expected.encode(), provided.encode()):\n",
        new="        if False:\n",
        seen_by=("tests/unit/gateway/s3/test_aws_chunked.py",),
    ),
    Mutation(
        name="expected-digest",
        file="gateway/objects/store.py",
        old="        if digests[algorithm] != digest:\n",
        new="        if False:\n",
        seen_by=("tests/unit/gateway/objects/test_put_get.py",),
    ),
    Mutation(
        name="absent-in-a-damaged-partition",
        file="gateway/commit/log.py",
        old="if value is None and partition_of(key) in self.suspect:",
        new="if False:",
        seen_by=(f"{JOBS}/test_audit_repair.py",),
    ),
    # Lifecycle rules
    Mutation(
        name="lifecycle-lock",
        file="gateway/objects/lifecycle_acts.py",
        old="    check_unlocked(found.stored.version, now_ms=now_ms, bypass_governance=False)\n",
        new="",
        seen_by=(f"{JOBS}/test_lifecycle.py",),
    ),
    Mutation(
        name="lifecycle-counted",
        file="gateway/objects/lifecycle_acts.py",
        old="counted = tuple(Exists(held) for held in newer)",
        new="counted = ()",
        seen_by=(f"{JOBS}/test_lifecycle.py",),
    ),
    Mutation(
        name="lifecycle-decides-again",
        file="gateway/objects/lifecycle_acts.py",
        old="if decision.act is Act.EXPIRE:",
        new="if decision.act in (Act.EXPIRE, Act.KEEP):",
        seen_by=(f"{JOBS}/test_lifecycle.py",),
    ),
    Mutation(
        name="lifecycle-released",
        file="gateway/objects/lifecycle_moves.py",
        old="stripes=(*creates, *releases_of(old))",
        new="stripes=creates",
        seen_by=(f"{JOBS}/test_lifecycle_moves.py",),
    ),
    # Other names and other ends
    Mutation(
        name="rename-source",
        file="gateway/objects/rename.py",
        old="checks=(*checks_of(source, held), *checks_of(target, current), *gone.checks),",
        new="checks=(*checks_of(target, current), *gone.checks),",
        seen_by=(f"{OBJECTS}/test_rename_races.py",),
    ),
    Mutation(
        name="rename-target",
        file="gateway/objects/rename.py",
        old="checks=(*checks_of(source, held), *checks_of(target, current), *gone.checks),",
        new="checks=(*checks_of(source, held), *gone.checks),",
        seen_by=(f"{OBJECTS}/test_rename_races.py",),
    ),
    Mutation(
        name="rename-carries",
        file="gateway/objects/rename.py",
        old="bodies, stripes = self._carried.bodies_of(held.layout), gone.stripes",
        new="bodies, stripes = self._carried.bodies_of(None), gone.stripes",
        seen_by=(f"{OBJECTS}/test_rename_races.py",),
    ),
    Mutation(
        name="rename-delete-right",
        file="gateway/objects/rename.py",
        old="access.check(ctx, source.opened, Action.DELETE_OBJECT, source.key)",
        new="access.check(ctx, source.opened, Action.PUT_OBJECT, source.key)",
        seen_by=(
            "tests/conformance/s3/test_boto3_rename.py",
            "tests/conformance/s3/test_access_actions.py",
        ),
    ),
    Mutation(
        name="append-check",
        file="gateway/objects/append.py",
        old="*checks_of(target, held),",
        new="",
        seen_by=(f"{OBJECTS}/test_append_races.py",),
    ),
    Mutation(
        name="append-same-object",
        file="gateway/objects/append.py",
        old="if version.object_uuid != self._name.uuid:",
        new="if not version.object_uuid:",
        seen_by=(f"{OBJECTS}/test_append_races.py",),
    ),
    Mutation(
        name="append-left-out-parts",
        file="gateway/objects/append.py",
        old="await self._tidied()",
        new="pass",
        seen_by=(f"{OBJECTS}/test_append.py",),
    ),
    # Rights
    Mutation(
        name="rights-denial",
        file="gateway/model/policy.py",
        old="if said.denials.say(resource, caller, lookup):",
        new="if not said.denials:",
        seen_by=("tests/unit/gateway/model/test_policy.py", ACCESS),
    ),
    Mutation(
        name="rights-of-objects",
        file="gateway/objects/target.py",
        old="self.judge.admit(version)",
        new="return",
        seen_by=(ACCESS, "tests/conformance/s3/test_access_matrix.py"),
    ),
    Mutation(
        name="rights-ignored-acls",
        file="gateway/model/acl.py",
        old="elif not ignores_public and (",
        new="elif (",
        seen_by=(ACLS,),
    ),
    Mutation(
        name="rights-restricted-policy",
        file="gateway/objects/access_rules.py",
        old="return self.policy_is_public and self.public_access.restricts",
        new="return False",
        seen_by=(ACLS,),
    ),
    Mutation(
        name="rights-of-other-owners",
        file="gateway/objects/access.py",
        old="if not owner_id and _lets_in(rules, effect, is_bucket_owner)",
        new="if _lets_in(rules, effect, is_bucket_owner)",
        seen_by=(ACLS,),
    ),
)
