"""What Hexagone is made of: each package that it runs with, its licence, whose it is, and where
Hexagone itself connects to.

`locked` reads requirements.lock, `table` has what no lock knows; `python -m tests.supply` writes
docs/dependencies.md and docs/sbom.json.
"""
