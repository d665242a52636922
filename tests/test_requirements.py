"""The matrix: every id is known, what must have a test has one, and the page is current."""

from __future__ import annotations

from tests.requirements.__main__ import DOCUMENT, document, missing, proofs_by_id, unknown


def test_every_id_is_known_and_what_must_have_a_test_has_one() -> None:
    found = proofs_by_id()
    assert not unknown(found), "put them into tests/requirements/table.py or tests/attacks/table.py"
    assert not missing(found)


def test_the_page_is_what_would_be_written() -> None:
    assert DOCUMENT.read_text(encoding="utf-8") == document(proofs_by_id()), "make matrix"
