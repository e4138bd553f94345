"""Records behave as frozen dataclasses with slots."""

import copy
import pickle
from dataclasses import FrozenInstanceError, dataclass, field, fields, replace
from typing import Any

import pytest

from scallax.language.records import record


def classes(make) -> tuple[Any, ...]:
    @make
    class Pair:
        """Two fields, and one that does not count."""

        x: int
        y: tuple = ()
        z: list = field(default_factory=list, compare=False, repr=False)

        def total(self) -> int:
            return self.x + sum(self.y)

    @make
    class One:
        x: float

        def __post_init__(self):
            if self.x == 7:
                raise ValueError

    @make
    class Empty:
        pass

    @make
    class Own:
        x: int

        def __eq__(self, other: object) -> bool:
            return True

        def __repr__(self) -> str:
            return "own"

    return Pair, One, Empty, Own


RECORDS = classes(record)
DATACLASSES = classes(dataclass(frozen=True, slots=True))


@pytest.mark.parametrize(("ours", "theirs"), [*zip(RECORDS, DATACLASSES, strict=True)])
def test_the_class_is_that_of_a_dataclass(ours: Any, theirs: Any):
    assert ours.__match_args__ == theirs.__match_args__
    assert ours.__slots__ == theirs.__slots__
    assert [part.name for part in fields(ours)] == [part.name for part in fields(theirs)]
    assert ours.__init__.__annotations__ == theirs.__init__.__annotations__
    assert (ours.__doc__ is None) == (theirs.__doc__ is None)


def test_values_compare_print_and_hash_as_those_of_dataclasses():
    nan = float("nan")
    given = [(0, (1,)), (0, [2]), (1,), (1, (2,), [3]), (2,), (nan,), (nan, (nan,))]
    pair, expected = RECORDS[0], DATACLASSES[0]
    for left in given:
        assert repr(pair(*left)) == repr(expected(*left))
        for right in given:
            assert (pair(*left) == pair(*right)) == (expected(*left) == expected(*right))
    assert hash(pair(1, (2,), [3])) == hash(expected(1, (2,)))
    assert pair(1) != expected(1)
    with pytest.raises(TypeError, match="unhashable"):
        hash(pair(0, [2]))
    one, empty, own = RECORDS[1:]
    assert one(nan) == one(nan)
    assert hash(one(1.0)) == hash(DATACLASSES[1](1.0))
    assert one(1.0) != one(2.0)
    assert empty() == empty()
    assert (own(1) == own(2), repr(own(1)), hash(own(1))) == (True, "own", hash(DATACLASSES[3](1)))


def test_arguments_are_those_of_the_fields():
    pair, one = RECORDS[:2]
    assert pair(y=(1,), x=2).total() == 3
    assert pair(1).z is not pair(1).z
    assert replace(pair(1, (2,)), x=5) == pair(5, (2,))
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'x'"):
        pair()
    with pytest.raises(TypeError, match="unexpected keyword argument 'w'"):
        pair(1, w=2)
    with pytest.raises(ValueError):  # noqa: PT011 (it has no message)
        one(7)
    match pair(1, (2,)):
        case pair(x, y):
            assert (x, y) == (1, (2,))


def test_records_do_not_change():
    pair = RECORDS[0](1)
    with pytest.raises(FrozenInstanceError, match="cannot assign to field 'x'"):
        pair.x = 2
    with pytest.raises(FrozenInstanceError, match="cannot delete field 'x'"):
        del pair.x
    with pytest.raises(FrozenInstanceError):
        pair.other = 2
    assert not hasattr(pair, "__dict__")


def test_records_are_copied_and_pickled_by_their_values(monkeypatch: pytest.MonkeyPatch):
    value = RECORDS[0](1, (2,), [3])
    for other in (copy.copy(value), copy.deepcopy(value)):
        assert (other, other.z) == (value, [3])
    # By one name, so that a pickle of the dataclass is read as a record.
    for kind in (RECORDS[0], DATACLASSES[0]):
        kind.__module__, kind.__qualname__ = __name__, "Stored"
    monkeypatch.setitem(globals(), "Stored", DATACLASSES[0])
    former = pickle.dumps(DATACLASSES[0](1, (2,), [3]))
    monkeypatch.setitem(globals(), "Stored", RECORDS[0])
    restored = pickle.loads(former)
    assert (restored, restored.z) == (value, [3])
    assert pickle.dumps(value) == former
