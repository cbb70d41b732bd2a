"""Strict JSON that arrives in pieces, cut into windows: each of whole tokens, each shown to go on as JSON from those before.

A window is put between brackets that reopen what was open before it and brackets that close what is open behind it, and read
by msgspec: that succeeds exactly if the text up to there can be the beginning of a document. So the parser that judges a whole
body (`jsonbody`) judges one in pieces too, at 1 ns a byte, and both refuse the same (docs/decisions/0009).

Kept between windows: a byte for each open bracket, the beginning of a token, and less than a window of bytes. No value is kept.
Windows lie at fixed places of the body, so that nothing depends on how the network cut it.
"""

import codecs
import enum
import re
from collections.abc import Iterator

import msgspec

from frontiergate.wire.jsonbody import TOO_DEEP, JsonError
from frontiergate.wire.jsonwindow import Window, brackets_of, depths_of, outlined, place, unpaired

WINDOW = 32 << 10  # bytes: 20 µs in a string, half a millisecond in ordinary JSON, 2 ms at most
LONGEST = 16 << 10  # bytes of a string, with its key, that is kept together; a longer one is broken up
MOST_TOKENS = 2_000_000  # strings and brackets of a document: 0.1 s; ordinary large bodies have thousands
_UNPAIRED = 15  # tokens more for a bracket that has to be looked at by itself: 0.1 µs

_SPACE = b" \t\n\r"
_NOT_STRUCTURE = bytes(range(256)).translate(None, b",[]{}")
_CLOSING = bytes.maketrans(b"[{", b"]}")
_HIGH_SURROGATE = re.compile(rb"\\u[dD][89abAB][0-9a-fA-F]{2}")
_PAIR = 12  # bytes of a surrogate pair, the longest thing in a string that cannot be cut
# Strings, which stay; runs of spaces and of digits, of which one and two say as much to a grammar.
_RUNS = re.compile(rb'("[^"\\]*+(?:\\.[^"\\]*+)*+"?)|([ \t\n\r])[ \t\n\r]++|(\d\d)\d++', re.DOTALL)
_ANY = msgspec.json.Decoder(msgspec.Raw)


class _Behind(enum.Enum):
    """What a window begins behind, in the innermost container."""

    NOTHING = enum.auto()  # the document has not begun
    OPENING = enum.auto()
    COMMA = enum.auto()
    VALUE = enum.auto()
    PART = enum.auto()  # of a string; the window begins with a quote that is not the caller's


_ENDS = {b",": _Behind.COMMA, b"[": _Behind.OPENING, b"{": _Behind.OPENING, b"]": _Behind.VALUE, b"}": _Behind.VALUE}
_REOPEN = {
    _Behind.OPENING: {b"[": b"[", b"{": b"{"},
    _Behind.COMMA: {b"[": b"[0,", b"{": b'{"":0,'},
    _Behind.VALUE: {b"[": b"[0", b"{": b'{"":0'},
    _Behind.PART: {b"[": b"[", b"{": b'{"":'},
}
_CLOSE = {
    _Behind.OPENING: {b"[": b"]", b"{": b"}"},
    _Behind.COMMA: {b"[": b"0]", b"{": b'"":0}'},
    _Behind.VALUE: {b"[": b"]", b"{": b"}"},
    _Behind.PART: {b"[": b"]", b"{": b"}"},
}


