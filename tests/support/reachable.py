"""What can be reached from an object: what it holds, what that holds, and so on."""

import functools
import logging
import types
from collections.abc import Iterator


def reachable(*roots: object, beyond: tuple[type, ...] = ()) -> Iterator[tuple[str, object]]:
    """Yield all that can be reached from objects, each with the way to it.

    Modules and classes are names that anybody can import, not things that somebody was given: they are passed over.
    So are log handlers, which every part shares.

    Args:
        beyond: objects of these types are yielded and not looked into.
    """
    waiting = [(type(root).__name__, root) for root in roots]
    seen: dict[int, object] = {}
    while waiting:
        way, one = waiting.pop()
        if id(one) in seen or isinstance(one, types.ModuleType | type | logging.Handler | logging.Logger):
            continue
        seen[id(one)] = one  # kept, so that no other object gets its number
        yield way, one
        if not isinstance(one, beyond):
            waiting.extend((f"{way}.{name}", part) for name, part in _parts(one))


def _parts(one: object) -> Iterator[tuple[str, object]]:
    yield from _held(one)
    yield from getattr(one, "__dict__", {}).items()
    for kind in type(one).__mro__:
        slots = kind.__dict__.get("__slots__", ())
        for name in [slots] if isinstance(slots, str) else slots:
            if name not in {"__dict__", "__weakref__"} and hasattr(one, name):
                yield name, getattr(one, name)


def _held(one: object) -> Iterator[tuple[str, object]]:
    match one:
        case dict():
            yield "keys", list(one)
            yield from ((repr(key)[:30], value) for key, value in one.items())
        case list() | tuple() | set() | frozenset():
            yield from ((str(number), each) for number, each in enumerate(one))
        case types.MethodType():
            yield from (("__self__", one.__self__), ("__func__", one.__func__))
        case types.FunctionType():
            cells = zip(one.__code__.co_freevars, one.__closure__ or (), strict=True)
            yield from ((name, cell.cell_contents) for name, cell in cells)
            yield "defaults", (one.__defaults__, one.__kwdefaults__)
        case functools.partial():
            yield "partial", (one.func, one.args, one.keywords)
        case _:
            pass
