"""The page says what it left out, keeps its bounds, and shows the odd entries first."""

from __future__ import annotations

import os
import re
import struct
import zlib
from pathlib import Path

import pytest
from PIL import EpsImagePlugin, Image

from metalake_sync.core.shapes import ShapeType
from metalake_sync.errors import UsageError
from metalake_sync.report import thumbnails
from metalake_sync.report.model import ActionLine, Entry, ImageUnavailable, set_change
from metalake_sync.report.pages import render_report
from metalake_sync.report.thumbnails import decode_image
from tests.embedded_lake.talk import png
from tests.report.entries import File, box, changed, drawn, human, new, plan, record, write_image

MOVED = human(record(box("RBC", 45, 12, 30, 30)), record(box("RBC", 48, 12, 27, 30)))


def names(html: str) -> list[str]:
    return re.findall(r'<h4 class="name"><bdi>(.*?)</bdi>', html)


def rows(html: str) -> list[str]:
    return re.findall(r'<bdi class="name">(.*?)</bdi>', html)


def test_a_changed_set_is_described_and_drawn(tmp_path: Path) -> None:
    report = render_report(plan(changed("crow.jpg", write_image(tmp_path / "a.png"), MOVED)))
    assert report.images == 1
    assert report.left_out == ()
    assert "human (human)</bdi>: 1 box moved" in report.html
    assert "RBC  (45,12 30×30) → (48,12 27×30)" in report.html
    assert 'd="M45 12h30v30h-30z"' in report.html
    assert 'd="M48 12h27v30h-27z"' in report.html
    assert names(report.html) == ["crow.jpg"]


def test_max_images_is_obeyed_and_stated_and_the_others_are_listed(tmp_path: Path) -> None:
    image = write_image(tmp_path / "a.png")
    entries = [changed(f"{number}.jpg", image, MOVED) for number in range(5)]
    report = render_report(plan(*entries), max_images=2)
    assert report.images == 2
    assert names(report.html) == ["0.jpg", "1.jpg"]
    assert rows(report.html) == ["2.jpg", "3.jpg", "4.jpg"]
    assert report.left_out == ("3 images not shown, because the limit is 2 (--max-images).",)
    assert "3 images not shown, because the limit is 2 (--max-images)." in report.html


def test_no_images_at_all_is_a_page_of_rows(tmp_path: Path) -> None:
    report = render_report(plan(changed("0.jpg", write_image(tmp_path / "a.png"), MOVED)), max_images=0)
    assert report.images == 0
    assert "<image" not in report.html
    assert rows(report.html) == ["0.jpg"]


def test_the_size_bound_is_obeyed_and_stated(tmp_path: Path) -> None:
    noise = tmp_path / "noise.png"
    Image.effect_noise((600, 600), 90).save(noise)
    entries = [changed(f"{number}.jpg", File(noise), MOVED) for number in range(20)]
    report = render_report(plan(*entries), max_bytes=400_000)
    assert 0 < report.images < 20
    assert len(report.html.encode()) <= 400_000
    left_out = f"{20 - report.images} images not shown, because the file would be larger than 400 kB (--max-size)."
    assert report.left_out == (left_out,)
    assert left_out in report.html


def test_rows_are_bounded_too(tmp_path: Path) -> None:
    actions = (ActionLine("~", "update_metadata", "metadata_changed", ("x" * 500,)),)
    entries = [Entry("birds", "image", f"{number}.jpg", actions) for number in range(3_000)]
    report = render_report(plan(*entries), max_bytes=300_000)
    assert len(report.html.encode()) <= 300_000
    assert report.left_out == (f"{3_000 - len(rows(report.html)):,} entries not listed, to keep the file small.",)


def test_many_labels_keep_the_bound(tmp_path: Path) -> None:
    image = write_image(tmp_path / "a.png")
    entries = [
        new(f"{number}.jpg", image, *(box(f"{number} {place} " + "ä" * 200, 1, 1, 5, 5) for place in range(60)))
        for number in range(30)
    ]
    report = render_report(plan(*entries), max_bytes=250_000)
    assert 0 < report.images < 30
    assert len(report.html.encode()) <= 250_000


