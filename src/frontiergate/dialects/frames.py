"""Frames: the containers of a large body that several windows share, looked into as `Search` does with whole ones.

What lies in one window is looked at there and then, by `Search` itself; a frame adds up, and comes to a `Looked` in the end.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from msgspec import Raw

from frontiergate.dialects.models import Looked, ModelError, Search, unknown_form
from frontiergate.dialects.operation import REROUTING, Operation
from frontiergate.dialects.places import Place
from frontiergate.wire import jsonbody
from frontiergate.wire.jsonwindow import Window

_BETWEEN = b" \t\n\r,"
_UNIMPORTANT = Raw(b"0")
_EMPTY = {b"[": Raw(b"[]"), b"{": Raw(b"{}")}  # for a container of which only the kind matters
_LONGEST_KEY = 64  # characters; a longer one, which is no name that matters, is kept as its beginning and its hash
_NOT_PLAIN = "A"  # behind the hash of a key that is not plain, so that what is kept of it is not plain either


_Fault = jsonbody.JsonError | ModelError


class Frame:
    """One container, of which it matters only that it is there. `watched`: if any, and only if one of these keys is in it.

    `before`: the parts that have surely been counted before it, so that all of a body's containers together are looked into no
    further than one would be.
    """

    def __init__(self, where: Place, field: str, only: bool, before: int, watched: tuple[bytes, ...] = ()) -> None:
        self.since = 0  # the position from which on the window belongs to it
        self._where = where
        self._field = field
        self._only = only
        self._watched = watched
        self._before = before
        self._search = Search(parts=before + 1)  # itself
        self._fault: _Fault | None = None  # kept until it is known whether it matters

    def take(self, items: bytes) -> None:
        """Whole members or elements, with the commas around them."""
        items = items.strip(_BETWEEN)
        if items and self._fault is None:
            with self._keeping_faults():
                self._take(items)

    def begin(self, head: bytes, bracket: bytes) -> "Frame | None":
        """A container that goes on in the next window, behind its key if it has one. None: nobody looks into it."""
        if self._fault is None:
            with self._keeping_faults():
                return self._begin(head, bracket)
        return None

    def give(self, looked: Looked) -> None:
        """What the container that began came to."""

    def see(self, window: Window, stop: int) -> None:
        """The window up to `stop` belongs to it, whoever looks into what."""
        if self._watched and (len(window.outline) > 1 or b"\\" in window.text):  # else it is a part of a string, which is no key
            text = Raw(window.between(self.since, stop))
            if any(jsonbody.may_hold(text, key) for key in self._watched):
                self._watched = ()

    def close(self) -> Looked:
        """What it came to."""
        return Looked() if self._watched else Looked(self._search.names, self._search.parts - self._before, self._fault)

    def _take(self, items: bytes) -> None:
        """Look at them."""

    def _begin(self, head: bytes, bracket: bytes) -> "Frame | None":
        """The frame of a container in it."""
        return None

    def _below(self, where: Place, field: str, only: bool, bracket: bytes, watched: tuple[bytes, ...] = ()) -> "Frame | None":
        """The frame of a container at `where`; if there cannot be one, what that comes to."""
        if bracket == b"[" and where.each is not None:
            return _Array(where.each, field, only, self._search.parts, watched)
        if bracket == b"{" and where.members:
            return _Object(where, field, only, self._search.parts, watched)
        if watched:
            return Frame(where, field, only, self._search.parts, watched)
        self.give(Looked(parts=1, fault=unknown_form(where, field) if only or where.names else None))
        return None

    @contextmanager
    def _keeping_faults(self) -> Iterator[None]:
        try:
            yield
        except (jsonbody.JsonError, ModelError) as error:
            self._fault = _bare(error)


class _Array(Frame):
    """An array that is looked into; `where` is each element's."""

    _length = 0
    _commas = 0

    def give(self, looked: Looked) -> None:
        with self._keeping_faults():
            self._look(looked)

    def see(self, window: Window, stop: int) -> None:
        super().see(window, stop)
        if b"," in window.text:  # 2 µs, where to count none takes 40
            self._commas += window.between(self.since, stop).count(b",")

    def close(self) -> Looked:
        if self._commas > jsonbody.MOST_COMMAS:  # seen before anything else is, where the array is there as a whole
            return Looked() if self._watched else Looked(parts=1, fault=jsonbody.too_many_elements())
        return super().close()

    def _take(self, items: bytes) -> None:
        for element in jsonbody.elements(Raw(b"[" + items + b"]")):
            self._look(element)

    def _begin(self, head: bytes, bracket: bytes) -> Frame | None:
        assert not head.strip(_BETWEEN)
        return self._below(self._where, self._name(), self._only, bracket)

    def _look(self, element: Raw | Looked) -> None:
        self._search.look(element, self._where, self._name(), self._only)
        self._length += 1

    def _name(self) -> str:
        return f"{self._field}[{self._length}]"


