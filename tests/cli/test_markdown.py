"""A plan as Markdown: names have no effect on GitHub or GitLab, and a plan fits into a comment."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence

import pytest

from metalake_sync.cli.markdown_plan import markdown_plan
from metalake_sync.core.actions import Reason
from metalake_sync.core.base_action import ActionDocument
from metalake_sync.core.changes import Change
from metalake_sync.core.summary import Summary
from metalake_sync.documents.plan import PlanDocument, WarningDocument


def plan_of(uploads: Sequence[ActionDocument], warnings: Sequence[WarningDocument] = ()) -> PlanDocument:
    summary = Summary.empty()
    summary.upload = len(uploads)
    return PlanDocument(manifest="m.yaml", state_serial=1, summary=summary, actions=uploads, warnings=warnings)


def rendered(
    *names: str, collections: int = 1, changes: tuple[Change, ...] = (), warnings: tuple[WarningDocument, ...] = ()
) -> str:
    actions = [
        ActionDocument("upload", f"birds-{number}", "image", Reason.NEW, file=name, path=name, bytes=1, changes=changes)
        for number in range(collections)
        for name in names
    ]
    return "\n".join(markdown_plan(plan_of(actions, warnings))) + "\n"


HOSTILE = [
    "@admin.png",
    "mail@acme.example.png",
    "#12.png",
    "acme/birds#12",
    "!34 ~label %milestone $5 &6",
    "GH-7",
    "https://evil.example/x",
    "www.evil.example",
    "<img src=x onerror=alert(1)>",
    "<!-- ",
    "</details>",
    "&lt;b&gt;",
    "a`b``c",
    "a|b",
    "![x](https://evil.example/x.png)",
    "[x](javascript:alert(1))",
    "**bold** __bold__",
    "tail\\",
]


def without_code(markdown: str) -> str:
    """Return a text without its code spans."""
    return re.sub(r"<code>[^<]*</code>|`[^`\n]*`", "", markdown)


@pytest.mark.parametrize("name", HOSTILE)
def test_a_name_is_code(name: str) -> None:
    markdown = rendered(name)
    (row,) = [line for line in markdown.splitlines() if line.startswith("| `+`")]
    assert re.fullmatch(r"\| `\+` \| (<code>[^<>|`@]*</code>|`[^`|<>@&\\]+`) \| new, 1 B \|", row), row
    cell = row.split(" | ")[1]
    assert (html.unescape(cell[6:-7]) if cell.startswith("<code>") else cell[1:-1]) == name


@pytest.mark.parametrize("text", HOSTILE)
def test_text_has_no_mentions_and_no_links(text: str) -> None:
    change = Change("Note", "before", text)
    note = WarningDocument("note", text, text)
    loose = without_code(rendered("a.png", changes=(change,), warnings=(note,)))
    body = re.sub(r"<details><summary>|</summary>|</details>|\*\*note\*\*", "", loose).replace(
        "&#8203;", "\N{ZERO WIDTH SPACE}"
    )
    assert not re.search(r"<[a-zA-Z/!]", body)
    assert not re.search(r"[@#!~%$]\w|&(?!amp;|lt;|gt;)|://|www\.|GH-\d", body.replace("\\", ""), re.IGNORECASE)
    assert not re.search(r"(?<!\\)[*_`\[\]~|]\w", body)


def test_a_collection_is_named_in_code_too() -> None:
    action = ActionDocument("upload", "</summary>@all", "image", Reason.NEW, file="a.png", path="a.png", bytes=1)
    markdown = "\n".join(markdown_plan(plan_of([action])))
    assert "<summary><code>&#60;/summary&#62;&#64;all</code> (image): 1 change</summary>" in markdown


@pytest.mark.parametrize(
    ("names", "collections"),
    [(120, 12), (20_000, 1), (1, 3_000), (500, 40)],
)
@pytest.mark.parametrize("length", [12, 250, 4_000])
def test_a_plan_fits_into_a_comment_and_counts_what_is_left_out(names: int, collections: int, length: int) -> None:
    files = [f"{number:05}".rjust(length, "@") for number in range(names)]
    warnings = tuple(WarningDocument("note", "x" * 500, f"file {number}") for number in range(1_000))
    blocking = (WarningDocument("too_many_deletes", "stops the run", "birds"),)
    markdown = rendered(*files, collections=collections, warnings=(*warnings, *blocking))
    assert len(markdown) <= 65_536 - 4_000
    assert f"{names * collections} to add" in markdown
    assert "**blocks apply**: birds: stops the run" in markdown
    assert re.search(r"and \d+ more notes", markdown)
    told = sum(int(number) for number in re.findall(r"</code> \(image\): (\d+) changes?<", markdown))
    told += sum(int(number) for number in re.findall(r"more collections? with (\d+) changes?", markdown))
    assert told == names * collections
    rows = len(re.findall(r"^\| `\+`", markdown, re.MULTILINE))
    more = sum(int(number) for number in re.findall(r"^\| \| … and (\d+) more", markdown, re.MULTILINE))
    whole = sum(int(number) for number in re.findall(r"more collections? with (\d+) changes?", markdown))
    assert rows + more + whole == names * collections


def test_small_collections_are_complete_beside_a_large_one() -> None:
    actions = [
        ActionDocument("upload", name, "image", Reason.NEW, file=f"{number}.png", path=f"{number}.png", bytes=1)
        for name, files in (("large", 10_000), ("small", 20))
        for number in range(files)
    ]
    markdown = "\n".join(markdown_plan(plan_of(actions)))
    large, small = markdown.split("<code>small</code>")
    assert small.count("| `+`") == 20
    assert large.count("| `+`") > 1_000
