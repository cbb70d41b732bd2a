"""Which models a large body names, found while it arrives, in memory that does not grow with it (P1, P8; BYPASSES 1 to 9, 16).

The answer is the one that `read_models` gives for the whole body. What is no JSON is refused at once; whatever else is wrong,
at the end, when it is certain which refusal comes first.
"""

from frontiergate.dialects.frames import Body, Frame
from frontiergate.dialects.models import ModelError, names_of, repeated, unreadable
from frontiergate.dialects.operation import Operation
from frontiergate.domain.reason import Reason
from frontiergate.wire.jsonbody import JsonError, RepeatedKeyError
from frontiergate.wire.jsonstream import JsonStream
from frontiergate.wire.jsonwindow import TOO_LONG, Window


class ModelReader:
    """One body. After a ModelError, the reader is of no more use."""

    __slots__ = ("_body", "_frames", "_operation", "_stream")

    def __init__(self, operation: Operation) -> None:
        self._operation = operation
        self._stream = JsonStream()
        self._body = Body(operation)
        self._frames: list[Frame] = [self._body]  # outermost first; each lies in the one before, one bracket deeper

    def feed(self, chunk: bytes) -> None:
        """Read on. 256 KiB cost 1 ms in a large string, up to 10 ms if all are tokens, and 2 µs a part looked into. Raises ModelError."""
        try:
            for window in self._stream.feed(chunk):
                self._walk(window)
        except JsonError as error:
            raise unreadable(error) from error

    def finish(self) -> list[str]:
        """The names in the body, as sent, each once; the required one is first. Raises ModelError."""
        try:
            for window in self._stream.finish():
                self._walk(window)
            self._body.check()
        except RepeatedKeyError as error:
            raise repeated(error, self._operation) from error
        except JsonError as error:
            raise unreadable(error) from error
        names = names_of(self._operation, self._body.found)
        if TOO_LONG in names:
            raise ModelError(Reason.CALLER_MODEL_UNKNOWN, "the body names a model by a string that is too long to be a model's name")
        return names

    def _walk(self, window: Window) -> None:
        """Give each frame what `window` has of it: whole items, and containers that the next window goes on with."""
        for frame in self._frames:
            frame.since = 0
        if window.lowest <= len(self._frames):  # else all of it is in a container that nobody looks into
            self._enter(window)
        for frame in self._frames:
            frame.see(window, len(window.outline))

    def _enter(self, window: Window) -> None:
        """From the first position on that belongs to a frame."""
        frames, depths = self._frames, window.depths()
        bracket = int(depths[0] == 0)  # the first one is the body's own
        here = int(window.continues) + bracket
        if depths[bracket] > len(frames):
            bracket = depths.index(len(frames))
            here = window.bracket(bracket - 1) + 1
        while frames:
            level = len(frames)
            end = _find(depths, level - 1, bracket)
            if end >= 0:
                bracket, stop = end, window.bracket(end - 1)
                self._close(window, here, stop)
                here = stop + 1
                continue
            last = len(depths) - 1 - depths[::-1].index(level)  # of the brackets, the first that stays open
            if last == len(depths) - 1:
                frames[-1].take(window.items(here, len(window.outline)))
                break
            stop = window.bracket(last)
            item = max(here, window.outline.rfind(b",", here, stop) + 1)  # from there to the bracket, there is at most a key
            frames[-1].take(window.items(here, item))
            child = frames[-1].begin(window.between(item, stop), window.outline[stop : stop + 1])
            if child is None:
                break
            child.since = stop
            frames.append(child)
            here, bracket = stop + 1, last + 1

    def _close(self, window: Window, here: int, stop: int) -> None:
        """The innermost frame ends at the bracket at `stop`."""
        frame = self._frames.pop()
        frame.take(window.items(here, stop))
        frame.see(window, stop)
        if self._frames:
            self._frames[-1].give(frame.close())


def _find(depths: list[int], depth: int, start: int) -> int:
    """The first index from `start` on, or -1."""
    try:
        return depths.index(depth, start)
    except ValueError:
        return -1
