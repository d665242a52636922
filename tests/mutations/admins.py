"""Planted bugs of the admin plane: who is let in, what roles may, what is recorded."""

from __future__ import annotations

from tests.mutations.table import Mutation

ADMIN = "tests/unit/gateway/admin"
PEOPLE = f"{ADMIN}/test_administrators.py"
PLANES = f"{ADMIN}/test_planes.py"

MUTATIONS: tuple[Mutation, ...] = (
    Mutation(
        name="admin-handshake",
        file="gateway/admin/listener.py",
        old="context.verify_mode = ssl.CERT_REQUIRED",
        new="context.verify_mode = ssl.CERT_OPTIONAL",
        seen_by=(PLANES,),
    ),
    Mutation(
        name="admin-own-authority",
        file="gateway/admin/listener.py",
        old="if own & _certificates(other):",
        new="if False:",
        seen_by=(PLANES,),
    ),
    Mutation(
        name="admin-roles-of-routes",
        file="gateway/admin/gate.py",
        old="return bool(self.roles & entry.roles)",
        new="return True",
        seen_by=(PEOPLE,),
    ),
    Mutation(
        name="admin-routes-without-a-line",
        file="gateway/admin/gate.py",
        old="if entry is None or not actor.may(entry):",
        new="if entry is not None and not actor.may(entry):",
        seen_by=(PEOPLE,),
    ),
    Mutation(
        name="admin-roles-of-certificates",
        file="gateway/admin/gate.py",
        old="roles=held.roles & shown.roles & GIVEN_ROLES,",
        new="roles=held.roles | shown.roles,",
        seen_by=(PEOPLE,),
    ),
    Mutation(
        name="admin-disabled-accounts",
        file="gateway/admin/gate.py",
        old="if not held.enabled:",
        new="if False:",
        seen_by=(PEOPLE,),
    ),
    Mutation(
        name="admin-certificates-of-others",
        file="gateway/admin/gate.py",
        old="if not is_same_person(held.person, shown.person):",
        new="if False:",
        seen_by=(PEOPLE,),
    ),
    Mutation(
        name="admin-roles-of-one-person",
        file="gateway/model/administrators.py",
        old="            roles |= other.roles",
        new="            pass",
        seen_by=(PEOPLE,),
    ),
    Mutation(
        name="admin-local-root",
        file="gateway/admin/local_root.py",
        old="return not listening or not self._has_accounts()",
        new="return True",
        seen_by=(f"{ADMIN}/test_local_root.py",),
    ),
    Mutation(
        name="admin-denials-recorded",
        file="gateway/admin/gate.py",
        old="        if not self._denials.take(actor.name or actor.origin):",
        new="        if False:",
        seen_by=(PEOPLE,),
    ),
    Mutation(
        name="admin-acts-bounded",
        file="gateway/admin/gate.py",
        old="return self._acts.take(actor.name)",
        new="return True",
        seen_by=(PEOPLE,),
    ),
    Mutation(
        name="admin-own-bounded",
        file="gateway/admin/gate.py",
        old='return self._own.take(f"{actor.name}/{actor.fingerprint}")',
        new="return True",
        seen_by=(f"{ADMIN}/test_second_factor.py",),
    ),
    Mutation(
        name="admin-codes-once",
        file="gateway/admin/second_factors.py",
        old="step <= max(self._floor, self._used.get(who.name, 0))",
        new="step <= self._floor",
        seen_by=(f"{ADMIN}/test_second_factor.py",),
    ),
    Mutation(
        name="admin-codes-after-a-start",
        file="gateway/admin/second_factors.py",
        old="codes.step_at(env.now_ms()) + codes.WINDOW_STEPS",
        new="0",
        seen_by=(f"{ADMIN}/test_second_factor.py",),
    ),
    Mutation(
        name="admin-sessions-of-a-certificate",
        file="gateway/admin/second_factors.py",
        old="return found.who == who and",
        new="return found.who.name == who.name and",
        seen_by=(f"{ADMIN}/test_second_factor.py",),
    ),
    Mutation(
        name="admin-wrong-codes",
        file="gateway/admin/second_factors.py",
        old="        if not left:",
        new="        if False:",
        seen_by=(f"{ADMIN}/test_second_factor.py",),
    ),
    Mutation(
        name="admin-second-factor-required",
        file="gateway/admin/second_factors.py",
        old="if is_session or is_wanted:",
        new="if is_session:",
        seen_by=(f"{ADMIN}/test_second_factor_enrolment.py",),
    ),
    Mutation(
        name="admin-acts-of-tenants",
        file="gateway/admin/concerned.py",
        old="return found if not tenant or self._tenant(tenant) == found else None",
        new="return found",
        seen_by=(f"{ADMIN}/test_concerned.py",),
    ),
)
