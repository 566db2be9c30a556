"""Which image an entry matches: its folders must agree, unless all names have one leading folder."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Sequence
from pathlib import Path

import pytest

from metalake_sync.annotations.entries import AnnotationSpec
from metalake_sync.annotations.image_matching import Ambiguous, LocalImages, Match
from metalake_sync.annotations.index import AnnotationIndex
from metalake_sync.annotations.index_builder import open_index
from metalake_sync.core.snapshots import AnnotationKind
from metalake_sync.errors import ManifestErrors
from metalake_sync.sources.names import Naming, lake_name
from tests.annotations.opened import closed_afterwards
from tests.embedded_lake.talk import png


def images(base: Path, folder: str, *relative: str, naming: Naming = "name") -> LocalImages:
    for path in relative:
        target = base / folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(png(40, 20))
    return LocalImages([(lake_name(path, naming), path, str(base / folder / path)) for path in relative])


def labels(base: Path, *paths: str, folder: str = "labels") -> None:
    for path in paths:
        target = base / folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text("0 0.5 0.5 0.5 0.5\n")
    (base / folder / "classes.txt").write_text("bird\n")


def coco(base: Path, *names: str, to: str = "coco.json") -> str:
    document = {
        "images": [{"id": number, "file_name": name} for number, name in enumerate(names)],
        "categories": [{"id": 1, "name": "bird"}],
        "annotations": [{"image_id": number, "category_id": 1, "bbox": [1, 1, 5, 5]} for number in range(len(names))],
    }
    (base / to).write_text(json.dumps(document))
    return to


def read(base: Path, known: LocalImages, *sources: str) -> AnnotationIndex:
    return closed_afterwards(
        open_index([AnnotationSpec("op", AnnotationKind.HUMAN, sources, base, "m.yaml:1:1")], known)
    )


def matched(index: AnnotationIndex) -> dict[str, int]:
    return {name: len(index.record(name).shapes) for name in index.images()}


def messages(index: AnnotationIndex) -> Sequence[str]:
    return [note.message for note in index.notes()]


def test_labels_of_another_split_do_not_match_images_of_this_one(tmp_path: Path) -> None:
    labels(tmp_path, "train/1.txt", "val/2.txt")
    index = read(tmp_path, images(tmp_path, "images/train", "1.jpg", "2.jpg"), "labels")
    assert (matched(index), index.without_file) == ({"1.jpg": 1}, ["val/2"])


def test_the_split_whose_folder_agrees_wins_in_any_order(tmp_path: Path) -> None:
    labels(tmp_path, "train/1.txt", "val/1.txt", "test/1.txt")
    index = read(tmp_path, images(tmp_path, "images/train", "1.jpg"), "labels")
    assert (matched(index), sorted(index.without_file)) == ({"1.jpg": 1}, ["test/1", "val/1"])
    assert index.images()["1.jpg"].source.shown_as == "labels/train/1.txt"


def test_coco_names_of_another_split_do_not_match(tmp_path: Path) -> None:
    known = images(tmp_path, "images/train", "1.jpg", "2.jpg")
    index = read(tmp_path, known, coco(tmp_path, "val/2.jpg", "train/1.jpg"))
    assert (matched(index), index.without_file) == ({"1.jpg": 1}, ["val/2.jpg"])
    index = read(tmp_path, known, coco(tmp_path, "val/2.jpg", "1.jpg"))
    assert (matched(index), index.without_file) == ({"1.jpg": 1}, ["val/2.jpg"])


def test_one_leading_folder_of_all_names_is_ignored_with_a_note(tmp_path: Path) -> None:
    known = images(tmp_path, "images", "1.jpg", "2.jpg", "deep/3.jpg", naming="path")
    index = read(tmp_path, known, coco(tmp_path, "task1/1.jpg", "task1/2.jpg", "task1/deep/3.jpg"))
    assert matched(index) == {"1.jpg": 1, "2.jpg": 1, "deep__3.jpg": 1}
    assert messages(index) == [
        "names begin with 'task1/', which is not in the paths of the images and is ignored; entries: 3"
    ]
    assert index.without_file == []


def test_entries_with_several_leading_folders_do_not_match_and_a_note_says_so(tmp_path: Path) -> None:
    known = images(tmp_path, "images", "1.jpg", "2.jpg")
    index = read(tmp_path, known, coco(tmp_path, "a/1.jpg", "b/2.jpg", "a/2.jpg"))
    assert (matched(index), len(index.without_file)) == ({}, 3)
    (note,) = messages(index)
    assert "several folders that are not in the paths" in note
    assert "'a/', 'b/'" in note
    assert note.endswith("so these entries match no image: 3")


def test_leading_folders_of_all_sources_of_an_operation_are_compared(tmp_path: Path) -> None:
    known = images(tmp_path, "images", "1.jpg", "2.jpg")
    index = read(tmp_path, known, coco(tmp_path, "a/1.jpg"), coco(tmp_path, "b/2.jpg", to="second.json"))
    assert matched(index) == {}


def test_a_loosely_matched_record_is_checked(tmp_path: Path) -> None:
    known = images(tmp_path, "images", "1.jpg", "2.jpg")
    (tmp_path / "coco.json").write_text(
        '{"images": [{"id": 1, "file_name": "task/1.jpg"}], "categories": [{"id": 1, "name": "bird"}], "annotations": ['
        '{"image_id": 1, "category_id": 1, "bbox": [NaN, 1, 5, 5]},'
        ' {"image_id": 1, "category_id": 1, "bbox": [1, 1, 2, 2],'
        ' "score": 7}]}'
    )
    index = read(tmp_path, known, "coco.json")
    assert matched(index) == {"1.jpg": 0}
    assert sum("is left out" in message for message in messages(index)) == 2


def test_two_entries_of_one_image_below_a_leading_folder_are_an_error(tmp_path: Path) -> None:
    known = images(tmp_path, "images", "1.jpg")
    with pytest.raises(ManifestErrors, match=r"'1.jpg' has two entries for 'op'"):
        read(tmp_path, known, coco(tmp_path, "task/1.jpg", "task/1.jpg"))


def test_a_folder_labels_matches_a_folder_images(tmp_path: Path) -> None:
    labels(tmp_path, "train/labels/1.txt", "valid/labels/1.txt", folder=".")
    known = images(tmp_path, "train/images", "1.jpg")
    index = read(tmp_path, known, ".")
    assert (matched(index), index.without_file) == ({"1.jpg": 1}, ["valid/labels/1"])


def test_a_name_of_several_images_is_ambiguous_and_two_are_named(tmp_path: Path) -> None:
    known = images(tmp_path, "images", "a/x.jpg", "b/x.jpg", naming="path")
    assert known.match("x.jpg", None) == Ambiguous("a__x.jpg", "b__x.jpg")
    index = read(tmp_path, known, coco(tmp_path, "x.jpg"))
    assert index.without_file == ["x.jpg (ambiguous: 'a__x.jpg' or 'b__x.jpg')"]
    labels(tmp_path, "x.txt")
    assert read(tmp_path, known, "labels").without_file == ["x (ambiguous: 'a__x.jpg' or 'b__x.jpg')"]


def test_composed_and_decomposed_accents_match_the_same_image(tmp_path: Path) -> None:
    composed, decomposed = (unicodedata.normalize(form, "käfer.jpg") for form in ("NFC", "NFD"))
    assert composed != decomposed
    for here, said in ((composed, decomposed), (decomposed, composed)):
        known = images(tmp_path / here, "images", here)
        index = read(tmp_path, known, coco(tmp_path, said))
        assert matched(index) == {here: 1}
    both = images(tmp_path / "both", "images", composed, decomposed)
    for name in (composed, decomposed):
        found = both.match(name, None)
        assert isinstance(found, Match)
        assert found.image.name == name


def test_a_voc_name_without_extension_matches_the_image_of_that_stem(tmp_path: Path) -> None:
    known = images(tmp_path, "images", "bird1.jpg", "other.jpg")
    (tmp_path / "other.xml").write_text(
        "<annotation><filename>bird1</filename><object><name>x</name><bndbox><xmin>1</xmin><ymin>1</ymin>"
        "<xmax>5</xmax><ymax>5</ymax></bndbox></object></annotation>"
    )
    index = read(tmp_path, known, "other.xml")
    assert matched(index) == {"bird1.jpg": 1}
    (note,) = map(str, index.notes())
    assert (
        note
        == "other.xml: the file names 'bird1.jpg' and has the name of 'other.jpg'; the name in the file is used (once)"
    )


@pytest.mark.parametrize("others", [(), ("other.jpg", "other.png")])
def test_the_name_in_a_voc_file_overrides_the_name_of_the_file(tmp_path: Path, others: tuple[str, ...]) -> None:
    known = images(tmp_path, "images", "bird1.jpg", *others)
    (tmp_path / "other.xml").write_text("<annotation><filename>bird1.jpg</filename></annotation>")
    index = read(tmp_path, known, "other.xml")
    assert matched(index) == {"bird1.jpg": 0}
    assert list(index.notes()) == []


def metalake(base: Path, to: str, **images: Sequence[Sequence[float]]) -> str:
    """Write boxes of images; the `_` of a name is a dot."""
    document = {
        "images": [
            {
                "image": name.replace("_", "."),
                "annotations": [{"type": "rectangle", "label": "bird", "bbox": bbox} for bbox in drawn],
            }
            for name, drawn in images.items()
        ]
    }
    (base / to).write_text(json.dumps(document))
    return to


def test_an_entry_of_a_later_source_of_the_list_wins(tmp_path: Path) -> None:
    known = images(tmp_path, "images", "a.jpg", "b.jpg", "c.jpg")
    first = metalake(tmp_path, "first.json", a_jpg=[[1, 1, 2, 2]], b_jpg=[[1, 1, 2, 2]], c_jpg=[[1, 1, 2, 2]])
    second = metalake(tmp_path, "second.json", b_jpg=[[1, 1, 3, 3], [5, 5, 3, 3]], c_jpg=[])
    third = metalake(tmp_path, "third.json", b_jpg=[[1, 1, 4, 4]])
    index = read(tmp_path, known, first, second, third)
    assert matched(index) == {"a.jpg": 1, "b.jpg": 1, "c.jpg": 0}
    assert index.record("b.jpg").shapes[0].points == ((1, 1), (4, 4))
    assert messages(index) == []


def test_two_entries_within_one_source_of_a_list_are_an_error(tmp_path: Path) -> None:
    known = images(tmp_path, "images", "a.jpg")
    once, twice = metalake(tmp_path, "once.json", a_jpg=[]), coco(tmp_path, "a.jpg", "a.jpg")
    with pytest.raises(ManifestErrors, match=r"'a.jpg' has two entries for 'op'"):
        read(tmp_path, known, once, twice)


def test_two_entries_in_two_blocks_are_an_error(tmp_path: Path) -> None:
    known = images(tmp_path, "images", "a.jpg")
    names = metalake(tmp_path, "one.json", a_jpg=[]), metalake(tmp_path, "two.json", a_jpg=[])
    specs = [
        AnnotationSpec("op", AnnotationKind.HUMAN, (name,), tmp_path, f"m.yaml:{line}:1")
        for line, name in enumerate(names, start=1)
    ]
    with pytest.raises(ManifestErrors, match=r"'a.jpg' has two entries for 'op'"):
        open_index(specs, known)


def test_a_file_of_a_folder_that_is_also_named_belongs_to_its_last_source(tmp_path: Path) -> None:
    known = images(tmp_path, "images", "a.jpg")
    (tmp_path / "labels").mkdir()
    metalake(tmp_path, "labels/a.json", a_jpg=[[1, 1, 2, 2]])
    last = metalake(tmp_path, "labels/b.json", a_jpg=[[1, 1, 2, 2], [5, 5, 3, 3]])
    assert matched(read(tmp_path, known, "labels/*.json", last)) == {"a.jpg": 2}


def test_a_broken_entry_of_a_later_source_is_not_replaced_by_an_earlier_one(tmp_path: Path) -> None:
    known = images(tmp_path, "images", "a.jpg", "b.jpg")
    first = metalake(tmp_path, "first.json", a_jpg=[[1, 1, 2, 2]], b_jpg=[[1, 1, 2, 2]])
    second = metalake(tmp_path, "second.json", a_jpg=[[1, 1, 2]], b_jpg=[])
    index = read(tmp_path, known, first, second)
    assert (matched(index), index.mode) == ({"b.jpg": 0}, "append")


def test_names_with_a_leading_folder_match_beside_a_later_source_without_it(tmp_path: Path) -> None:
    known = images(tmp_path, "images", "1.jpg", "2.jpg", "3.jpg")
    exported = coco(tmp_path, "task/1.jpg", "task/2.jpg")
    fixed = metalake(tmp_path, "fixed.json", **{"1_jpg": [[1, 1, 2, 2], [5, 5, 3, 3]]})
    assert matched(read(tmp_path, known, exported, fixed)) == {"1.jpg": 2, "2.jpg": 1}
    other = metalake(tmp_path, "other.json", **{"3_jpg": [[1, 1, 2, 2]]})
    assert matched(read(tmp_path, known, exported, other)) == {"3.jpg": 1}
