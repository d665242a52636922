"""The `hexagone` command: clients of the admin port, and what needs no gateway at all.

Not for what a gateway does: nothing here reads or writes its rows (a contract in `pyproject.toml`).
"""