def test_a_bound_that_is_too_small_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="at least 200 kB"):
        render_report(plan(), max_bytes=1_000)


def test_entries_that_differ_come_before_groups_and_each_group_gets_a_turn(tmp_path: Path) -> None:
    image = write_image(tmp_path / "a.png")
    entries = [
        *(changed(f"a{number}.jpg", image, MOVED, group="RBC relabeled") for number in range(9)),
        *(changed(f"b{number}.jpg", image, MOVED, group="WBC relabeled") for number in range(2)),
        new("new.jpg", image),
        changed("odd.jpg", image, MOVED),
    ]
    report = render_report(plan(*entries), max_images=7)
    assert names(report.html) == ["odd.jpg", "a0.jpg", "a1.jpg", "a2.jpg", "a3.jpg", "b0.jpg", "b1.jpg"]
    assert report.html.index("RBC relabeled") < report.html.index("a0.jpg")


def test_an_image_that_is_gone_is_stated_and_its_changes_are_listed(tmp_path: Path) -> None:
    change = human(record(box("RBC", 45, 12, 30, 30)), record(box("RBC", 48, 12, 27, 30)), (100, 100))
    report = render_report(plan(changed("crow.jpg", File(tmp_path / "gone.png"), change)))
    assert report.images == 0
    assert "The image is not shown: the file is not on this disk any more." in report.html
    assert "RBC  (45,12 30×30) → (48,12 27×30)" in report.html


def test_a_file_that_is_not_an_image_is_stated_without_its_path(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"no image")
    report = render_report(plan(changed("crow.jpg", File(tmp_path / "a.png"), MOVED)))
    assert "The image is not shown: the file can&#39;t be decoded as an image." in report.html
    assert str(tmp_path) not in report.html


@pytest.mark.parametrize("side", [60_000, 12_000])
def test_an_image_with_too_many_pixels_is_not_decoded(tmp_path: Path, side: int) -> None:
    """Pillow itself refuses the larger one only."""
    header = png(1, 1).replace(struct.pack(">II", 1, 1), struct.pack(">II", side, side), 1)
    body = header[12:29]
    (tmp_path / "a.png").write_bytes(header.replace(header[29:33], struct.pack(">I", zlib.crc32(body)), 1))
    report = render_report(plan(changed("crow.png", File(tmp_path / "a.png"), MOVED)))
    assert report.images == 0
    assert "The image is not shown: it has more than 100 million pixels." in report.html


def test_a_large_jpeg_that_is_scaled_down_is_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(thumbnails, "PIXEL_LIMIT", 200_000)
    large = write_image(tmp_path / "a.jpg", (4_000, 2_000))
    assert decode_image(large, 480, with_parts=False).size == (4_000, 2_000)
    with pytest.raises(ImageUnavailable):
        decode_image(large, 480, with_parts=True)


