"""How each peer is started: its own documented settings, six drives or three nodes, loopback."""
