"""A folder of files is one manifest."""

from __future__ import annotations

import pytest

from metalake_sync.errors import Location, ManifestErrors
from tests.manifest.conftest import HEAD, Desk

ONE = "collections:\n  - {name: one, type: image}\n"
TWO = "collections:\n  - {name: two, type: image}\n  - {name: three, type: other}\n"


def messages(desk: Desk, **files: str) -> list[str]:
    with pytest.raises(ManifestErrors) as caught:
        desk.load_folder(**files)
    return [str(error) for error in caught.value.errors]


def test_collections_of_all_files_follow_one_another(desk: Desk) -> None:
    loaded = desk.load_folder(a=HEAD + ONE, b=TWO, c="name: all\n")
    assert [(one.index, one.name) for one in loaded.collections] == [(0, "one"), (1, "two"), (2, "three")]
    assert loaded.name == "all"


def test_so_do_downloads_and_trash_rules(desk: Desk) -> None:
    loaded = desk.load_folder(
        a=HEAD + "downloads:\n  - {lake: image, to: a}\n",
        b="downloads:\n  - {lake: video, to: b}\ntrash:\n  - {lake: other, query: metadata.Tags=x}\n",
        c="trash:\n  - {collection: birds}\n",
    )
    assert [one.to for one in loaded.model.downloads] == ["a", "b"]
    assert [one.lake or one.collection for one in loaded.model.trash] == ["other", "birds"]
    assert loaded.where("downloads", 1) == Location("lake/b.yaml", 2, 5)


def test_each_place_names_the_file_that_it_is_in(desk: Desk) -> None:
    loaded = desk.load_folder(a=HEAD + ONE, b=TWO)
    assert loaded.where("collections", 0, "name") == Location("lake/a.yaml", 4, 12)
    assert loaded.where("collections", 2, "name") == Location("lake/b.yaml", 3, 12)


def test_what_is_equal_may_stand_in_several_files(desk: Desk) -> None:
    assert len(desk.load_folder(a=HEAD + ONE, b=HEAD + TWO).collections) == 3


def test_what_differs_names_both_places(desk: Desk) -> None:
    assert messages(desk, a=HEAD + "name: x\n", b="version: 2\nname: y\nremote: {url: embedded:other}\n") == [
        f"lake/b.yaml:{line}:1: '{key}' has a different value here than at lake/a.yaml:{first}:1."
        " Keep it in one file of the folder."
        for key, line, first in (("version", 1, 1), ("name", 2, 3), ("remote", 3, 2))
    ]


def test_a_collection_that_stands_in_two_files_names_both(desk: Desk) -> None:
    (told,) = messages(desk, a=HEAD + ONE, b=ONE)
    assert told.startswith("lake/b.yaml:2:12: collection 'one' of type image is defined twice")
    assert "lake/a.yaml:4:12" in told


def test_mistakes_come_in_the_order_of_the_files(desk: Desk) -> None:
    told = messages(desk, a=HEAD + "colections: []\n", b="collections: [{name: x, type: y}]\n", c="name: ${NOPE}\n")
    assert [line.partition(": ")[0] for line in told] == ["lake/a.yaml:3:1", "lake/b.yaml:1:31", "lake/c.yaml:1:7"]


def test_collections_that_are_no_list_are_told_once(desk: Desk) -> None:
    told = messages(desk, a=HEAD + "collections: {}\n", b=ONE)
    assert told[0].startswith("lake/a.yaml:3:14: 'collections' is a mapping.")
    assert told[1].startswith("lake/b.yaml:1:1: 'collections' has a different value here than at lake/a.yaml:3:1.")


def test_files_that_are_no_yaml_are_told_together(desk: Desk) -> None:
    told = messages(desk, a="a: [}", b=HEAD, c="- a list\n", d="")
    assert [line.split(": ")[0] for line in told] == ["lake/a.yaml:1:5", "lake/c.yaml:1:1", "lake/d.yaml"]
