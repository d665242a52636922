"""Token buckets of access keys and addresses."""

from __future__ import annotations

import pytest

from gateway.model.errors import SlowDown
from gateway.model.quota import EVERY, Quota, Subject
from gateway.objects import throttle as throttles
from gateway.objects.throttle import Throttle
from tests.support.metered import TurnedEnv

pytestmark = pytest.mark.proves("A-06")

KEY, SOURCE = Subject.ACCESS_KEY, Subject.SOURCE


def admitted(throttle: Throttle, subject: Subject, name: str, tries: int) -> int:
    count = 0
    for _ in range(tries):
        try:
            throttle.admit(subject, name)
            count += 1
        except SlowDown:
            continue
    return count


def test_rates_hold_over_time_and_each_has_its_own() -> None:
    env = TurnedEnv()
    throttle = Throttle(env)
    assert not throttle.is_set
    throttle.load({(KEY, EVERY): Quota(requests_per_s=5), (KEY, "big"): Quota(requests_per_s=50)})
    assert admitted(throttle, KEY, "a", 100) == 5
    assert admitted(throttle, KEY, "b", 100) == 5
    assert admitted(throttle, KEY, "big", 100) == 50
    assert admitted(throttle, SOURCE, "a", 100) == 100
    env.turn(0.41)
    assert admitted(throttle, KEY, "a", 100) == 2
    env.turn(3600)
    assert admitted(throttle, KEY, "a", 100) == 5


def test_overdrawn_bytes_hold_up_what_comes_after() -> None:
    env = TurnedEnv()
    throttle = Throttle(env)
    throttle.load({(SOURCE, "::1"): Quota(out_bytes_per_s=1000, in_bytes_per_s=10)})
    throttle.admit(SOURCE, "::1")
    throttle.charge(SOURCE, "::1", 0, 5000)
    for _ in range(3):
        with pytest.raises(SlowDown):
            throttle.admit(SOURCE, "::1")
        env.turn(1)
    env.turn(1.01)
    throttle.admit(SOURCE, "::1")
    throttle.charge(SOURCE, "::1", 30, 0)
    with pytest.raises(SlowDown):
        throttle.admit(SOURCE, "::1")


def test_the_table_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(throttles, "TABLE_MAX", 10)
    throttle = Throttle(TurnedEnv())
    one = Quota(requests_per_s=1)
    throttle.load({(SOURCE, EVERY): one, (KEY, EVERY): one})
    throttle.admit(KEY, "a")
    for number in range(1000):
        throttle.admit(SOURCE, f"10.0.0.{number}")
    assert len(throttle._held[SOURCE]) == 10
    assert admitted(throttle, KEY, "a", 5) == 0  # no address makes room for a key


def test_a_machine_with_many_addresses_is_one() -> None:
    throttle = Throttle(TurnedEnv())
    one = Quota(requests_per_s=1)
    throttle.load({(SOURCE, EVERY): one, (SOURCE, "2001:db8::5"): one})
    assert sum(admitted(throttle, SOURCE, f"2001:db8::1:{n:x}", 1) for n in range(100)) == 1
    assert admitted(throttle, SOURCE, "2001:db8::5", 9) == 1
    assert admitted(throttle, SOURCE, "2001:db8:0:1::1", 9) == 1
    assert sum(admitted(throttle, SOURCE, f"::ffff:10.0.0.{n}", 1) for n in range(100)) == 100
    assert admitted(throttle, SOURCE, "", 9) == 1
