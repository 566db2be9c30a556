"""A scan lists the wanted files in a fixed order, and reports what it cannot read."""

from __future__ import annotations

import os
import string
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metalake_sync.core.snapshots import MediaType
from metalake_sync.sources.base import FolderListing, ScannedFile, ScanProblem, Trouble
from metalake_sync.sources.globs import GlobList
from metalake_sync.sources.local_folder import scan_file
from metalake_sync.sources.rules import PatternList, ScanRules
from metalake_sync.sources.scan import scan_folder, scan_part


def tree(root: Path, *paths: str) -> Path:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(path.encode())
    return root


def scan(root: Path, media_type: MediaType = MediaType.IMAGE, **rules: object) -> list[FolderListing]:
    return list(scan_folder(str(root), ScanRules(media_type, **rules)))  # type: ignore[arg-type]


def listed_paths(root: Path, media_type: MediaType = MediaType.IMAGE, **rules: object) -> list[str]:
    return [
        os.path.join(listing.relative_dir, file.filename)
        for listing in scan(root, media_type, **rules)
        for file in listing.files
    ]


def test_files_are_listed_by_folder_and_name(tmp_path: Path) -> None:
    tree(tmp_path, "b.jpg", "a.jpg", "z/c.jpg", "m/n/d.jpg", "m/e.jpg")
    assert [listing.relative_dir for listing in scan(tmp_path)] == ["", "m", "m/n", "z"]
    assert listed_paths(tmp_path) == ["a.jpg", "b.jpg", "m/e.jpg", "m/n/d.jpg", "z/c.jpg"]


@pytest.mark.parametrize(
    ("media_type", "expected"),
    [
        (MediaType.IMAGE, ["a.JPG", "b.jpeg", "c.Png"]),
        (MediaType.VIDEO, ["d.mp4", "e.MKV"]),
        (MediaType.OTHER, ["a.JPG", "b.jpeg", "c.Png", "d.mp4", "e.MKV", "f.txt", "png"]),
    ],
)
def test_extensions_of_a_media_type_match_in_any_case(
    tmp_path: Path, media_type: MediaType, expected: list[str]
) -> None:
    tree(tmp_path, "a.JPG", "b.jpeg", "c.Png", "d.mp4", "e.MKV", "f.txt", "png")
    assert listed_paths(tmp_path, media_type) == expected


def test_unfinished_files_and_files_of_tools_are_excluded(tmp_path: Path) -> None:
    tree(tmp_path, "a.jpg.part", "b.swp", "c~", "d.crdownload", ".metalake-sync/x.db", ".git/config", ".DS_Store", "ok")
    assert listed_paths(tmp_path, MediaType.OTHER) == ["ok"]


def test_a_scan_that_is_not_recursive_lists_one_folder(tmp_path: Path) -> None:
    tree(tmp_path, "a.jpg", "sub/b.jpg")
    assert listed_paths(tmp_path, recursive=False) == ["a.jpg"]


def test_exclude_overrides_include_and_an_excluded_folder_is_not_scanned(tmp_path: Path) -> None:
    tree(tmp_path, "a.jpg", "a_draft.jpg", "old/b.jpg", "new/c.jpg", "d.png")
    assert listed_paths(tmp_path, include=("*.jpg",), exclude=("*_draft*", "old/")) == ["a.jpg", "new/c.jpg"]
    assert "old" not in [listing.relative_dir for listing in scan(tmp_path, exclude=("old/",))]


def test_a_pattern_with_a_slash_is_relative_to_the_scanned_folder(tmp_path: Path) -> None:
    tree(tmp_path, "day/a.jpg", "night/day/b.jpg")
    assert listed_paths(tmp_path, include=("/day/*.jpg",)) == ["day/a.jpg"]
    assert listed_paths(tmp_path, include=("**/day/",)) == ["day/a.jpg", "night/day/b.jpg"]


def test_the_deepest_ignore_file_that_matches_a_path_decides(tmp_path: Path) -> None:
    tree(tmp_path, "a.jpg", "sub/a.jpg", "sub/b.jpg")
    (tmp_path / ".metalakeignore").write_text("a.jpg\nb.jpg\n")
    (tmp_path / "sub/.metalakeignore").write_text("!a.jpg\n")
    assert listed_paths(tmp_path) == ["sub/a.jpg"]