def test_no_decoder_that_starts_a_program_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow decodes EPS with Ghostscript, whatever the name of the file."""
    program = tmp_path / "bin" / "gs"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\ntouch {tmp_path}/started\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(EpsImagePlugin, "gs_binary", None)
    (tmp_path / "a.png").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 20 20\n%%EndComments\n0 0 moveto\n")
    report = render_report(plan(changed("crow.png", File(tmp_path / "a.png"), MOVED)))
    assert "The image is not shown: the file can&#39;t be decoded as an image." in report.html
    assert not (tmp_path / "started").exists()


def test_an_unknown_set_is_called_unknown(tmp_path: Path) -> None:
    change = human(None, record(box("RBC", 1, 1, 5, 5)))
    report = render_report(plan(changed("crow.jpg", write_image(tmp_path / "a.png"), change)))
    assert "The shapes in the lake are unknown, because the plan did not read them." in report.html
    assert "human (human)</bdi>: 1 box\n" in report.html.replace("</h5>", "\n")
    assert "added" not in report.html.split("<main")[1].split("<script")[0]


def test_large_sets_are_bounded_and_counted(tmp_path: Path) -> None:
    many = [box("RBC", number % 300, number // 300, 5, 5) for number in range(2_000)]
    huge = drawn(ShapeType.POLYGON, "cell", *((float(number % 300), number / 300) for number in range(30_000)))
    sets = [human(record(*many), record()), human(record(), record(huge)), human(record(*many), record(*many, huge))]
    report = render_report(plan(changed("crow.jpg", write_image(tmp_path / "a.png"), *sets)))
    assert "1,500 more changes not drawn." in report.html
    assert report.html.count("1 more change not drawn.") == 2
    assert "1,700 unchanged shapes not drawn." in report.html
    assert len(report.html) < 300_000


def test_coordinates_that_are_not_finite_are_not_drawn(tmp_path: Path) -> None:
    infinite = box("RBC", float("inf"), 1, 5, 5)
    report = render_report(plan(new("crow.jpg", write_image(tmp_path / "a.png"), infinite, box("RBC", 1, 1, 5, 5))))
    assert "1 more change not drawn." in report.html
    assert "inf" not in re.findall(r' d="(.*?)"', report.html)


def test_no_metadata_of_an_image_reaches_the_page(tmp_path: Path) -> None:
    image = Image.new("RGB", (64, 48), (10, 20, 30))
    exif = image.getexif()
    exif[0x010F] = "SECRET-CAMERA"
    image.save(tmp_path / "a.jpg", exif=exif, icc_profile=b"SECRET-PROFILE" * 50, comment=b"SECRET-COMMENT")
    from base64 import b64decode

    html = render_report(plan(new("a.jpg", File(tmp_path / "a.jpg")))).html
    found = [b64decode(data) for data in re.findall(r"base64,([A-Za-z0-9+/=]+)", html)]
    assert found
    assert all(b"SECRET" not in data for data in found)


def test_an_image_of_16_bits_is_stretched_to_its_range(tmp_path: Path) -> None:
    image = Image.new("I;16", (40, 40), 1000)
    image.paste(1400, (20, 0, 40, 40))
    image.save(tmp_path / "a.png")
    from metalake_sync.annotations.drawing import load_displayed

    shown, _ = load_displayed(str(tmp_path / "a.png"), lambda _: 1.0)
    assert (shown.getpixel((5, 5)), shown.getpixel((30, 5))) == ((0, 0, 0), (255, 255, 255))


def test_unchanged_shapes_are_those_of_the_set_without_the_changed_ones() -> None:
    one, other, twin = box("a", 1, 1, 5, 5), box("a", 30, 30, 5, 5), box("b", 50, 50, 5, 5)
    change = set_change("human", "human", record(one, twin), record(one, other, twin, twin))
    assert sorted(shape.points[0] for shape in change.unchanged) == [(1, 1), (50, 50)]
    assert len(change.diff.added) == 2


def test_a_rare_change_comes_before_one_that_many_shapes_share(tmp_path: Path) -> None:
    before = [box("RBC", 10 * number, 10, 8, 8) for number in range(9)]
    after = [box("Erythrocyte", 10 * number, 10, 8, 8) for number in range(9)]
    change = human(record(*before, box("WBC", 1, 100, 20, 20)), record(*after, box("WBC", 3, 100, 20, 20)))
    html = render_report(plan(changed("crow.jpg", write_image(tmp_path / "a.png"), change))).html
    assert re.findall(r"<figcaption><b>(\d+)</b> <span.*?</span> (\w+)", html) == [
        ("1", "moved"), *((str(number), "relabeled") for number in range(2, 6))
    ]  # fmt: skip
    assert re.findall(r"<li><b>(\d+)</b> <span.*?</span> (\w+)", html) == [
        (str(number), "relabeled") for number in range(6, 11)
    ]
