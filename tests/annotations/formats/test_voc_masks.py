"""Pascal VOC's masks: label maps, objects, void pixels, and masks that can't be read."""

from __future__ import annotations

import builtins
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metalake_sync.annotations.formats.voc_masks.reading import VOC_CLASSES, VOID_COLOR, voc_color
from metalake_sync.errors import ManifestError, ManifestErrors, UsageError
from tests.annotations.formats.source_folders import drawn, errors_of, mask_png, read_source
from tests.annotations.opened import notes, shapes

PALETTE = [voc_color(number) for number in range(256)]
SQUARE = [1, 1, 3, 1, 3, 3, 1, 3]
"""The outline of the pixels (1, 1) to (2, 2)."""


def mask(*rows: str, palette: Any = (), colors: dict[str, Any] | None = None) -> bytes:
    """A mask of one character a pixel: a digit of a class, v for void, or a key of `colors`."""
    values: dict[str, Any] = {**{str(number): number for number in range(10)}, "v": 255, **(colors or {})}
    return mask_png([[values[one] for one in row] for row in rows], palette)


def read(folder: Path, files: dict[str, bytes | str], **more: Any) -> Any:
    return read_source(folder, files, size=(4, 4), **more)


def test_colors_are_those_of_the_development_kit() -> None:
    assert [voc_color(number) for number in (0, 1, 2, 15, 20)] == [
        (0, 0, 0),
        (128, 0, 0),
        (0, 128, 0),
        (192, 128, 128),
        (0, 64, 128),
    ]
    assert voc_color(255) == VOID_COLOR
    assert len(VOC_CLASSES) == 21


@pytest.mark.parametrize("kind", ["palette", "gray", "colors"])
def test_numbers_and_colors_are_classes_of_voc(tmp_path: Path, kind: str) -> None:
    rows = ("0000", "0330", "0330", "000v")
    colors = {str(number): voc_color(number) for number in (0, 3)} | {"v": VOID_COLOR} if kind == "colors" else None
    content = mask(*rows, palette=PALETTE if kind == "palette" else (), colors=colors)
    index = read(tmp_path, {"VOC/SegmentationClass/a.png": content}, source="VOC")
    assert drawn(index) == {"JPEGImages/a": [("polygon", "bird", SQUARE)]}
    assert "masks have void pixels, which have no class; they are left out (once)" in notes(index)


def test_without_objects_the_parts_of_a_class_are_shapes(tmp_path: Path) -> None:
    index = read(tmp_path, {"SegmentationClass/a.png": mask("3003", "0000", "0000", "0000", palette=PALETTE)})
    assert [dict(shape.metadata) for shape in shapes(index, "JPEGImages/a")] == [{}, {}]


def test_each_object_is_a_shape_in_parts(tmp_path: Path) -> None:
    files: dict[str, bytes | str] = {
        "SegmentationClass/a.png": mask("3v33", "0000", "0000", "3300", palette=PALETTE),
        "SegmentationObject/a.png": mask("1v12", "0000", "0000", "0200", palette=PALETTE),
    }
    found = sorted((min(one.points), dict(one.metadata)) for one in shapes(read(tmp_path, files), "JPEGImages/a"))
    assert found == [
        ((0, 0), {"part": "1/2"}),
        ((0, 3), {}),
        ((1, 3), {"part": "2/2"}),
        ((2, 0), {"part": "2/2"}),
        ((3, 0), {"part": "1/2"}),
    ]


def test_a_label_map_names_the_colors(tmp_path: Path) -> None:
    files: dict[str, bytes | str] = {
        "labelmap.txt": "# label:color_rgb:parts:actions\nbackground:0,0,0::\nweed:250,50,83::\ncrop:51,221,255::\n",
        "SegmentationClass/a.png": mask(
            "0000", "0110", "0110", "0002", colors={"0": (0, 0, 0), "1": (51, 221, 255), "2": (1, 2, 3)}
        ),
        "ImageSets/Segmentation/default.txt": "a\n",
    }
    index = read(tmp_path, files)
    assert drawn(index) == {"JPEGImages/a": [("polygon", "crop", SQUARE)]}
    assert "masks have pixels of an unknown class; left out (once: value (1, 2, 3))" in notes(index)


