"""Strict JSON (RFC 8259, as narrowed by I-JSON, RFC 7493): what is read here is what any parser reads, or it is refused.

One level at a time, values left as bytes: no number is parsed, no tree is built, nothing that nobody asked for is kept.
msgspec validates the syntax of the whole document, skipped values included (control characters, escapes, lone surrogates,
numbers, depth), but for the UTF-8 of skipped strings, which `document` looks at first.
"""

import operator
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable

import msgspec
from msgspec import Raw

from frontiergate.wire.jsonkey import Key

MOST_MEMBERS = 1000  # of one object that is looked into; no model API comes near
MOST_COMMAS = 1_000_000  # in one array that is looked into, at any depth: a bound on its elements before any exists
_LARGE = 64 << 10  # bytes; below, even the most members that fit cost under 10 ms
TOO_DEEP = "it is nested too deeply"
_LONGEST_NAME = 32  # characters; a longer key folds to no name that anyone asks for
_SHOWN = 64  # characters of a key in a message
# What an escape in a key can hide, in lower case: a letter, `_`, or the NUL that ends the key to a C library.
_LETTER = re.compile(rb"\\u00(?:00|4[1-9a-f]|5[0-9af]|6[1-9a-f]|7[0-9a])")


class JsonError(ValueError):
    """The text is not strict JSON, or not within bounds. The message completes "the body is refused: …"."""


class RepeatedKeyError(JsonError):
    """A key occurs twice in one object: parsers differ in which of the two they take (RFC 8259 section 4)."""

    def __init__(self, key: str) -> None:
        super().__init__(f"the key {key[:_SHOWN]!r} occurs more than once in one object")
        self.key = key


_MEMBERS = msgspec.json.Decoder(dict[Key, Raw], dec_hook=operator.call)  # no Python frame a key: 0.2 µs each, not 0.5
_PLAIN = msgspec.json.Decoder(dict[str, Raw])
_ELEMENTS = msgspec.json.Decoder(list[Raw])
_STRING = msgspec.json.Decoder(str)


def document(body: bytes | bytearray) -> dict[str, Raw]:
    """The members of the object that `body` is, each value as its own bytes. Raises JsonError, RepeatedKeyError."""
    text = bytes(body)  # the same object where it is bytes already
    if not text.isascii():
        try:
            str(text, "utf-8")
        except UnicodeDecodeError as error:
            raise JsonError(f"it is not valid UTF-8 (byte {error.start})") from error
    return members(text)


def members(text: bytes | Raw) -> dict[str, Raw]:
    """The members of the object `text`, which is valid UTF-8. Raises JsonError, RepeatedKeyError."""
    named: dict[str, Raw] = {}
    if len(text) <= _LARGE:
        try:
            named = _PLAIN.decode(text)
        except (msgspec.DecodeError, RecursionError):  # the general reading says what is wrong
            pass
        else:
            if _fill(named, len(text)):
                return named
    found = pairs(text)
    if len(named) != len(found):
        named = dict(zip(map(str, found), found.values(), strict=True))
        if len(named) != len(found):
            check_distinct(map(str, found))
    return named


def pairs(text: bytes | Raw) -> dict[Key, Raw]:
    """The members of the object `text`, which is valid UTF-8; a key that occurs twice is there twice. Raises JsonError."""
    decoder = _MEMBERS if len(text) <= _LARGE else msgspec.json.Decoder(dict[Key, Raw], dec_hook=_counting())
    try:
        found = decoder.decode(text)
    except _TooManyKeys as many:
        raise too_many_members() from many
    except msgspec.ValidationError as other:
        raise JsonError("it is JSON, but not an object") from other
    except msgspec.DecodeError as malformed:
        raise JsonError(str(malformed)) from malformed
    except RecursionError as deep:
        raise JsonError(TOO_DEEP) from deep
    if len(found) > MOST_MEMBERS:
        raise too_many_members()
    return found


def check_distinct(keys: Iterable[str]) -> None:
    """Raises RepeatedKeyError for the one that occurs most."""
    for key, count in Counter(keys).most_common(1):
        if count > 1:
            raise RepeatedKeyError(key)


def _fill(named: dict[str, Raw], length: int) -> bool:
    """Whether these members fill an object of this length, written without white space, and are no more than there may be.

    What SDKs send. A repeated key leaves one member in the dict, so the bytes of the others are missing from the sum: equality
    proves that there is none, and costs a third of the general reading.
    """
    count = len(named)
    # Each member has two quotes, a colon and a comma, but for the last one's; the object has two braces.
    return sum(map(len, named)) + sum(map(len, named.values())) + (4 * count + 1 if count else 2) == length and count <= MOST_MEMBERS


def elements(array: Raw) -> list[Raw]:
    """The elements of `array`, a value that `members` or `elements` gave and `kind` calls `[`. Raises JsonError."""
    if bytes(array).count(b",") > MOST_COMMAS:
        raise too_many_elements()
    try:
        return _ELEMENTS.decode(array)
    except RecursionError as error:  # validated before, but from a shallower stack
        raise JsonError(TOO_DEEP) from error


def string(value: Raw) -> str | None:
    """The text of `value`, or None where it is no string."""
    try:
        return _STRING.decode(value)
    except msgspec.ValidationError:
        return None


def kind(value: Raw) -> str:
    """The first character of a value, which tells its type: one of `{ [ " t f n - 0…9`."""
    return chr(memoryview(value)[0])


def fold(key: str) -> str:
    """`key` as the most forgiving parser compares it: Go, .NET and Jackson match keys in any case, by differing tables; C libraries
    end a key at its first NUL."""
    key = key.partition("\0")[0]
    if len(key) > _LONGEST_NAME:
        return key
    if key.isascii():
        return key.lower()
    folded = unicodedata.normalize("NFKC", key)
    if len(folded) > _LONGEST_NAME:  # whatever folds to ASCII never becomes shorter
        return key
    return unicodedata.normalize("NFKC", folded.upper()).casefold()


def is_plain(found: Iterable[str]) -> bool:
    """Whether each key is its own `fold`, told for all of them at once (0.3 µs)."""
    keys = "".join(found)
    return keys.isascii() and keys == keys.lower() and "\0" not in keys


def foreign(found: Iterable[str]) -> int:
    """How many of the keys could be others in disguise, so that they have to be folded with care: 2 µs each."""
    return sum(not key.isascii() and len(key) <= _LONGEST_NAME for key in found)


def may_hold(value: Raw, quoted: bytes) -> bool:
    """Whether `quoted` (in quotes, lower case ASCII) can be a string anywhere within `value`, in any case or escaped.

    A cheap no (1 µs for 2 KB) that saves looking into each element.
    """
    lowered = bytes(value).lower()
    return quoted in lowered or (b"\\u00" in lowered and _LETTER.search(lowered) is not None)


def _counting() -> Callable[[type[Key], str], Key]:
    """Makes each key, and gives up at one too many, before millions of them exist."""
    count = 0

    def make(key_type: type[Key], text: str) -> Key:
        nonlocal count
        count += 1
        if count > MOST_MEMBERS:
            raise _TooManyKeys
        return key_type(text)

    return make


class _TooManyKeys(Exception):
    """One key too many; never leaves this file."""


def too_many_members() -> JsonError:
    """More than MOST_MEMBERS."""
    return JsonError(f"an object has more than {MOST_MEMBERS} members")


def too_many_elements() -> JsonError:
    """More than MOST_COMMAS."""
    return JsonError("an array that may name models has too many elements")
