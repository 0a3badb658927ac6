"""What wakes those who wait for an engine's users, state or place to change."""

import asyncio
import contextlib


class Changes:
    """One event for all changes; whoever waits looks again at what he waits for."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def notify(self) -> None:
        """Wake all."""
        self._event.set()
        self._event = asyncio.Event()

    async def wait(self, seconds: float | None = None) -> None:
        """Wait for the next change, for at most so many seconds."""
        # Not `wait_for`, which in Python 3.11 forgets a cancellation that comes with the change.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._event.wait()
