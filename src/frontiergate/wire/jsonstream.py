"""Strict JSON that arrives in pieces, cut into windows: each of whole tokens, each shown to go on as JSON from those before.

A window is put between brackets that reopen what was open before it and brackets that close what is open behind it, and read
by msgspec: that succeeds exactly if the text up to there can be the beginning of a document. So the parser that judges a whole
body (`jsonbody`) judges one in pieces too, at 1 ns a byte, and both refuse the same (docs/decisions/0003).

Kept between windows: a byte for each open bracket, the beginning of a token, and less than a window of bytes. No value is kept.
Windows lie at fixed places of the body, so that nothing depends on how the network cut it.
"""

import codecs
import enum
import re
from array import array
from collections.abc import Iterator
from itertools import accumulate

import msgspec

from frontiergate.wire.jsonbody import TOO_DEEP, JsonError

WINDOW = 64 << 10  # bytes: half a millisecond at most, but 2 to 3 ms where all of them are brackets
LONGEST = 16 << 10  # bytes of a string, with its key, that is kept together; a longer one is broken up
MOST_TOKENS = 2_000_000  # strings and brackets of a document: 0.1 s; ordinary large bodies have thousands

TOO_LONG = "\x7fa string that is too long to be kept\x7f"  # stands for one that was broken up; nobody names a model like that

_SPACE = b" \t\n\r"
_ALL = bytes(range(256))
_NOT_STRUCTURE = _ALL.translate(None, b",[]{}")
_NOT_BRACKETS = _ALL.translate(None, b"[]{}")
_STEPS = bytes.maketrans(b"[{]}", b"\x01\x01\xff\xff")  # as signed bytes: one deeper, one less deep
_CLOSING = bytes.maketrans(b"[{", b"]}")
_HIGH_SURROGATE = re.compile(rb"\\u[dD][89abAB][0-9a-fA-F]{2}")
_PAIRED = 4  # times that brackets with nothing between them are left out before the others are looked at, at 40 ns for each
_PAIR = 12  # bytes of a surrogate pair, the longest thing in a string that cannot be cut
# Strings, which stay; runs of spaces and of digits, of which one and two say as much to a grammar.
_RUNS = re.compile(rb'("(?:[^"\\]|\\.)*+"?)|([ \t\n\r])[ \t\n\r]++|(\d\d)\d++', re.DOTALL)
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


class Window(msgspec.Struct, frozen=True):
    """Some whole tokens of a document. Positions are places in `outline`."""

    text: bytes
    outline: bytes  # the text, with each string as one quote
    strings: list[bytes]  # their contents, of which only the lengths matter
    depth: int  # how many brackets are open before it
    lowest: int  # and at least, anywhere in it
    continues: bool  # it begins with the rest of a string that the window before broke up
    breaks: bool  # it ends with the beginning of a string that the next window goes on with

    def depths(self) -> list[int]:
        """How many brackets are open before each bracket of the outline, and behind the last: 40 ns for each."""
        return _depths(self.outline.translate(None, _NOT_BRACKETS), self.depth)

    def bracket(self, number: int) -> int:
        """The position of the bracket of this number, by halving: 0.2 ms at most."""
        start, stop = 0, len(self.outline)
        while stop - start > 1:
            middle = (start + stop) // 2
            before = len(self.outline[start:middle].translate(None, _NOT_BRACKETS))
            if before <= number:
                start, number = middle, number - before
            else:
                stop = middle
        return start

    def place(self, position: int) -> int:
        """Where in the text a position is."""
        return _place(self.outline, self.strings, position)

    def between(self, start: int, stop: int) -> bytes:
        """The text between two positions."""
        return self.text[self.place(start) : self.place(stop)]

    def items(self, start: int, stop: int) -> bytes:
        """The same, where a string that the window breaks up stands as TOO_LONG."""
        if self.breaks and start < stop == len(self.outline):
            return self.between(start, stop - 1) + b'"' + TOO_LONG.encode() + b'"'
        return self.between(start, stop)


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
        waiting = self._waiting
        waiting += piece
        while len(waiting) >= WINDOW:
            taken = bytes(waiting[:WINDOW])
            del waiting[:WINDOW]
            yield from self._advance(taken)

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
        if self._behind is _Behind.PART and text.count(b'"') == 1 and b"\\" not in text:  # most of a body that is one large string
            yield self._part(text)
        else:
            yield from self._cut(text)

    def _part(self, text: bytes) -> Window:
        """A window of nothing but a part of a string."""
        self._rest = b'"'
        text += b'"'
        self._prove(text, self._open, _Behind.PART)
        depth = len(self._open)
        return Window(text, b'"', [text[1:-1]], depth, depth, continues=True, breaks=True)

    def _cut(self, text: bytes) -> Iterator[Window]:
        outline, strings, unfinished = _outlined(text)
        end = len(outline.rstrip(_NOT_STRUCTURE))
        cut = _place(outline, strings, end)
        if len(outline) - end > LONGEST // 4:
            shorter = _RUNS.sub(rb"\1\2\3", text[cut:])
            text = text[:cut] + shorter
            outline, strings, unfinished = _outlined(text)
        brackets = outline.translate(None, _NOT_BRACKETS)
        self._count(len(strings) + len(brackets))
        still_open, lowest = _still_open(self._open, brackets)
        if len(text) - cut <= LONGEST:
            behind, breaks, rest = _ENDS.get(outline[end - 1 : end], self._behind), False, text[cut:]
            text, outline = text[:cut], outline[:end]
        else:
            self._check_key(outline, strings, end, still_open)
            behind, breaks, rest = (_Behind.PART if unfinished else _Behind.VALUE), unfinished, b""
            if unfinished:
                text, rest = _broken(text, strings)
                outline += b'"'
        if text:
            self._prove(text, still_open, behind)
            yield Window(text, outline, strings, len(self._open), lowest, continues=self._behind is _Behind.PART, breaks=breaks)
        self._open, self._behind, self._rest = still_open, behind, rest

    def _check_encoding(self, piece: bytes) -> None:
        if self._utf8.getstate()[0] or not piece.isascii():
            try:
                self._utf8.decode(piece)
            except UnicodeDecodeError as error:
                raise JsonError("it is not valid UTF-8") from error

    def _count(self, tokens: int) -> None:
        self._tokens += tokens
        if self._tokens > MOST_TOKENS:
            raise JsonError(f"it is large and has more than {MOST_TOKENS} strings and brackets")

    def _check_key(self, outline: bytes, strings: list[bytes], end: int, still_open: bytes) -> None:
        """A key is never broken up. Behind `end`, an object has one key and the beginning of its value, or the rest of a string."""
        if still_open.endswith(b"{") and not (end == 0 and self._behind is _Behind.PART):
            first = outline.count(b'"', 0, end)
            if strings[first : first + 1] and len(strings[first]) > LONGEST // 2:
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