def test_a_wrong_label_map_is_an_error_with_its_line(tmp_path: Path) -> None:
    files: dict[str, bytes | str] = {
        "labelmap.txt": "background:0,0,0::\nweed:red::\n",
        "SegmentationClass/a.png": mask("0"),
    }
    assert "labelmap.txt:2: the color of 'weed' is not red, green and blue" in errors_of(tmp_path, files)


def test_holes_are_filled_and_counted(tmp_path: Path) -> None:
    index = read(tmp_path, {"SegmentationClass/a.png": mask("3333", "3003", "3003", "3333", palette=PALETTE)})
    assert drawn(index) == {"JPEGImages/a": [("polygon", "bird", [0, 0, 4, 0, 4, 4, 0, 4])]}
    assert "holes of masks are filled: a polygon has none (once)" in notes(index)


def test_masks_match_the_images_of_their_set(tmp_path: Path) -> None:
    files: dict[str, bytes | str] = {"VOC/SegmentationClass/x/a.png": mask(*["3000"] * 4, palette=PALETTE)}
    index = read(tmp_path, files, source="VOC", local=("VOC/JPEGImages/x/a.png",))
    assert list(drawn(index)) == ["VOC/JPEGImages/x/a.png"]
    index = read(tmp_path, {"other/a.png": mask(*["3000"] * 4, palette=PALETTE)}, source="other", format="voc_masks")
    assert list(drawn(index)) == ["a"]


def test_a_mask_that_cannot_be_read_leaves_its_image_alone(tmp_path: Path) -> None:
    good = mask("0000", "0330", "0330", "0000", palette=PALETTE)
    files: dict[str, bytes | str] = {
        "SegmentationClass/a.png": good,
        "SegmentationClass/b.png": good[:70],
        "SegmentationClass/c.png": mask("03", "00", palette=PALETTE),
        "SegmentationClass/d.png": good,
        "SegmentationObject/d.png": mask("01", "00", palette=PALETTE),
    }
    index = read(tmp_path, files)
    assert list(drawn(index)) == ["JPEGImages/a"]
    told = notes(index)
    assert "SegmentationClass/b.png: the mask can't be read: its image is not a PNG, or it is damaged" in told
    assert "SegmentationClass/c.png: the mask has 2 x 2 pixels, and its image 4 x 4" in told
    assert "SegmentationClass/d.png: the mask and SegmentationClass/../SegmentationObject/d.png have different" in told
    assert told.count("The entry is left out, and images without an entry keep their sets") == 3


def test_an_image_whose_pixels_change_too_often_is_not_a_mask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("metalake_sync.annotations.formats.mask_images.RUN_LIMIT", 15)
    with pytest.raises(ManifestErrors, match=r"a\.png: the mask can't be read: its pixels change too often for a mask"):
        read(tmp_path, {"SegmentationClass/a.png": mask("3030", "0303", "3030", "0303", palette=PALETTE)})


def test_without_pillow_one_error_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    imported = builtins.__import__

    def without_pillow(name: str, *rest: Any) -> Any:
        if name.startswith("PIL"):
            raise ImportError(name)
        return imported(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without_pillow)
    with pytest.raises(UsageError, match=r"metalake-sync\[masks\]"):
        read(tmp_path, {f"SegmentationClass/{name}.png": mask("3") for name in ("a", "b")})


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_a_damaged_mask_gives_shapes_or_a_clear_error(data: st.DataObject) -> None:
    content = mask("0000", "0330", "0330", "0000", palette=PALETTE)
    start = data.draw(st.integers(0, len(content)))
    end = data.draw(st.integers(start, min(len(content), start + 12)))
    damaged = content[:start] + data.draw(st.binary(max_size=12)) + content[end:]
    with tempfile.TemporaryDirectory() as name:
        mistakes: tuple[ManifestError, ...] = ()
        try:
            drawn(read(Path(name), {"SegmentationClass/a.png": damaged}, format="voc_masks"))
        except ManifestErrors as found:
            mistakes = found.errors
        assert all("a.png" in str(error) and error.remedy for error in mistakes)
