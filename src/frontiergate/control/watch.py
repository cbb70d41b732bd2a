"""The watch: lets long polls wait for the store to change. It asks the store only while somebody waits."""

import asyncio

from frontiergate.store.protocol import Store


class Watch:
    """One poll of `store.changed()` for all who wait. `turn` counts the changes seen, so that none falls between two waits."""

    def __init__(self, store: Store, poll: float = 0.025) -> None:
        self._store = store
        self._poll = poll
        self._task: asyncio.Task[None] | None = None
        self._waiting = 0
        self.turn = 0

    async def after(self, turn: int, timeout: float) -> None:
        """Return once the store changed after `turn` was read, or after `timeout` seconds; raises StoreUnavailable."""
        if self.turn != turn:
            return
        if self._task is None:
            self._task = asyncio.create_task(self._until_changed())
        task = self._task
        self._waiting += 1
        try:
            await asyncio.wait({task}, timeout=timeout)
            if task.done():
                task.result()
        finally:
            self._waiting -= 1
            if self._waiting == 0 and not task.done():
                task.cancel()
                self._task = None

    async def _until_changed(self) -> None:
        try:
            while True:  # a file cannot wake us: it is asked, cheaply
                if await self._store.changed():
                    self.turn += 1
                    return
                await asyncio.sleep(self._poll)
        finally:
            if self._task is asyncio.current_task():
                self._task = None
