"""What stands for a provider's approvers where the provider knows none."""

from __future__ import annotations

from gateway.keyd.refusals import KeydRefused


class NoWarrants:
    """Stands for what a provider without approvers has not."""

    def approvers(self) -> bytes:
        """Nobody is registered."""
        return b""

    def set_approvers(self, document: bytes, warrant: bytes = b"") -> None:
        """Raises: KeydRefused."""
        raise KeydRefused(reason="this provider knows no approvers")

    def spend_warrant(self, item: str, warrant: bytes, holder: str) -> None:
        """Nobody is registered, so all is approved."""
