"""What others ask of a gateway: while it is there, and a moment longer."""

from __future__ import annotations

from gateway.objects.demand import LULL_S, Demand


def test_nobody_has_asked_yet() -> None:
    assert not Demand().is_there(0.0)
    assert not Demand().is_there(1e9)


def test_demand_is_there_while_a_request_is_and_a_moment_longer() -> None:
    demand = Demand()
    demand.begin(10.0)
    demand.begin(11.0)
    demand.end()
    assert demand.under_way == 1
    assert demand.is_there(1e6), "a long body is still being sent"
    demand.end()
    assert demand.is_there(11.0 + LULL_S / 2)
    assert not demand.is_there(11.0 + LULL_S)
    assert repr(demand) == "Demand(0 under way)"
