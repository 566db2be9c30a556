"""`@dataclass` with slots, whose methods are created with the first object of a class.

`dataclasses` generates and compiles six methods for each class, which takes 0.4 ms. The project has some 140 classes,
and a short command uses fewer than half of them. docs/decisions/0019-dataclasses.md has the figures. Owns: when the
methods are created. Must not: differ from `dataclasses.dataclass` in anything else.
"""

from __future__ import annotations

import dataclasses
import inspect
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dataclasses import dataclass as dataclass
else:

    def dataclass(*, slots: bool, frozen: bool = False) -> Callable[[type], type]:
        """Like `dataclasses.dataclass(slots=True, frozen=frozen)`."""
        assert slots, "only classes with slots can be created in two steps"
        return lambda cls: _with_slots(cls, frozen)


_METHODS = (
    "__init__", "__repr__", "__eq__", "__hash__", "__match_args__", "__dataclass_fields__", "__dataclass_params__"
)  # fmt: skip
_OF_FROZEN = ("__setattr__", "__delattr__", "__getstate__", "__setstate__")
_BUILDING = threading.RLock()


class _Later:
    """A placeholder for a method until it is looked up, in the class or in an object."""

    def __init__(self, plain: type, frozen: bool) -> None:
        self._plain = plain
        self._frozen = frozen

    def __set_name__(self, owner: type, name: str) -> None:
        self._owner = owner
        self._name = name

    def __get__(self, instance: object, asked: type | None = None) -> Any:
        _build(self._owner, self._plain, self._frozen)
        found = self._owner.__dict__[self._name]
        return found.__get__(instance, asked) if hasattr(found, "__get__") else found


def _with_slots(plain: type, frozen: bool) -> type:
    """Return the final class without the methods that `dataclasses` adds."""
    inherited = {name for base in plain.__mro__[1:-1] for name in base.__dict__.get("__slots__", ())}
    own = [name for name, type_ in inspect.get_annotations(plain).items() if "ClassVar[" not in str(type_)]
    namespace = {name: value for name, value in plain.__dict__.items() if name not in own}
    for unslotted in ("__dict__", "__weakref__"):
        namespace.pop(unslotted, None)
    if "__eq__" in namespace and namespace["__hash__"] is None:
        # Python sets it to None if the class defines only __eq__.
        del namespace["__hash__"]
    namespace["__slots__"] = tuple(name for name in own if name not in inherited)
    for name in (*_METHODS, *_OF_FROZEN) if frozen else _METHODS:
        namespace.setdefault(name, _Later(plain, frozen))
    slotted = type(plain)(plain.__name__, plain.__bases__, namespace)
    slotted.__qualname__ = plain.__qualname__
    return slotted


def _build(slotted: type, plain: type, frozen: bool) -> None:
    """Apply `dataclasses` to the class as it was written, and copy the methods one by one.

    Another thread finds either a method, or a placeholder that waits for this thread.
    """
    with _BUILDING:
        waiting = [name for name, value in slotted.__dict__.items() if isinstance(value, _Later)]
        if not waiting:
            return
        written = set(plain.__dict__)
        dataclasses.dataclass(frozen=frozen)(plain)
        made: dict[str, Any] = {"__getstate__": _get_state, "__setstate__": _set_state, **plain.__dict__}
        # Later versions of Python add more, such as `__replace__`, which are only used on objects.
        more = plain.__dict__.keys() - written - slotted.__dict__.keys()
        for name in (*waiting, *more):
            setattr(slotted, name, made[name])
        slotted.__doc__ = plain.__doc__


def _get_state(self: Any) -> list[Any]:
    return [getattr(self, field.name) for field in dataclasses.fields(self)]


def _set_state(self: Any, state: list[Any]) -> None:
    for field, value in zip(dataclasses.fields(self), state, strict=True):
        object.__setattr__(self, field.name, value)
