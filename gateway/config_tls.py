"""How certificates of this gateway are renewed by themselves."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class RenewalConfig:
    """Section `[node_tls.renewal]`.

    Args:
        folder: this gateway's own, for keys that are made here.
        spool: what goes to the CA and comes back; no secret is in it.
    """

    folder: Path
    spool: Path
