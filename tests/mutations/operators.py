"""Planted bugs in what keeps operators apart, in what an order could obtain, and in the time for
locks.
"""

from __future__ import annotations

from tests.mutations.table import DATA, OBJECTS, Mutation

PLACEMENT = f"{DATA}/test_operators.py"
CONFIG = "tests/unit/gateway/test_operator_config.py"
PRODUCED = "tests/adversaries/test_produced.py"
LOCKS = f"{OBJECTS}/test_lock_clock.py"

MUTATIONS: tuple[Mutation, ...] = (
    Mutation(
        name="operator-gets-k-shards",
        file="gateway/data/placement.py",
        old="    return max(1, geometry.k - 1) if bound else geometry.n\n\n\ndef too_much",
        new="    return geometry.k if bound else geometry.n\n\n\ndef too_much",
        seen_by=(PLACEMENT,),
    ),
    Mutation(
        name="operators-that-are-away-do-not-count",
        file="gateway/data/topology.py",
        old="if node.state is not NodeState.GONE)",
        new="if node.state is NodeState.ACTIVE and node.number < 5)",
        seen_by=(PLACEMENT,),
    ),
    Mutation(
        name="repair-crowds-an-operator",
        file="gateway/jobs/repair_plan.py",
        old="    return _apart(row, plan, missing, topology)\n",
        new="    return plan\n",
        seen_by=(PLACEMENT,),
    ),
    Mutation(
        name="certificate-of-another-operator",
        file="storaged/identity.py",
        old="wanted = expected if expected.operator else replace(",
        new="wanted = replace(",
        seen_by=(CONFIG,),
    ),
    Mutation(
        name="client-keys-are-called-readable",
        file="gateway/admin/produce.py",
        old="        return Fate.CLIENT_KEY\n",
        new="        return Fate.READABLE\n",
        seen_by=(PRODUCED,),
    ),
    Mutation(
        name="destroyed-keys-are-called-disabled",
        file="gateway/admin/produce.py",
        old="        if KeyState.DESTROYED in chain:\n            return Fate.DESTROYED\n",
        new="        if KeyState.DESTROYED in chain:\n            return Fate.DISABLED\n",
        seen_by=(PRODUCED,),
    ),
    Mutation(
        name="locks-follow-the-wall-clock",
        file="gateway/objects/lock_clock.py",
        old="    return services.env.now_ms() if clock is None else clock.now_ms()\n",
        new="    return services.env.now_ms()\n",
        seen_by=(LOCKS,),
    ),
    Mutation(
        name="any-clock-is-believed-at-the-start",
        file="gateway/objects/lock_clock.py",
        old="        if written_ms and wall_ms > written_ms + away_max_ms:\n",
        new="        if False:\n",
        seen_by=(LOCKS,),
    ),
)
