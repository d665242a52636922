"""Attacks by id, and the tests that prove each to come to nothing.

`table` names the attacks, `found` the tests; `python -m tests.attacks` writes both into
docs/security-tests.md, and `tests/test_attacks.py` holds them together.
"""