class _Object(Frame):
    """An object that is looked into. `_keys`: as they occurred; `found`: each once, with what matters of its value."""

    def __init__(self, where: Place, field: str, only: bool, before: int, watched: tuple[bytes, ...] = ()) -> None:
        super().__init__(where, field, only, before, watched)
        self._keys: list[str] = []
        self.found: dict[str, Raw | Looked] = {}

    def give(self, looked: Looked) -> None:
        self.found[self._keys[-1]] = looked

    def close(self) -> Looked:
        with self._keeping_faults():
            self.check()
            self._search.look_into(self.found, self._where, self._field, self._only)
        return super().close()

    def check(self) -> None:
        """Raises JsonError for too many members, RepeatedKeyError for a key that occurs twice."""
        if self._fault is not None:
            raise self._fault
        jsonbody.check_distinct(self._keys)

    def _take(self, items: bytes) -> None:
        for key, value in jsonbody.pairs(b"{" + items + b"}").items():
            name = self._note(key)
            self.found[name] = self._whole(name, value)

    def _begin(self, head: bytes, bracket: bytes) -> Frame | None:
        (key,) = jsonbody.pairs(b"{" + head + b"0}")
        return self._partial(self._note(key), bracket)

    def _note(self, key: str) -> str:
        name = str(key)
        if len(name) > _LONGEST_KEY:
            name = f"{name[:_LONGEST_KEY]} {hash(name):x}{'' if jsonbody.is_plain((name,)) else _NOT_PLAIN}"
        self._keys.append(name)
        self.found[name] = _UNIMPORTANT
        if len(self._keys) > jsonbody.MOST_MEMBERS:
            raise jsonbody.too_many_members()
        return name

    def _whole(self, name: str, value: Raw) -> Raw | Looked:
        """What matters of a member that is there as a whole."""
        where = self._where.members.get(name)
        if where is None:
            return _UNIMPORTANT
        return _looked(lambda search: search.look(value, where, f"{self._field}.{name}", self._only), self._search.parts)

    def _partial(self, name: str, bracket: bytes) -> Frame | None:
        """A member begins that is a container."""
        where = self._where.members.get(name)
        return None if where is None else self._below(where, f"{self._field}.{name}", self._only, bracket)


class Body(_Object):
    """The body's own object; what its members come to is for `names_of` to judge."""

    def __init__(self, operation: Operation) -> None:
        super().__init__(Place(), "", only=False, before=-1)
        self._operation = operation

    def _whole(self, name: str, value: Raw) -> Raw | Looked:
        where = self._operation.places.get(name)
        if where is not None:
            looked = _looked(lambda search: search.enter(value, where, name), self._search.parts)
            self._search.parts += looked.parts
            return looked
        if name in self._operation.refused:
            return Raw(jsonbody.kind(value).encode())
        return value.copy() if name in self._operation.examined else _UNIMPORTANT  # a copy, which does not hold the window

    def give(self, looked: Looked) -> None:
        super().give(looked)
        self._search.parts += looked.parts

    def _partial(self, name: str, bracket: bytes) -> Frame | None:
        where = self._operation.places.get(name)
        if where is None:
            self.found[name] = _EMPTY[bracket]
            return None
        only = name in REROUTING
        return self._below(where, name, only, bracket, () if only else where.endings)


def _looked(look: Callable[[Search], None], before: int) -> Looked:
    search = Search(parts=before)
    fault: _Fault | None = None
    try:
        look(search)
    except (jsonbody.JsonError, ModelError) as error:
        fault = _bare(error)
    return Looked(search.names, search.parts - before, fault)


def _bare(error: _Fault) -> _Fault:
    """`error` without the way that it came: that holds the window."""
    error.__context__ = error.__cause__ = None
    return error.with_traceback(None)