def unreadable_ignore_file(folder: Path, kind: str) -> None:
    path = folder / ".metalakeignore"
    match kind:
        case "fifo":
            os.mkfifo(path)
        case "zero":
            path.symlink_to("/dev/zero")
        case "folder":
            path.mkdir()
        case "dangling":
            path.symlink_to("gone")
        case "binary":
            path.write_bytes(b"a.jpg\n\0b.jpg\n")
        case "half a character":
            path.write_bytes(b"\xff\xfe\x00")
        case "latin-1":
            path.write_bytes("ä.jpg\n".encode("latin-1"))
        case "huge":
            path.write_bytes(b"a.jpg\n" * 400_000)


@pytest.mark.parametrize(
    "kind", ["fifo", "zero", "folder", "dangling", "binary", "half a character", "latin-1", "huge"]
)
def test_an_unreadable_ignore_file_hides_only_its_folder(tmp_path: Path, kind: str) -> None:
    tree(tmp_path, "a.jpg", "sub/b.jpg", "sub/deep/c.jpg", "z/d.jpg")
    unreadable_ignore_file(tmp_path / "sub", kind)
    assert listed_paths(tmp_path) == ["a.jpg", "z/d.jpg"]
    (problem,) = [problem for listing in scan(tmp_path) for problem in listing.problems]
    assert (problem.path, problem.trouble, problem.hides_files, problem.is_failure) == (
        "sub",
        Trouble.IGNORE_FILE,
        True,
        True,
    )
    assert "sub/.metalakeignore: " in problem.message
    (part,) = scan_part(str(tmp_path), ScanRules(MediaType.IMAGE), "sub/deep", deep=True)
    assert part.problems == [problem]


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbfsecret.jpg\r\n\xc3\xb6.jpg\r\n",
        "secret.jpg\nö.jpg".encode("utf-16"),
        "\ufeffsecret.jpg\r\nö.jpg\r\n".encode("utf-16-be"),
        "#\u2028\nsecret.jpg\nö.jpg\n".encode(),
    ],
)
def test_an_ignore_file_may_have_any_encoding_and_line_ends(tmp_path: Path, content: bytes) -> None:
    tree(tmp_path, "secret.jpg", "ö.jpg", "ok.jpg")
    (tmp_path / ".metalakeignore").write_bytes(content)
    assert listed_paths(tmp_path) == ["ok.jpg"]


