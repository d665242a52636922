"""Keys of one log, all derived from the root key by the composition root."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from storaged.base.ids import LogId


@dataclass(frozen=True, slots=True, kw_only=True)
class LogKeys:
    """`log_key` (32 bytes) makes the MAC of headers; `cipher` gives the records' key of an epoch
    (use a cached function); `segments` seals checkpoint segments and pack directories, nonce = the
    stripe's id, used once (D4)."""

    log: LogId
    log_key: bytes
    cipher: Callable[[int], AESGCM]
    segments: AESGCM

    def __repr__(self) -> str:
        return "LogKeys(<secret>)"
