"""Local names for files of the lake stay in their folder, and no two names become equal."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metalake_sync.sources.names import NAME_BYTES_LIMIT, FolderNames, safe_name

NASTY = [
    "../../etc/passwd", "..", ".", "", "/", "a/b.jpg", "a\\b.jpg", "C:\\x.jpg", "C:x.jpg", "CON", "con.txt", "LPT1.jpg",
    "aux.tar.gz", "a.jpg.", "a ", "a\0b", "a\nb", "\x1b[31m.jpg", "x" * 300, "é" * 200 + ".jpg", "a?.jpg", "\udcff.jpg",
]  # fmt: skip


@pytest.mark.parametrize("name", NASTY)
def test_an_unsafe_name_is_changed_and_gets_its_hash(name: str) -> None:
    safe = safe_name(name)
    assert safe != name
    assert "~" in safe


@pytest.mark.parametrize(
    "name", ["a.jpg", ".hidden", "birds_a b.png", "größe.tiff", "日本.png", "a..b", "console.txt", "-rf"]
)
def test_a_name_that_is_valid_everywhere_is_kept(name: str) -> None:
    assert safe_name(name) == name


def test_the_extension_is_kept() -> None:
    assert safe_name("../" + "x" * 300 + ".jpg").endswith(".jpg")


@given(st.text())
def test_any_safe_name_is_one_valid_path_component(name: str) -> None:
    safe = safe_name(name)
    assert 0 < len(safe.encode()) <= NAME_BYTES_LIMIT
    assert os.path.normpath(os.path.join("/target", safe)) == f"/target/{safe}"
    assert not set(safe) & set('/\\\0<>:"|?*')


@given(st.lists(st.text(alphabet="aAéÉ./\\ß", max_size=4), unique=True))
def test_different_names_get_different_files_on_case_insensitive_file_systems(names: list[str]) -> None:
    folder = FolderNames()
    assert len({folder.take(name).casefold() for name in names}) == len(names)


def test_names_in_use_are_not_returned_again() -> None:
    folder = FolderNames(["annotations.json"])
    folder.keep("b.jpg")
    assert folder.take("Annotations.json") not in ("Annotations.json", "annotations.json")
    assert folder.take("b.jpg") != "b.jpg"


@pytest.mark.parametrize("name", [name for name in NASTY if "\udcff" not in name])
def test_a_file_with_a_safe_name_can_be_created(tmp_path: Path, name: str) -> None:
    (tmp_path / safe_name(name)).write_bytes(b"x")
    assert [path.parent for path in tmp_path.iterdir()] == [tmp_path]
