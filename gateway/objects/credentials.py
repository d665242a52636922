"""Access keys: who an access key id is, and the signing keys of its days.

Secrets stay sealed in the access-key rows; what is cached are signing keys good for one day, region
and service.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.objects.context import Principal

SIGNING_KEYS_MAX = 4096


class Credentials:
    """Looks up principals and their signing keys."""

    def signing_key(
        self, access_key_id: str, date: str, region: str, service: str = "s3"
    ) -> tuple[Principal, bytes] | None:
        """The caller and the 32-byte key of one day (YYYYMMDD), region and service; None for an
        unknown id.

        Synchronous: a cached answer costs one dictionary look-up, else one index read and five
            HMACs.
        """
        raise NotImplementedError
