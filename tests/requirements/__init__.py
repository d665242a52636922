"""Requirements, adversaries and attacks by id, and the tests that prove each.

`table` says what the ids mean, `tests.attacks.found` which tests name them; `python -m
tests.requirements` prints the matrix, writes docs/requirements.md, and fails where one that must
have a test has none.
"""
