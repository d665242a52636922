"""Planted bugs: `python -m tests.mutations`."""
