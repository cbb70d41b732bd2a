"""Places: where in a body an operation can name models, as a tree made once from its paths."""

from collections.abc import Iterable

import msgspec

Path = tuple[str, ...]


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """One place of a body. Each of the three may apply: it names a model, has elements, has members."""

    names: bool = False
    each: "Place | None" = None
    members: dict[str, "Place"] = {}
    endings: tuple[bytes, ...] = ()  # the quoted keys that the paths below end in; () where one ends in an element


def place(paths: Iterable[Path]) -> Place:
    """The tree of `paths`; the empty path names the place itself, `*` stands for each element."""
    below: dict[str, list[Path]] = {}
    names = False
    for path in paths:
        if path:
            below.setdefault(path[0], []).append(path[1:])
        else:
            names = True
    ends = {path[-1] for tails in below.values() for path in tails if path} | {head for head, tails in below.items() if () in tails}
    children = {head: place(tails) for head, tails in below.items()}
    return Place(
        names=names,
        each=children.pop("*", None),
        members=children,
        endings=() if "*" in ends or names else tuple(f'"{end}"'.encode() for end in sorted(ends)),
    )
