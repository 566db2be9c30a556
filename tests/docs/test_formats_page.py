"""The page of formats names each built-in format with what the format declares."""

from __future__ import annotations

from pathlib import Path

from metalake_sync.annotations.formats.base import AnnotationFormat
from metalake_sync.annotations.formats.descriptions import writing_losses
from metalake_sync.format_registry import BUILT_IN, load_format

PAGE = Path(__file__).parents[2] / "docs" / "formats.md"


def _rows(text: str) -> dict[str, list[str]]:
    """Return the cells of each row by the format's name."""
    return {
        cells[1].strip("`"): cells
        for line in text.splitlines()
        if line.startswith("| `") and (cells := [cell.strip() for cell in line.split("|")])
    }


def test_the_table_of_writing_has_what_each_format_loses() -> None:
    rows = _rows(PAGE.read_text().partition("## Writing")[2])
    written: dict[str, AnnotationFormat] = {name: load_format(name) for name in sorted(BUILT_IN)}
    written = {name: one for name, one in written.items() if one.writes}
    assert list(rows) == list(written)
    for name, one in written.items():
        output = one.output()
        files = output.file_names or (f"NAME{output.image_file_extension}",)
        assert all(f"`{file}`" in rows[name][2] for file in files)
        assert rows[name][3] == ", ".join(writing_losses(output))


def test_the_table_has_a_row_for_each_format() -> None:
    rows = _rows(PAGE.read_text().partition("## Writing")[0])
    assert list(rows) == sorted(BUILT_IN)
    for name, cells in rows.items():
        one: AnnotationFormat = load_format(name)
        assert one.title in cells[2]
        assert one.documentation in cells[2]
        assert all(f"`{extension}`" in cells[3] for extension in one.extensions)
        assert (cells[4] == "yes") == one.writes
        assert cells[5] == ", ".join(one.loses)
