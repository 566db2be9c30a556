"""Patterns match what git matches, in bounded time."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import pytest

from metalake_sync.core.snapshots import MediaType
from metalake_sync.errors import ManifestError
from metalake_sync.sources.globs import GlobList
from metalake_sync.sources.rules import PatternList, ScanRules
from metalake_sync.sources.scan import scan_folder

needs_git = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")

FOLDERS = ["", "a/", "b/", "a/b/", "a/b/ab/", "x.y/", "ö/", "a b/", "build/sub/"]
NAMES = ["a", "ab", "A", "1", "-", "]", "[", "!a", "#a", "^", "\\", "a b", "a ", "ö", "x.y", "a.png", "ab.png", ".png"]

LISTS = [
    ["[[:digit:]]"],
    ["[[:alpha:]_]*", "![[:upper:]]"],
    ["*[[:space:]]*"],
    ["[[:punct:]]"],
    ["[[:nonsense:]]", "ab"],
    ["[[:alpha]*"],
    ["?"],
    ["??"],
    ["[ö]*"],
    ["[!a]"],
    ["[^a-b]*"],
    ["[]a]"],
    ["[a\\-b]"],
    ["[b-a]", "1"],
    ["[a-"],
    ["a\\ "],
    ["a\\  "],
    ["a "],
    ["\\!a", "\\#a"],
    ["a\\"],
    ["\\\\"],
    ["*", "!*/", "!a.png"],
    ["*", "!a/", "!a/**"],
    ["/*", "!/a/", "/a/*", "!/a/b/"],
    ["a/b/", "!a/b/ab/a.png"],
    ["build/", "!build/sub/a"],
    ["a/**/"],
    ["a/**"],
    ["**/ab"],
    ["/**/ab/*"],
    ["a**/*.png"],
    ["a/b**/a"],
    ["x**y"],
    ["***/a"],
    ["**\\/a"],
    ["a/*/a.png"],
    ["a?b"],
    ["a[/]b"],
    ["*.PNG"],
    ["/", "!", "#", ""],
]


def tree(root: Path, paths: Iterable[str]) -> list[str]:
    subprocess.run(["git", "init", "-q", root], check=True)
    made = []
    for path in sorted(paths, key=lambda path: -path.count("/")):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        if not (root / path).is_dir():
            (root / path).write_bytes(b"")
            made.append(path)
    return made


def files_kept_by_git(root: Path, files: Sequence[str]) -> list[str]:
    """The files that git does not ignore."""
    command = ["git", "-C", str(root), "ls-files", "-o", "-z", "--exclude-per-directory=.gitignore"]
    found = set(subprocess.run(command, check=True, capture_output=True).stdout.decode().split("\0"))
    return [path for path in files if path in found]


def files_scanned(root: Path, files: Sequence[str]) -> list[str]:
    found = {
        os.path.join(listing.relative_dir, file.filename)
        for listing in scan_folder(str(root), ScanRules(MediaType.OTHER))
        for file in listing.files
    }
    return [path for path in files if path in found]


def ignore(folder: Path, lines: Sequence[str]) -> None:
    for name in (".gitignore", ".metalakeignore"):
        (folder / name).write_text("".join(line + "\n" for line in lines))


@needs_git
def test_ignore_files_exclude_what_git_excludes(tmp_path: Path) -> None:
    files = tree(tmp_path, [folder + name for folder in FOLDERS for name in NAMES])
    told_apart = 0
    for lines in LISTS:
        ignore(tmp_path, lines)
        left = files_kept_by_git(tmp_path, files)
        assert files_scanned(tmp_path, files) == left, lines
        told_apart += left != files
    assert told_apart > len(LISTS) * 3 // 4


TOKENS = [
    *("a", "b", "ab", "1", "A", "-", ".", "ö", "x.y", "*", "*", "?", "**", "***", "/", "/", "**/", "/**", "/**/", " "),
    *("[ab]", "[!a]", "[^b]", "[a-b]", "[]a]", "[b-a]", "[a-", "[ö]", "[a\\]]", "[[:alpha:]]", "[[:punct:]]"),
    *("[[:x:]]", "[:a:]", "[[:a]", "\\*", "\\a", "\\ ", "\\", "\\/", "!", "#"),
]  # fmt: skip


@needs_git
def test_random_and_nested_ignore_files_exclude_what_git_excludes(tmp_path: Path) -> None:
    chosen = random.Random(20)
    files = tree(tmp_path, [folder + name for folder in FOLDERS for name in NAMES])
    for _ in range(60):
        lines = []
        for _ in range(chosen.randint(1, 4)):
            line = "".join(chosen.choices(TOKENS, k=chosen.randint(1, 5)))
            lines += ["*", "!*/"] * (chosen.random() < 0.1)
            lines.append("!" * (chosen.random() < 0.3) + line + "/" * (chosen.random() < 0.25))
        nested = ["!" * (chosen.random() < 0.6) + "".join(chosen.choices(TOKENS, k=3))]
        ignore(tmp_path, lines)
        ignore(tmp_path / "a", nested)
        assert files_scanned(tmp_path, files) == files_kept_by_git(tmp_path, files), (lines, nested)


@pytest.mark.parametrize(
    "pattern",
    [
        "sub/" + "*a" * 15 + "*b",
        "sub/" + "*[ab]" * 15 + "*c/x",
        "**/" + "*?a" * 12 + "*b",
        "**a" * 8 + "**b",
        "*" * 300 + "b",
        "**/" + "a/**/" * 12 + "b",
        "sub/" + "**/a/" * 14 + "b",
        "sub/" + "**/*a*/" * 10 + "*b",
        "**/" * 40 + "b",
        "sub/" + "**\\/" * 20 + "b",
    ],
)
@pytest.mark.parametrize("name", ["sub/" + "a" * 250, "sub/" + "a/" * 120 + "a"])
def test_a_pattern_with_many_stars_is_matched_in_bounded_time(pattern: str, name: str) -> None:
    asked = f"GlobList([{pattern!r}]).rank({name.encode()!r}, is_folder=False)"
    code = f"from metalake_sync.sources.globs import GlobList; {asked}"
    subprocess.run([sys.executable, "-c", code], timeout=60, check=True)


@pytest.mark.parametrize("pattern", ["sub/[z-a]", "[z-a].jpg", "a\\", "[ab", "[[:letters:]]", "!", "/"])
def test_a_pattern_that_can_match_nothing_is_an_error_that_names_it(pattern: str) -> None:
    with pytest.raises(ManifestError, match="invalid pattern") as caught:
        PatternList(["*.jpg", pattern])
    assert f"'{pattern}'" in caught.value.message
    assert GlobList([pattern]).rank(b"a", is_folder=False) == 0


@pytest.mark.parametrize(
    ("patterns", "taken"),
    [
        (["day/"], ["day/a.jpg", "day/raw/b.jpg", "night/day/c.jpg"]),
        (["day/", "!raw/"], ["day/a.jpg", "night/day/c.jpg"]),
        (["day/", "!raw/", "b.jpg"], ["day/a.jpg", "day/raw/b.jpg", "night/day/c.jpg"]),
        (["*.jpg", "!/day"], ["night/day/c.jpg"]),
        (["day", "!c.*"], ["day/a.jpg", "day/raw/b.jpg"]),
    ],
)
def test_an_included_folder_includes_its_files_and_the_last_match_decides(
    tmp_path: Path, patterns: list[str], taken: list[str]
) -> None:
    paths = ["day/a.jpg", "day/raw/b.jpg", "night/day/c.jpg"]
    for path in paths:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(b"")
    rules = ScanRules(MediaType.IMAGE, include=tuple(patterns))
    scanned = [
        os.path.join(listing.relative_dir, file.filename)
        for listing in scan_folder(str(tmp_path), rules)
        for file in listing.files
    ]
    assert scanned == taken
    matched = PatternList(patterns)
    assert [path for path in paths if matched.takes_file(*os.path.split(path))] == taken