def test_a_link_that_replaces_a_folder_during_the_scan_is_not_followed(tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    tree(root, "a.jpg", "sub/deep/b.jpg")
    tree(outside, "b.jpg", "deep/b.jpg")
    for level in ("sub", "sub/deep"):
        listings = scan_folder(str(root), ScanRules(MediaType.IMAGE))
        for listing in listings:
            if listing.relative_dir == os.path.dirname(level):
                break
        (root / level).rename(tmp_path / "aside")
        (root / level).symlink_to(outside)
        rest = list(listings)
        (root / level).unlink()
        (tmp_path / "aside").rename(root / level)
        assert [file for listing in rest for file in listing.files] == []
        assert {problem.trouble for listing in rest for problem in listing.problems} == {Trouble.FOLDER_LINK}
        assert all(problem.hides_files for listing in rest for problem in listing.problems)


def test_files_that_are_not_regular_are_reported_and_left_out(tmp_path: Path) -> None:
    tree(tmp_path, "a.jpg", "real/b.jpg")
    (tmp_path / "link.jpg").symlink_to("a.jpg")
    (tmp_path / "folder_link").symlink_to("real")
    (tmp_path / "loop").symlink_to(".")
    os.mkfifo(tmp_path / "fifo.jpg")
    (root, *_) = scan(tmp_path)
    assert {problem.path: problem.trouble for problem in root.problems} == {
        "link.jpg": Trouble.LINK,
        "folder_link": Trouble.FOLDER_LINK,
        "loop": Trouble.FOLDER_LINK,
        "fifo.jpg": Trouble.SPECIAL_FILE,
    }
    assert listed_paths(tmp_path) == ["a.jpg", "real/b.jpg"]


def test_links_are_followed_if_the_rules_allow_it_and_loops_end(tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    tree(root, "a.jpg", "x/b.jpg", "y/c.jpg")
    tree(outside, "d.jpg", "deep/e.jpg")
    os.mkfifo(outside / "fifo")
    (root / "link.jpg").symlink_to("a.jpg")
    (root / "out").symlink_to(outside)
    (root / "x/y").symlink_to("../y")
    (root / "y/x").symlink_to("../x")
    (root / "loop").symlink_to(".")
    (root / "nowhere").symlink_to("gone")
    (root / "fifo.jpg").symlink_to(outside / "fifo")
    (root / "tty.jpg").symlink_to("/dev/tty")
    listings = scan(root, follow_symlinks=True)
    assert [f"{one.relative_dir}/{file.filename}" for one in listings for file in one.files] == [
        *("/a.jpg", "/link.jpg", "out/d.jpg", "out/deep/e.jpg"),
        *("x/b.jpg", "x/y/c.jpg", "y/c.jpg", "y/x/b.jpg"),
    ]
    assert {problem.path: problem.trouble for one in listings for problem in one.problems} == {
        "loop": Trouble.LOOP,
        "x/y/x": Trouble.LOOP,
        "y/x/y": Trouble.LOOP,
        "nowhere": Trouble.BROKEN_LINK,
        "fifo.jpg": Trouble.SPECIAL_FILE,
        "tty.jpg": Trouble.SPECIAL_FILE,
    }


def test_a_part_behind_a_link_is_listed_as_in_the_whole_scan(tmp_path: Path) -> None:
    root = tmp_path / "root"
    tree(root, "a.jpg")
    tree(tmp_path / "outside", "deep/e.jpg")
    (root / "out").symlink_to(tmp_path / "outside")
    (tmp_path / "outside/back").symlink_to(root)
    rules = ScanRules(MediaType.IMAGE, follow_symlinks=True)
    whole = {listing.relative_dir: listing for listing in scan_folder(str(root), rules)}
    for folder in ("out", "out/deep"):
        (part,) = scan_part(str(root), rules, folder, deep=False)
        assert part == whole[folder]
    assert list(scan_part(str(root), ScanRules(MediaType.IMAGE), "out", deep=False)) == []


def test_a_path_that_is_too_long_is_reported_and_the_rest_is_listed(tmp_path: Path) -> None:
    tree(tmp_path, "a.jpg", "z/b.jpg")
    here = os.open(tmp_path, os.O_RDONLY)
    # Each folder is made from the one above: the whole path is longer than any call takes.
    for _ in range(25):
        os.mkdir("d" * 200, dir_fd=here)
        below = os.open("d" * 200, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    listings = scan(tmp_path)
    assert listed_paths(tmp_path) == ["a.jpg", "z/b.jpg"]
    (problem,) = [problem for listing in listings for problem in listing.problems]
    assert (problem.trouble, problem.detail) == (Trouble.UNREADABLE, "File name too long")
    assert problem.is_failure


def test_names_that_the_lake_does_not_accept_are_failures(tmp_path: Path) -> None:
    for name in (b"bad\xff.jpg", b"bell\x07.jpg", "don\u00e2\u0080\u0099t.jpg".encode(), "fine ü 鳥.jpg".encode()):
        Path(os.fsdecode(os.path.join(os.fsencode(tmp_path), name))).write_bytes(b"x")
    (listing,) = scan(tmp_path)
    assert [file.filename for file in listing.files] == ["fine ü 鳥.jpg"]
    assert {problem.trouble for problem in listing.problems} == {Trouble.NOT_UTF8, Trouble.CONTROL_CHARACTERS}
    assert all(problem.is_failure for problem in listing.problems)


@pytest.mark.parametrize(("make", "trouble"), [(None, Trouble.MISSING), ("file", Trouble.NOT_A_FOLDER)])
def test_an_unreadable_root_is_one_problem_that_hides_files(tmp_path: Path, make: str | None, trouble: Trouble) -> None:
    root = tmp_path / "root"
    if make:
        root.write_bytes(b"")
    (listing,) = scan(root)
    (problem,) = listing.problems
    assert (problem.trouble, problem.path, problem.hides_files) == (trouble, "", True)


def test_a_single_file_is_scanned_like_one_of_a_folder(tmp_path: Path) -> None:
    tree(tmp_path, "a.jpg")
    (listing,) = scan(tmp_path)
    assert scan_file(str(tmp_path / "a.jpg")) == listing.files[0]
    assert isinstance(listing.files[0], ScannedFile)
    missing = scan_file(str(tmp_path / "b.jpg"))
    assert isinstance(missing, ScanProblem)
    assert missing.trouble is Trouble.MISSING


_NAMES = st.text(string.ascii_letters + "._-*? ", min_size=1, max_size=8).filter(lambda name: name.strip("."))


@given(patterns=st.lists(_NAMES, min_size=1, max_size=3), name=st.text(string.ascii_letters + "._- ", min_size=1))
def test_the_fast_path_for_plain_patterns_agrees_with_gitignore(patterns: list[str], name: str) -> None:
    assert PatternList(patterns).takes_file("sub", name) == (
        GlobList(patterns).rank(name.encode(), is_folder=False) > 0
    )
