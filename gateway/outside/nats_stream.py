"""A destination of events that is a subject of a NATS stream: a message is taken when the stream
(JetStream) has acknowledged it.

The URL is nats://host:port/subject, or tls://….
"""

from __future__ import annotations

from urllib.parse import unquote, urlsplit

import nats
from nats.aio.client import Client
from nats.errors import Error as NatsError

from gateway.outside.webhook import MessageRefused

TIMEOUT_S = 10.0
CONNECT_S = 5.0


class NatsStream:
    """Publishes messages to one subject."""

    def __init__(self, url: str, token: str | None = None) -> None:
        """Make one; connects when it is first used, and again after a failure.

        Args:
            token: what the server asks for.
        """
        parts = urlsplit(url)
        self._server = f"{parts.scheme}://{parts.netloc}"
        self._subject = unquote(parts.path.strip("/"))
        self._token = token
        self._client: Client | None = None

    async def send(self, message: bytes) -> None:
        """See `events.Destination`."""
        try:
            client = await self._connected()
            await client.jetstream().publish(self._subject, message, timeout=TIMEOUT_S)
        except (NatsError, TimeoutError, OSError) as error:
            await self.close()
            raise MessageRefused(reason=type(error).__name__) from error

    async def _connected(self) -> Client:
        if self._client is None or not self._client.is_connected:
            await self.close()
            self._client = await nats.connect(
                self._server,
                token=self._token,
                connect_timeout=CONNECT_S,
                allow_reconnect=False,
                max_reconnect_attempts=1,
                reconnect_time_wait=0.1,
                error_cb=_forget,
            )
        return self._client

    async def close(self) -> None:
        """See `events.Destination`."""
        client, self._client = self._client, None
        if client is not None:
            await client.close()


async def _forget(_: Exception) -> None:
    """What fails is raised where it is waited for."""