class JsonStream:
    """One document that is an object, in pieces. After an error it is of no more use."""

    def __init__(self) -> None:
        self._utf8 = codecs.getincrementaldecoder("utf-8")()
        self._waiting = bytearray()  # less than a window
        self._rest = b""  # behind the last window: the beginning of a token, and the key before it
        self._open = b""  # the brackets that are open, outermost first
        self._behind = _Behind.NOTHING
        self._tokens = 0

    def feed(self, piece: bytes) -> Iterator[Window]:
        """The windows that are full now. Raises JsonError."""
        waiting, start = self._waiting, 0
        while len(waiting) + len(piece) - start >= WINDOW:
            stop = start + WINDOW - len(waiting)
            window = bytes(waiting) + piece[start:stop]
            waiting.clear()
            start = stop
            yield from self._advance(window)
        waiting += memoryview(piece)[start:]

    def finish(self) -> Iterator[Window]:
        """The last window. Raises JsonError, also where the document is not complete."""
        yield from self._advance(bytes(self._waiting))
        self._waiting.clear()
        if self._behind is _Behind.NOTHING or self._open or self._utf8.getstate()[0]:
            raise JsonError("it ends before its object does")
        if self._rest.strip(_SPACE):
            raise _trailing()

    def _advance(self, piece: bytes) -> Iterator[Window]:
        self._check_encoding(piece)
        text = self._rest + piece
        if self._behind is _Behind.NOTHING:
            text = text.lstrip(_SPACE)
            if text and not text.startswith(b"{"):
                raise JsonError("it is not a JSON object")
        elif not self._open and text.strip(_SPACE):
            raise _trailing()
        if self._behind is _Behind.PART and text.find(b'"', 1) < 0 and b"\\" not in text:  # most of a body that is one large string
            yield self._part(text)
        else:
            yield from self._cut(text)

    def _part(self, text: bytes) -> Window:
        """A window of nothing but a part of a string."""
        self._rest = b'"'
        text += b'"'
        self._prove(text, self._open, _Behind.PART)
        depth = len(self._open)
        return Window(text, b'"', [len(text) - 2], depth, depth, continues=True, breaks=True)

    def _cut(self, text: bytes) -> Iterator[Window]:
        outline, lengths, unfinished = outlined(text)
        end = len(outline.rstrip(_NOT_STRUCTURE))  # behind it lie at most a key and the beginning of a value
        cut = place(outline, lengths, end)
        if len(outline) - end > LONGEST // 4:
            text = text[:cut] + _RUNS.sub(rb"\1\2\3", text[cut:])
            outline, lengths, unfinished = outlined(text)
        still_open, lowest = self._follow(outline, len(lengths))
        if len(text) - cut <= LONGEST:
            behind, breaks, rest = _ENDS.get(outline[end - 1 : end], self._behind), False, text[cut:]
            text, outline = text[:cut], outline[:end]
        else:
            self._check_key(outline, lengths, end, still_open)
            behind, breaks, rest = _Behind.VALUE, unfinished is not None, b""
            if unfinished is not None:
                behind = _Behind.PART
                cut = len(text) - len(unfinished) + _kept(unfinished)
                text, rest = text[:cut] + b'"', b'"' + text[cut:]
                lengths[-1] -= len(rest) - 1
                outline += b'"'
        if text:
            self._prove(text, still_open, behind)
        window = Window(text, outline, lengths, len(self._open), lowest, continues=self._behind is _Behind.PART, breaks=breaks)
        self._open, self._behind, self._rest = still_open, behind, rest
        if text:
            yield window

    def _follow(self, outline: bytes, strings: int) -> tuple[bytes, int]:
        """The brackets that are open behind `outline`, and how many were where the fewest were. Raises JsonError.

        Of the fresh ones, each stands where its depth was for the last time. That each is closed by its like, `_prove` sees.
        """
        brackets = brackets_of(outline)
        left = unpaired(brackets)
        self._tokens += strings + len(brackets) + _UNPAIRED * len(left)
        if self._tokens > MOST_TOKENS:
            raise JsonError("it is large and has too many strings, arrays and objects")
        depths = depths_of(left, len(self._open))
        lowest = min(depths)
        if lowest < 0:
            raise _trailing()
        backwards = depths[::-1]
        fresh, at = bytearray(), 0
        for depth in range(depths[-1] - 1, lowest - 1, -1):
            at = backwards.index(depth, at)
            fresh.append(left[len(left) - at])
        return self._open[:lowest] + bytes(fresh[::-1]), lowest

    def _check_encoding(self, piece: bytes) -> None:
        if self._utf8.getstate()[0] or not piece.isascii():
            try:
                self._utf8.decode(piece)
            except UnicodeDecodeError as error:
                raise JsonError("it is not valid UTF-8") from error

    def _check_key(self, outline: bytes, lengths: list[int], end: int, still_open: bytes) -> None:
        """A key is never broken up. Behind `end`, an object has one key and the beginning of its value, or the rest of a string."""
        if still_open.endswith(b"{") and not (end == 0 and self._behind is _Behind.PART):
            first = outline.count(b'"', 0, end)
            if max(lengths[first : first + 1], default=0) > LONGEST // 2:
                raise JsonError(f"a key is longer than {LONGEST // 2} bytes")

    def _prove(self, text: bytes, still_open: bytes, behind: _Behind) -> None:
        """That the document so far, up to and with `text`, can be gone on with as JSON."""
        before, after = b"", b""
        if self._open:
            before = self._open[:-1].replace(b"{", b'{"":') + _REOPEN[self._behind][self._open[-1:]]
        if still_open:
            after = _CLOSE[behind][still_open[-1:]] + still_open[-2::-1].translate(_CLOSING)
        try:
            _ANY.decode(b"".join((before, text, after)))
        except msgspec.DecodeError as error:
            raise JsonError(str(error).partition(" (byte")[0]) from error  # where, in a text that nobody sent
        except RecursionError as error:
            raise JsonError(TOO_DEEP) from error


def _kept(content: bytes) -> int:
    """How much of a string can be parted from the rest: no escape and no surrogate pair is cut through."""
    kept = content.rfind(b"\\", -_PAIR)
    if kept < 0:
        return len(content)
    first_half = max(0, kept - _PAIR // 2)
    return first_half if _HIGH_SURROGATE.fullmatch(content, first_half, kept) else kept


def _trailing() -> JsonError:
    return JsonError("something follows its object")
