"""A destination of events that is an HTTP endpoint: each message is one POST of JSON, which is
taken when the answer is 2xx.

Redirects are not followed: a destination is what the operator has written.
"""

from __future__ import annotations

import aiohttp

from storaged.base.errors import Kind, StorageError

TIMEOUT_S = 10.0
CONNECTIONS_MAX = 8


class MessageRefused(StorageError):
    """The destination has not taken the message."""

    kind = Kind.UNAVAILABLE


class Webhook:
    """Posts messages to one URL."""

    def __init__(self, url: str, token: str | None = None) -> None:
        """Make one; connects when it is first used.

        Args:
            token: sent as a bearer token.
        """
        self._url = url
        self._headers = {"Content-Type": "application/json"}
        if token is not None:
            self._headers["Authorization"] = f"Bearer {token}"
        self._session: aiohttp.ClientSession | None = None

    async def send(self, message: bytes) -> None:
        """See `events.Destination`."""
        if self._session is None:
            self._session = aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(total=TIMEOUT_S),
                connector=aiohttp.TCPConnector(limit=CONNECTIONS_MAX),
            )
        try:
            async with self._session.post(
                self._url, data=message, headers=self._headers, allow_redirects=False
            ) as answer:
                if not 200 <= answer.status < 300:
                    raise MessageRefused(status=answer.status)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise MessageRefused(reason=type(error).__name__) from error

    async def close(self) -> None:
        """See `events.Destination`."""
        if self._session is not None:
            await self._session.close()
            self._session = None
