"""Keys of JSON objects that may repeat. A file of its own: a subclass of str cannot be compiled (docs/decisions/0013)."""


class Key(str):
    """A key as it occurred: equal to nothing else, so that a dict of them holds a repeated key twice, in order."""

    __slots__ = ()
    __eq__ = object.__eq__
    __ne__ = object.__ne__
    __hash__ = object.__hash__
