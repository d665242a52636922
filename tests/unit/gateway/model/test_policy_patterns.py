"""Patterns of policies match as those of shells do, and never take long."""

from __future__ import annotations

import fnmatch
import re
import time

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.model.policy_patterns import Pattern


@settings(max_examples=300, deadline=None)
@given(st.text("ab*?", max_size=12), st.text("ab", max_size=12))
def test_patterns_match_as_shells_do(pattern: str, text: str) -> None:
    assert Pattern(pattern).matches(text) is (
        re.compile(fnmatch.translate(pattern)).match(text) is not None
    )


def test_no_pattern_stalls() -> None:
    pattern = Pattern("b/" + "a*" * 500 + "b")
    began = time.perf_counter()
    assert not pattern.matches("b/" + "a" * 1024)
    assert Pattern("*" * 4000 + "?").matches("x")
    assert time.perf_counter() - began < 0.5