def _outlined(text: bytes) -> tuple[bytes, list[bytes], bool]:
    """The outline of `text`, the contents of its strings, and whether the last of them has no end: then it is not in the outline.

    What it says of a text that is no JSON does not matter: the first byte that is wrong stays in some window.
    """
    if b"\\" in text:  # each escape that could be taken for an end becomes another of the same length
        text = text.replace(b"\\\\", b"\\_").replace(b'\\"', b"\\_")
    pieces = text.split(b'"')
    return b'"'.join(pieces[::2]), pieces[1::2], len(pieces) % 2 == 0


def _place(outline: bytes, strings: list[bytes], position: int) -> int:
    """Where in the text a position of the outline is."""
    count = outline.count(b'"', 0, position)
    return position + count + sum(map(len, strings[:count]))


def _depths(brackets: bytes, depth: int) -> list[int]:
    return list(accumulate(array("b", brackets.translate(_STEPS)), initial=depth))


def _still_open(was_open: bytes, brackets: bytes) -> tuple[bytes, int]:
    """The brackets that are open behind `brackets`, and how many were at the lowest point.

    Of the fresh ones, each stands where its depth was for the last time. That a bracket is closed by its like, `_prove` sees.
    """
    for _ in range(_PAIRED):
        brackets = brackets.replace(b"[]", b"").replace(b"{}", b"")
    depths = _depths(brackets, len(was_open))
    lowest = min(depths)
    if lowest < 0:
        raise _trailing()
    backwards = depths[::-1]
    fresh, at = bytearray(), 0
    for depth in range(depths[-1] - 1, lowest - 1, -1):
        at = backwards.index(depth, at)
        fresh.append(brackets[len(brackets) - at])
    return was_open[:lowest] + bytes(fresh[::-1]), lowest


def _broken(text: bytes, strings: list[bytes]) -> tuple[bytes, bytes]:
    """`text` with an end to its last string, and what the next window begins with; no escape and no surrogate pair is cut."""
    content = strings[-1]
    kept = content.rfind(b"\\", -_PAIR)
    if kept < 0:
        kept = len(content)
    elif _HIGH_SURROGATE.fullmatch(content, max(0, kept - _PAIR // 2), kept):
        kept -= _PAIR // 2
    cut = len(text) - len(content) + kept
    strings[-1] = content[:kept]
    return text[:cut] + b'"', b'"' + text[cut:]


def _trailing() -> JsonError:
    return JsonError("something follows its object")
