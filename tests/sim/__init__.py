"""Whole clusters in one process, from a seed: `python -m tests.sim --seed N | --count N`."""
