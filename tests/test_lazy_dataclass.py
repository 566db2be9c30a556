"""Dataclasses whose methods wait are dataclasses in everything else."""

from __future__ import annotations

import copy
import dataclasses
import pickle
import threading
from dataclasses import field
from typing import Any, ClassVar, Generic, TypeVar

import pytest

from metalake_sync.lazy_dataclass import dataclass

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Point:
    """A place."""

    kind: ClassVar[str] = "place"
    x: int
    y: int = 0
    names: tuple[str, ...] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True)
class Place(Point, Generic[T]):
    what: T | None = None

    def __str__(self) -> str:
        return f"{self.what} at {self.x}"


@dataclass(slots=True)
class Counter:
    seen: list[int] = field(default_factory=list)
    total: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        self.total = sum(self.seen)


@dataclass(frozen=True, slots=True)
class Caseless:
    name: str

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Caseless) and other.name.lower() == self.name.lower()


def waits(cls: type) -> bool:
    return type(cls.__dict__["__init__"]).__name__ == "_Later"


def test_nothing_is_made_before_the_first_object() -> None:
    @dataclass(frozen=True, slots=True)
    class Fresh:
        x: int

    assert waits(Fresh)
    assert Fresh(1).x == 1
    assert not waits(Fresh)


def test_objects_are_built_compared_shown_and_replaced() -> None:
    one = Point(1, names=("a",))
    assert (one.x, one.y, one.names, one.kind) == (1, 0, ("a",), "place")
    assert one == Point(1, 0, ("a",))
    assert one != Point(2)
    assert hash(one) == hash(Point(1, 0, ("a",)))
    assert repr(one) == "Point(x=1, y=0)"
    assert dataclasses.replace(one, y=5).y == 5
    assert dataclasses.asdict(one) == {"x": 1, "y": 0, "names": ("a",)}
    assert Point.__doc__ == "A place."


def test_a_class_that_inherits_has_all_fields() -> None:
    place = Place(1, what="tree")
    assert str(place) == "tree at 1"
    assert [one.name for one in dataclasses.fields(Place)] == ["x", "y", "names", "what"]
    assert vars(Place)["__slots__"] == ("what",)
    assert place != Point(1)


def test_a_frozen_object_stays_as_it_is_and_none_takes_other_names() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Point(1).x = 2  # type: ignore[misc]
    with pytest.raises(dataclasses.FrozenInstanceError):
        del Point(1).x
    counter: Any = Counter([1, 2])
    counter.total += 1
    assert counter.total == 4
    with pytest.raises(AttributeError):
        counter.other = 1
    with pytest.raises(TypeError):
        hash(counter)


def test_patterns_match_before_any_object_was_made() -> None:
    @dataclass(frozen=True, slots=True)
    class Pair:
        left: int
        right: int

    other: object = 1
    match other:
        case Pair(_, _):
            raise AssertionError
    match Pair(1, 2):
        case Pair(left, right):
            assert (left, right) == (1, 2)


def test_an_own_eq_stays_and_the_hash_is_made() -> None:
    assert Caseless("a") == Caseless("A")
    assert hash(Caseless("a")) == hash(Caseless("a"))


def test_objects_can_be_copied_and_pickled() -> None:
    for one in (Point(1, names=("a",)), Counter([3])):
        assert pickle.loads(pickle.dumps(one)) == one
        assert copy.deepcopy(one) == one


def test_a_missing_argument_is_told_as_ever() -> None:
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'x'"):
        Point()  # type: ignore[call-arg]


def test_threads_that_meet_at_a_new_class_all_get_their_object() -> None:
    for _ in range(20):

        @dataclass(frozen=True, slots=True)
        class Shared:
            x: int

        made: list[Shared] = []
        gate = threading.Barrier(8)

        def make(gate: threading.Barrier = gate, made: list[Shared] = made, new: type[Shared] = Shared) -> None:
            gate.wait()
            made.append(new(1))

        threads = [threading.Thread(target=make) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert made == [Shared(1)] * 8
