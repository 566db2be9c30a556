"""Targets, renames and delete limits."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metalake_sync.core.actions import AdoptFile, Reason, ReplaceFile, TrashFile
from metalake_sync.core.guards import MaxDelete, too_many_deletes
from metalake_sync.core.metadata import metadata_set, same_value
from metalake_sync.core.plan import CollectionPlan
from metalake_sync.core.snapshots import (
    CollectionKey,
    CollectionPolicy,
    DesiredFile,
    Fingerprint,
    MediaType,
    Origin,
    RecordedFile,
    RemoteFile,
)
from metalake_sync.core.targets import Target, parse_target
from metalake_sync.planning.file_inspection import pair_renames

KEY = CollectionKey(MediaType.IMAGE, "birds")


def recorded(name: str, content_hash: str = "A") -> RecordedFile:
    return RecordedFile(name, name, Fingerprint(1, 1, 1, 1), content_hash, "", name, name, Origin.UPLOADED)


def losing(trashed: int, of: int, reason: Reason = Reason.REMOVED_FROM_MANIFEST) -> CollectionPlan:
    actions = [TrashFile(KEY, recorded(f"{number}.jpg"), reason) for number in range(trashed)]
    return CollectionPlan(KEY, CollectionPolicy(prune=True), trash=actions, recorded=of)


@pytest.mark.parametrize(
    ("limit", "trashed", "of", "stopped"),
    [
        (MaxDelete(), 5, 10, False),
        (MaxDelete(), 6, 10, True),
        (MaxDelete(), 1, 1, True),
        (MaxDelete(), 1000, 10_000, False),
        (MaxDelete(), 1001, 10_000, True),
        (MaxDelete(percent=10, files=None), 1, 10, False),
        (MaxDelete(percent=10, files=None), 2, 10, True),
        (MaxDelete(percent=None, files=2), 2, 2, False),
        (MaxDelete(percent=None, files=2), 3, 100, True),
        (MaxDelete(percent=None, files=0), 0, 0, False),
    ],
)
def test_the_smaller_limit_applies(limit: MaxDelete, trashed: int, of: int, stopped: bool) -> None:
    assert bool(list(too_many_deletes([losing(trashed, of)], limit))) is stopped


def replacing(replaced: int, of: int, trashed: int = 0) -> CollectionPlan:
    plan = losing(trashed, of)
    for number in range(replaced):
        file = DesiredFile(f"r{number}.jpg", f"r{number}.jpg", Fingerprint(0, 2, 2, 2), metadata_set({}), "B")
        old = RemoteFile(file.name, str(number), file.name)
        plan.uploads.append(ReplaceFile(KEY, file, old, Reason.CONTENT_CHANGED))
    return plan


@pytest.mark.parametrize(
    ("limit", "replaced", "trashed", "of", "stopped"),
    [
        (MaxDelete(percent=None, files=0, few=0), 1, 0, 40, True),
        (MaxDelete(percent=None, files=3, few=0), 2, 1, 40, False),
        (MaxDelete(percent=None, files=3, few=0), 2, 2, 40, True),
        (MaxDelete(percent=10, files=None, few=0), 3, 1, 40, False),
        (MaxDelete(percent=10, files=None, few=0), 3, 2, 40, True),
        (MaxDelete(), 20, 0, 20, False),
        (MaxDelete(), 21, 0, 42, False),
        (MaxDelete(), 22, 0, 43, True),
        (MaxDelete(), 21, 1, 43, True),
        (MaxDelete(), 1, 20, 40, False),
        (MaxDelete(), 600, 500, 10_000, True),
    ],
)
def test_replacements_count_as_deletes(limit: MaxDelete, replaced: int, trashed: int, of: int, stopped: bool) -> None:
    assert bool(list(too_many_deletes([replacing(replaced, of, trashed)], limit))) is stopped


def test_files_without_a_record_count_as_files_of_the_collection() -> None:
    plan = replacing(22, of=0)
    assert list(too_many_deletes([plan], MaxDelete()))
    for number in range(22):
        file = DesiredFile(f"a{number}.jpg", f"a{number}.jpg", Fingerprint(1, 1, 1, 1), metadata_set({}), "A")
        plan.adopts.append(AdoptFile(KEY, file, RemoteFile(file.name, file.name, file.name)))
    assert not list(too_many_deletes([plan], MaxDelete()))


def test_files_of_all_collections_count_but_renamed_files_do_not() -> None:
    limit = MaxDelete(percent=None, files=5)
    assert list(too_many_deletes([losing(3, 10), losing(3, 10)], limit))
    assert not list(too_many_deletes([losing(3, 10), losing(9, 10, Reason.RENAMED)], limit))


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("birds", Target("birds")),
        ("birds/*.jpg", Target("birds", "*.jpg")),
        ("a/b", Target("a/b")),
        ("a/b/c", Target("a/b", "c")),
        ("a/x", Target("a", "x")),
        ("bird", None),
        ("birdsong/x", None),
    ],
)
def test_a_target_can_name_a_collection_with_slashes(text: str, target: Target | None) -> None:
    assert parse_target(text, ["birds", "a", "a/b"]) == target


def test_a_glob_never_includes_the_collection_itself() -> None:
    assert Target("birds").takes("birds", None)
    assert not Target("birds", "*").takes("birds", None)
    assert not Target("birds").takes("cats", "a.jpg")


@given(st.dictionaries(st.text(max_size=3), st.sampled_from("ABC")), st.dictionaries(st.text(), st.sampled_from("ABC")))
def test_each_old_name_is_paired_once_and_only_with_its_own_bytes(new: dict[str, str], old: dict[str, str]) -> None:
    gone = [recorded(name, content) for name, content in old.items()]
    pairs = pair_renames(new, gone)
    assert pairs == pair_renames(new, gone[::-1])
    assert len(set(pairs.values())) == len(pairs)
    assert all(new[name] == old[before] for name, before in pairs.items())
    for content in "ABC":
        paired = sum(new[name] == content for name in pairs)
        assert paired == min(list(new.values()).count(content), list(old.values()).count(content))


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (1, "1", True),
        (1, 1.0, True),
        (1234567, "1234567", True),
        (1234567, 1234568, False),
        (0.5, "0.5", True),
        (True, "true", True),
        (True, 1, False),
        ("a", "b", False),
        ([1], [1], True),
        ([1], ["1"], False),
        (None, "none", False),
        ({"a": 1}, {"a": 1}, True),
    ],
)
def test_a_scalar_may_come_back_as_its_text(one: object, other: object, same: bool) -> None:
    assert same_value(one, other) is same
