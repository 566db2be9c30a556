"""Outlines of masks by rows and by columns, and masks that are images."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from PIL import Image

from metalake_sync.annotations.formats import mask_images, masks
from metalake_sync.annotations.formats.mask_images import decode_mask, read_mask_file
from metalake_sync.annotations.formats.masks import BrokenMask, outlines_of_lines, outlines_of_runs
from metalake_sync.errors import ManifestError, UsageError

SQUARE = ((1.0, 0.0), (3.0, 0.0), (3.0, 2.0), (1.0, 2.0))


def canonical(outline: tuple[tuple[float, float], ...]) -> tuple[tuple[float, float], ...]:
    """The outline from its first corner in reading order on."""
    at = outline.index(min(outline, key=lambda point: (point[1], point[0])))
    return outline[at:] + outline[:at]


def test_runs_by_rows_and_by_columns_have_the_same_outline() -> None:
    by_rows = outlines_of_runs([1, 2, 2, 2, 1], 4, 2, by_rows=True)
    by_columns = outlines_of_runs([2, 4, 2], 4, 2, by_rows=False)
    assert [canonical(one) for one in by_rows.outlines] == [SQUARE]
    assert [canonical(one) for one in by_columns.outlines] == [SQUARE]


def test_a_mask_stands_at_its_place_in_the_image() -> None:
    (outline,) = outlines_of_runs([0, 1], 1, 1, by_rows=True, left=10, top=20).outlines
    assert canonical(outline) == ((10, 20), (11, 20), (11, 21), (10, 21))


def test_a_hole_is_filled_and_counted() -> None:
    found = outlines_of_lines({0: [(0, 3)], 1: [(0, 1), (2, 3)], 2: [(0, 3)]})
    assert [canonical(one) for one in found.outlines] == [((0, 0), (3, 0), (3, 3), (0, 3))]
    assert found.holes == 1


def test_pixels_that_touch_at_a_corner_are_two_parts() -> None:
    found = outlines_of_lines({0: [(0, 1)], 1: [(1, 2)]})
    assert len(found.outlines) == 2


@pytest.mark.parametrize(
    ("counts", "width", "height"),
    [([0, 1], 10**9, 1), ([0, 10**12], 10**6, 10**6), ([0, 3], 2, 1), ([2, -1, 1], 2, 1), ("ab", 2, 1), ([2], 0, 2)],
    ids=["wide", "large", "too long", "negative", "text", "no width"],
)
def test_runs_that_are_not_a_mask_are_refused(counts: object, width: int, height: int) -> None:
    with pytest.raises(BrokenMask):
        outlines_of_runs(counts, width, height, by_rows=True)


def png(image: Image.Image, **more: object) -> bytes:
    content = io.BytesIO()
    image.save(content, "PNG", **more)
    return content.getvalue()


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "LA", "I;16"])
def test_set_pixels_of_every_kind_of_png(mode: str) -> None:
    image = Image.new("L", (4, 2))
    image.paste(255, (1, 0, 3, 2))
    if mode in ("RGBA", "LA"):
        changed = Image.new(mode, (4, 2))
        changed.paste((0,) * (len(mode) - 1) + (255,), (1, 0, 3, 2))
    else:
        changed = image.convert("I").convert("I;16") if mode == "I;16" else image.convert(mode)
    assert decode_mask(png(changed), "a.json").set_pixels() == {0: [(1, 3)], 1: [(1, 3)]}


def test_a_transparent_color_of_the_palette_is_not_set() -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([255, 255, 255, 0, 0, 0])
    image.putpixel((1, 0), 1)
    assert decode_mask(png(image, transparency=0), "a.json").set_pixels() == {0: [(1, 2)]}


def test_rows_of_each_value() -> None:
    image = Image.new("RGB", (3, 1), (1, 2, 3))
    image.putpixel((2, 0), (10, 10, 10))
    values = decode_mask(png(image), "a.json").by_value()
    assert values == {bytes((1, 2, 3)): {0: [(0, 2)]}, bytes((10, 10, 10)): {0: [(2, 3)]}}


def test_a_damaged_image_is_a_broken_mask() -> None:
    content = png(Image.new("L", (40, 40), 7))
    for damaged in (b"", b"GIF89a", content[:40], content[:-30]):
        with pytest.raises(BrokenMask):
            decode_mask(damaged, "a.json")


def test_a_image_that_is_too_large_is_not_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mask_images, "PIXEL_LIMIT", 100)
    with pytest.raises(BrokenMask, match="too large"):
        decode_mask(png(Image.new("L", (11, 10))), "a.json")


def test_a_mask_file_that_is_missing_is_an_error_with_its_name(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"can't be read") as caught:
        read_mask_file(tmp_path / "a.png", "masks/a.png")
    assert caught.value.where == "masks/a.png"


def test_without_pillow_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "PIL.Image", None)
    with pytest.raises(UsageError, match="Pillow") as caught:
        decode_mask(b"", "a.json")
    assert "metalake-sync[masks]" in (caught.value.remedy or "")


def test_a_mask_with_too_many_runs_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(masks, "RUN_LIMIT", 2)
    with pytest.raises(BrokenMask, match="too many runs"):
        outlines_of_lines({0: [(0, 1), (2, 3)], 1: [(1, 2)]})
