"""Hexagone beside its peers: the same load for all, in turns, on one machine."""
