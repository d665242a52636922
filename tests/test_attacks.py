"""Every attack has a test, and docs/security-tests.md says which."""

from __future__ import annotations

import pytest

from tests.attacks.__main__ import DOCUMENT, document
from tests.attacks.found import by_attack, functions
from tests.attacks.table import AS_S3, ATTACKS, AWAITING
from tests.support.route_matrix import ELSEWHERE


@pytest.mark.proves("A-14")
def test_every_attack_has_a_test_and_every_id_an_attack() -> None:
    assert by_attack().keys() <= ATTACKS.keys()
    assert ATTACKS.keys() - by_attack().keys() <= AWAITING.keys()
    assert AWAITING.keys() <= ATTACKS.keys() and AS_S3.keys() <= ATTACKS.keys()


def test_the_page_is_what_would_be_written() -> None:
    assert DOCUMENT.read_text(encoding="utf-8") == document(), "python -m tests.attacks"


def test_what_the_matrices_leave_to_others_is_tested_there() -> None:
    assert set(ELSEWHERE.values()) <= {test.name for test, _ in functions()}
