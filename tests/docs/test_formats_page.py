"""The page of formats names each built-in format with what the format declares."""

from __future__ import annotations

from pathlib import Path

from metalake_sync.annotations.formats.base import AnnotationFormat
from metalake_sync.format_registry import BUILT_IN, load_format

PAGE = Path(__file__).parents[2] / "docs" / "formats.md"


def test_the_table_has_a_row_for_each_format() -> None:
    rows = {
        cells[1].strip("`"): cells
        for line in PAGE.read_text().splitlines()
        if line.startswith("| `") and (cells := [cell.strip() for cell in line.split("|")])
    }
    assert list(rows) == sorted(BUILT_IN)
    for name, cells in rows.items():
        one: AnnotationFormat = load_format(name)
        assert one.title in cells[2]
        assert one.documentation in cells[2]
        assert all(f"`{extension}`" in cells[3] for extension in one.extensions)
        assert (cells[4] == "yes") == one.writes
        assert cells[5] == ", ".join(one.loses)
