"""Names that are never data, and how a pattern overrides that."""

from __future__ import annotations

from pathlib import Path

import pytest

from metalake_sync.core.snapshots import MediaType
from metalake_sync.sources.junk import FILE_RULES, FOLDER_RULES, JUNK, junk_under
from metalake_sync.sources.rules import FolderRules, ScanRules, explain_scan
from tests.sources.test_scan import listed_paths, tree

DOCS = Path(__file__).parents[2] / "docs" / "manifest.md"

JUNK_FILES = [
    ".DS_Store",
    "._a.jpg",
    "Thumbs.db",
    "desktop.ini",
    "~$plan.xlsx",
    ".~lock.plan.ods#",
    ".nfs0000000001",
    ".fuse_hidden0001",
    ".goutputstream-ABCDEF",
    ".syncthing.a.jpg.tmp",
    "~syncthing~a.jpg.tmp",
    "a.jpg.part",
    "a.jpg.partial",
    "a.jpg.crdownload",
    "a.jpg.filepart",
    "a.tmp",
    ".a.jpg.swp",
    "a.txt~",
    ".a.jpg.Xy3kQz",
    ".apdisk",
    ".afpDeleted1234.jpg",
    ".smbdelete0001",
    ".directory",
    ".unison.a.jpg.1a2b.unison.tmp",
    "a.jpg.aria2",
    "a.txt.swx",
    "4913",
    "#a.txt#",
    ".#a.txt",
    ".a.txt.kate-swp",
    "a.txt___jb_tmp___",
]
DATA = [
    "a.jpg",
    ".hidden.jpg",
    "_a.jpg",
    "a._b.jpg",
    "part.jpg",
    "a.parts",
    ".photo.backup",
    "~a.jpg",
    "$a.jpg",
    "a.jpg.Xy3kQz",
    "4912",
    "4913.jpg",
    "#a.jpg",
    "a#b#c",
    "a.directory",
    ".a#b",
]


@pytest.mark.parametrize("name", JUNK_FILES)
def test_a_file_that_a_program_left_is_not_data(tmp_path: Path, name: str) -> None:
    tree(tmp_path, name, "sub/" + name, "ok")
    assert listed_paths(tmp_path, MediaType.OTHER) == ["ok"]
    included, why = explain_scan(str(tmp_path), ScanRules(MediaType.OTHER), name)
    assert not included
    assert "never uploaded" in why


@pytest.mark.parametrize("name", DATA)
def test_other_files_are_data(tmp_path: Path, name: str) -> None:
    tree(tmp_path, name)
    assert listed_paths(tmp_path, MediaType.OTHER) == [name]


@pytest.mark.parametrize("folder", [rule.glob.replace("*", "1000") for rule in FOLDER_RULES])
def test_a_folder_of_a_system_is_not_scanned(tmp_path: Path, folder: str) -> None:
    tree(tmp_path, f"{folder}/a.jpg", f"sub/{folder}/deep/a.jpg", "ok.jpg")
    assert listed_paths(tmp_path) == ["ok.jpg"]


@pytest.mark.parametrize(
    ("include", "wanted"),
    [
        (("*.jpg",), ["a.jpg"]),
        (("._*.jpg", "*.jpg"), ["._a.jpg", "a.jpg"]),
        (("@eaDir/**", "*.jpg"), ["@eaDir/a.jpg", "a.jpg"]),
        ((".git/**", "*.jpg"), ["a.jpg"]),
        (("4913", "a.jpg"), ["a.jpg"]),
        (("*.jpg", "!._*.jpg", "!@eaDir/*"), ["a.jpg"]),
    ],
)
def test_a_pattern_that_names_such_files_overrides_the_rule(
    tmp_path: Path, include: tuple[str, ...], wanted: list[str]
) -> None:
    tree(tmp_path, "a.jpg", "._a.jpg", "@eaDir/a.jpg", ".git/a.jpg", "__MACOSX/a.jpg")
    assert sorted(listed_paths(tmp_path, include=include)) == wanted


@pytest.mark.parametrize(("include", "wanted"), [("4913", ["4913"]), ("\\#*#", ["#a#"]), ("491?", []), ("*", [])])
def test_the_files_of_editors_can_be_wanted(tmp_path: Path, include: str, wanted: list[str]) -> None:
    tree(tmp_path, "4913", "#a#")
    assert listed_paths(tmp_path, MediaType.OTHER, include=(include,)) == wanted


def test_patterns_that_override_nothing_share_one_list() -> None:
    assert junk_under(("*.jpg", "!b.jpg")) is JUNK
    assert junk_under(("*.part",)) is not JUNK


@pytest.mark.parametrize("media_type", [MediaType.IMAGE, MediaType.VIDEO])
def test_the_quick_filter_is_equal_to_the_whole_rule(media_type: MediaType) -> None:
    rules: FolderRules = ScanRules(media_type).at_root()
    quick = rules.file_filter()
    names = [
        start + name
        for start in ("", *JUNK_FILES, ".DS_STORE", "~SYNCTHING~")
        for name in ("", "a.jpg", "b.MP4", "c.txt", "\n.png")
    ]
    assert quick != rules.wants_file
    assert [bool(quick(name)) for name in names] == [rules.wants_file(name) for name in names]


def test_the_documentation_lists_every_rule() -> None:
    text = DOCS.read_text()
    assert [rule.glob for rule in (*FILE_RULES, *FOLDER_RULES) if f"`{rule.glob}`" not in text] == []
