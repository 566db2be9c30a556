"""A scan with a scope returns the same listing of a folder as a whole scan, and no other folders."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from metalake_sync.core.snapshots import MediaType
from metalake_sync.planning.run_options import Part, Scope
from metalake_sync.sources.base import Trouble
from metalake_sync.sources.rules import ScanRules
from metalake_sync.sources.scan import scan_folder, scan_part

RULES = ScanRules(MediaType.IMAGE, exclude=("skipped/",))


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for path in ("a.jpg", "x/b.jpg", "x/y/c.jpg", "x/y/hidden.jpg", "skipped/d.jpg", "z/e.jpg"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(b"1")
    (tmp_path / "x" / ".metalakeignore").write_text("hidden.jpg\n")
    return tmp_path


@pytest.mark.parametrize("folder", ["", "x", "x/y", "z"])
def test_one_folder_is_listed_as_in_a_whole_scan(tree: Path, folder: str) -> None:
    whole = {listing.relative_dir: listing for listing in scan_folder(str(tree), RULES)}
    assert list(scan_part(str(tree), RULES, folder, deep=False)) == [whole[folder]]
    beneath = [one for name, one in whole.items() if not folder or name == folder or name.startswith(folder + "/")]
    assert list(scan_part(str(tree), RULES, folder, deep=True)) == beneath


@pytest.mark.parametrize("folder", ["skipped", "gone", "x/gone/deeper"])
def test_an_excluded_or_missing_folder_is_not_listed(tree: Path, folder: str) -> None:
    assert list(scan_part(str(tree), RULES, folder, deep=True)) == []


def test_a_missing_root_is_a_problem(tmp_path: Path) -> None:
    (listing,) = scan_part(str(tmp_path / "no"), RULES, "x", deep=False)
    assert [problem.trouble for problem in listing.problems] == [Trouble.MISSING]


def test_a_scope_returns_its_parts_of_a_source() -> None:
    scope = Scope("/m", folders=frozenset({"/d/a", "/d/t/u", "/e"}), trees=frozenset({"/d/t", "/d/t/v"}))
    assert scope.parts_of("/d") == [Part("a", deep=False), Part("t", deep=True)]
    assert scope.parts_of("/d/t/v/w") == [Part("", deep=True)]
    assert scope.parts_of("/f") == []
    assert scope.holds_file("/e/one.jpg")
    assert not scope.holds_file(os.path.join("/m", "one.jpg"))
