"""A connection that is closed if a whole request does not arrive in time: uvicorn itself waits for ever."""

from __future__ import annotations

import asyncio
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

#: Seconds that a browser has for a request, its body included; one on this machine needs milliseconds.
REQUEST_SECONDS = 20.0
_LOOKS = 4


class TimedProtocol(H11Protocol):
    """uvicorn's protocol by h11, with a limit on the time of a request that is not complete."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start to watch."""
        super().connection_made(transport)
        self._waited = 0
        self._watch: asyncio.TimerHandle | None = None
        self._look_again()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop watching."""
        if self._watch is not None:
            self._watch.cancel()
        super().connection_lost(exc)

    def shutdown(self) -> None:
        """Close the connection as the server ends; uvicorn would wait for the rest of a request that is not complete."""
        if self.conn.their_state is h11.SEND_BODY:
            self.transport.close()
        else:
            super().shutdown()

    def _look_again(self) -> None:
        loop: Any = self.loop
        self._watch = loop.call_later(REQUEST_SECONDS / _LOOKS, self._look)

    def _look(self) -> None:
        incomplete = self.conn.their_state in (h11.IDLE, h11.SEND_BODY)
        self._waited = self._waited + 1 if incomplete else 0
        if self._waited >= _LOOKS:
            self.transport.close()
        elif not self.transport.is_closing():
            self._look_again()
