"""Downloads with `splits`: one block fills the folders of train, val and test, which trainers read as they are."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from pycocotools.coco import COCO

from metalake_sync.core.downloads import Share
from metalake_sync.downloads.splits import is_in
from metalake_sync.errors import ExitCode
from tests.embedded_lake.talk import png
from tests.end_to_end.world import World

LABELS = ("ship", "buoy", "plane")
IMAGES = tuple(f"dock{number:02}.png" for number in range(12))
FIELD = {
    name: ("train", "valid", "test", "spare")[min(number // 4, 3) if number < 10 else 3]
    for number, name in enumerate(IMAGES)
}
DRAWN = {name: [LABELS[(number + turn) % 3] for turn in range(number % 4)] for number, name in enumerate(IMAGES)}
"""No to three boxes for each image."""


@pytest.fixture
def harbor(world: World) -> World:
    """A lake with twelve images, of which ten have the name of a split in their metadata."""
    session = world.talk.upload({name: png(salt=name.encode()) for name in IMAGES}, "harbor")
    described = [{"file": name, "metadata": {"part": part}} for name, part in FIELD.items()]
    world.talk.asked(
        "/api/client/metadata/uploadMetadataByJson", {"metadata": described, "collectionId": session.collection_id}
    )
    images = [
        {
            "image": name,
            "annotations": [
                {"type": "rectangle", "bbox": [number * 9, 2, 8, 12], "label": label}
                for number, label in enumerate(labels)
            ],
        }
        for name, labels in DRAWN.items()
    ]
    world.write("drawn.json", {"images": images})
    command = ("annotations", "upload", "drawn.json", "--operation", "op", "--kind", "human", "--collection", "harbor")
    world.good(*command)
    return world


RATIO = {"by": "ratio", "parts": {"train": 0.5, "val": 0.3, "test": 0.2}, "seed": 3}
BY_FIELD = {"by": "metadata", "field": "part", "parts": {"train": "train", "val": "valid", "test": "test"}}
BY_QUERY = {"by": "query", "parts": {"train": "annotation.label=ship", "val": "annotation.label=buoy"}}


def manifest(world: World, splits: Mapping[str, Any] | None, form: str = "yolo", **more: Any) -> None:
    block = {"collection": "harbor", "to": "data", "naming": "name", "annotations": {"format": form}}
    world.manifest(downloads=[{**block, **({"splits": splits} if splits else {}), **more}])


def images_in(world: World) -> dict[str, set[str]]:
    """The images of each folder below data, without the extension."""
    found: dict[str, set[str]] = {}
    for path in (world.folder / "data").rglob("*.png"):
        found.setdefault(path.parent.name, set()).add(path.stem)
    return found


def expected_of(names: set[str]) -> tuple[int, Counter[str]]:
    """The number of images, and of boxes for each label."""
    return len(names), Counter(label for name in names for label in DRAWN[f"{name}.png"])


class TrainerData:
    """Reads a data.yaml by the rules in Ultralytics' documentation: "Object detection datasets".

    `train` and `val` are required. Paths are relative to `path`, or else to the file. Of an image's path, the last
    `/images/` becomes `/labels/` and the extension `.txt`. A label has five columns, with fractions of the image.
    """

    def __init__(self, file: Path) -> None:
        data = yaml.safe_load(file.read_text())
        assert {"train", "val"} <= data.keys()
        assert data["nc"] == len(data["names"])
        self.names: list[str] = data["names"]
        top = Path(data.get("path") or file.parent)
        self.folders = {split: (top / data[split]).resolve() for split in ("train", "val", "test") if split in data}

    def images(self, split: str) -> Iterator[Path]:
        assert self.folders[split].is_dir()
        yield from sorted(path for path in self.folders[split].rglob("*.*") if path.suffix == ".png")

    def boxes(self, image: Path) -> list[str]:
        before, found, after = str(image).rpartition("/images/")
        label = Path(f"{before}/labels/{after}" if found else str(image)).with_suffix(".txt")
        labels = []
        for line in label.read_text().splitlines():
            number, *fractions = line.split()
            assert len(fractions) == 4
            assert all(0 <= float(one) <= 1 for one in fractions)
            labels.append(self.names[int(number)])
        return labels

    def counts(self, split: str) -> tuple[int, Counter[str]]:
        images = list(self.images(split))
        return len(images), Counter(label for image in images for label in self.boxes(image))


def test_a_ratio_divides_all_files_and_a_trainer_reads_them_with_the_same_counts(harbor: World) -> None:
    manifest(harbor, RATIO)
    harbor.good("apply", "manifest.yaml")
    found = images_in(harbor)
    assert sorted(name for names in found.values() for name in names) == [name.removesuffix(".png") for name in IMAGES]
    assert found.keys() == {"train", "val", "test"}
    data = TrainerData(harbor.folder / "data/data.yaml")
    assert data.names == sorted(LABELS)
    assert {split: data.counts(split) for split in found} == {split: expected_of(found[split]) for split in found}
    written = sorted(path.name for path in (harbor.folder / "data").iterdir())
    assert written == ["data.yaml", "test", "train", "val"]
    assert not (harbor.folder / "data/train/data.yaml").exists()
    assert "Nothing to do" in harbor.good("plan", "manifest.yaml").out
    # The folder can be moved.
    (harbor.folder / "data").rename(harbor.folder / "moved")
    assert TrainerData(harbor.folder / "moved/data.yaml").counts("train") == expected_of(found["train"])


def test_new_files_do_not_move_others_and_another_seed_does(harbor: World) -> None:
    manifest(harbor, RATIO, prune=True)
    harbor.good("apply", "manifest.yaml")
    before = images_in(harbor)
    harbor.talk.upload({f"pier{number}.png": png(salt=b"p%d" % number) for number in range(6)}, "harbor")
    plan = harbor.good("plan", "manifest.yaml", "--json").document
    assert plan["summary"]["remove_downloaded"] == 0
    harbor.good("apply", "manifest.yaml")
    after = images_in(harbor)
    assert {split: {name for name in after[split] if name.startswith("dock")} for split in after} == before
    assert sum(map(len, after.values())) == len(IMAGES) + 6
    manifest(harbor, {**RATIO, "seed": 4}, prune=True)
    harbor.good("apply", "manifest.yaml", "--auto-approve", "--max-delete", "100")
    moved = images_in(harbor)
    assert moved != after
    assert sum(map(len, moved.values())) == len(IMAGES) + 6


def test_shares_are_kept_in_large_numbers() -> None:
    bounds = {"train": (0.0, 0.8), "val": (0.8, 0.9), "test": (0.9, 1.0)}
    shares = {name: Share(begin, end, 1) for name, (begin, end) in bounds.items()}
    names = [f"{number}.jpg" for number in range(5000)]
    split_of = {name: [split for split, share in shares.items() if is_in(share, name)] for name in names}
    assert all(len(splits) == 1 for splits in split_of.values())
    counts = Counter(splits[0] for splits in split_of.values())
    assert counts["train"] == pytest.approx(4000, abs=120)
    assert counts["val"] == pytest.approx(500, abs=90)


def test_a_metadata_field_names_the_split_and_other_files_are_counted(harbor: World) -> None:
    manifest(harbor, BY_FIELD)
    plan = harbor.good("plan", "manifest.yaml", "--json").document
    ((code, message),) = [(note["code"], note["message"]) for note in plan["warnings"]]
    spare = sum(part == "spare" for part in FIELD.values())
    assert (code, message) == (
        "files_without_split",
        f"{spare} files of the download are in no split, and not downloaded",
    )
    harbor.good("apply", "manifest.yaml")
    names = {"train": "train", "val": "valid", "test": "test"}
    wanted = {
        split: {name.removesuffix(".png") for name, part in FIELD.items() if part == value}
        for split, value in names.items()
    }
    assert images_in(harbor) == wanted
    data = TrainerData(harbor.folder / "data/data.yaml")
    assert {split: data.counts(split) for split in names} == {split: expected_of(wanted[split]) for split in names}


def test_a_file_that_two_queries_match_is_in_the_first_split_only(harbor: World) -> None:
    manifest(harbor, BY_QUERY, query="metadata.part=train")
    notes = {
        note["code"]: note["message"] for note in harbor.good("plan", "manifest.yaml", "--json").document["warnings"]
    }
    harbor.good("apply", "manifest.yaml")
    ships = {name for name in IMAGES if FIELD[name] == "train" and "ship" in DRAWN[name]}
    buoys = {name for name in IMAGES if FIELD[name] == "train" and "buoy" in DRAWN[name]}
    stems = {"train": {name[:-4] for name in ships}, "val": {name[:-4] for name in buoys - ships}}
    assert images_in(harbor) == {split: names for split, names in stems.items() if names}
    assert ships & buoys
    assert notes["files_in_two_splits"].endswith(": " + ", ".join(sorted(ships & buoys)))
    assert "Nothing to do" in harbor.good("plan", "manifest.yaml").out


def test_coco_has_a_file_for_each_split_with_equal_categories_that_pycocotools_reads(
    harbor: World, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest(harbor, RATIO, "coco")
    harbor.good("apply", "manifest.yaml")
    found = images_in(harbor)
    categories = set()
    for split, names in found.items():
        coco = COCO(str(harbor.folder / "data" / split / "annotations.json"))
        coco.info()
        assert "contributor: metalake-sync" in capsys.readouterr().out
        assert coco.dataset["licenses"] == []
        label_of = {one["id"]: one["name"] for one in coco.loadCats(coco.getCatIds())}
        labels = Counter(label_of[one["category_id"]] for one in coco.loadAnns(coco.getAnnIds()))
        assert (len(coco.getImgIds()), labels) == expected_of(names)
        assert {image["file_name"].removesuffix(".png") for image in coco.loadImgs(coco.getImgIds())} == names
        assert all((image["width"], image["height"]) == (40, 20) for image in coco.dataset["images"])
        categories.add(tuple(sorted(label_of.items())))
    assert categories == {((1, "buoy"), (2, "plane"), (3, "ship"))}
    assert not (harbor.folder / "data/data.yaml").exists()


@pytest.mark.parametrize("form", ["yolo", "coco", "voc"])
def test_supervision_reads_every_split_with_the_same_counts(harbor: World, form: str) -> None:
    reason = "supervision is not installed: pip install supervision (115 MB)"
    supervision = pytest.importorskip("supervision", reason=reason, exc_type=ImportError)
    manifest(harbor, RATIO, form)
    harbor.good("apply", "manifest.yaml")
    folder = harbor.folder / "data"
    for split, names in images_in(harbor).items():
        images = str(folder / split)
        if form == "yolo":
            read = supervision.DetectionDataset.from_yolo(images, images, str(folder / "data.yaml"))
        elif form == "coco":
            read = supervision.DetectionDataset.from_coco(images, f"{images}/annotations.json")
        else:
            read = supervision.DetectionDataset.from_pascal_voc(images, images)
        labels = Counter(read.classes[number] for _, _, detections in read for number in detections.class_id.tolist())
        assert (len(read), labels) == expected_of(names)


def test_labels_that_are_read_back_as_a_source_are_those_of_the_lake(harbor: World) -> None:
    manifest(harbor, RATIO)
    harbor.good("apply", "manifest.yaml")
    harbor.manifest(
        {
            "name": "again",
            "type": "image",
            "folders": [{"path": "data", "include": ["*.png"]}],
            "annotations": [{"operation": "op", "kind": "human", "source": "data/data.yaml"}],
        }
    )
    harbor.good("apply", "manifest.yaml")
    sets = harbor.talk.annotations(harbor.collection_id("again"))
    found = {name.removeprefix("again_"): [shape["label"] for shape in shapes] for name, shapes in sets.items()}
    assert found == DRAWN


def test_metadata_is_beside_the_files_of_each_split(harbor: World) -> None:
    manifest(harbor, BY_FIELD, "coco", metadata=True, metadata_fields=["part"])
    harbor.good("apply", "manifest.yaml")
    for split, value in BY_FIELD["parts"].items():  # type: ignore[attr-defined]
        entries = json.loads((harbor.folder / "data" / split / "metadata.json").read_text())["files"]
        assert {entry["metadata"]["part"] for entry in entries} == {value}
        assert {Path(entry["file"]).stem for entry in entries} == images_in(harbor)[split]


def test_prune_moves_files_between_splits_and_layouts(harbor: World) -> None:
    folder = harbor.folder / "data"
    whole = {*IMAGES, *(name.replace("png", "txt") for name in IMAGES), "classes.txt", "data.yaml"}
    manifest(harbor, None, prune=True)
    harbor.good("apply", "manifest.yaml")
    assert {path.name for path in folder.iterdir()} == whole
    for splits in (RATIO, {**RATIO, "parts": {"train": 1, "val": 1}}, BY_FIELD):
        manifest(harbor, splits, prune=True, backup_dir="old")
        harbor.good("apply", "manifest.yaml", "--auto-approve", "--max-delete", "100")
        parts: Any = splits["parts"]
        assert {path.name for path in folder.iterdir()} == {"data.yaml", *parts}
        found = images_in(harbor)
        data = TrainerData(folder / "data.yaml")
        assert {split: data.counts(split) for split in found} == {split: expected_of(found[split]) for split in found}
        for split, names in found.items():
            expected = {f"{name}.{extension}" for name in names for extension in ("png", "txt")}
            assert {path.name for path in (folder / split).iterdir()} == expected | {"classes.txt"}
        plan = harbor.good("plan", "manifest.yaml", "--json").document
        assert plan["actions"] == []
        assert "stale_downloads" not in {note["code"] for note in plan["warnings"]}
    assert (harbor.folder / "old" / "dock00.png").exists()
    assert any((harbor.folder / "old" / "train").glob("*.png"))
    manifest(harbor, None, prune=True)
    harbor.good("apply", "manifest.yaml", "--auto-approve", "--max-delete", "100")
    assert {path.name for path in folder.iterdir()} == whole


def test_the_splits_of_a_block_count_together_for_max_delete(harbor: World) -> None:
    manifest(harbor, RATIO, prune=True)
    harbor.good("apply", "manifest.yaml")
    manifest(harbor, None, prune=True)
    done = harbor.run("apply", "manifest.yaml", "--auto-approve")
    assert done.code == ExitCode.GUARDED
    assert "the download would remove 27 of 28 local files, more than --max-delete allows (50 % of" in done.err


def test_a_label_without_a_class_stops_all_splits_of_its_block(harbor: World) -> None:
    manifest(harbor, RATIO, annotations={"format": "yolo", "classes": ["ship", "buoy"]})
    done = harbor.run("apply", "manifest.yaml")
    assert done.code == ExitCode.SOME_FAILED
    assert (done.out + done.err).count("1 label is not among 'classes': 'plane'") == 1
    assert not (harbor.folder / "data").exists()


def test_a_failure_in_one_split_keeps_the_stale_files_of_all(harbor: World) -> None:
    manifest(harbor, None, prune=True)
    harbor.good("apply", "manifest.yaml")
    harbor.write("data/train/dock00.png/in_the_way", "x")
    manifest(harbor, {"by": "ratio", "parts": {"train": 1}}, prune=True)
    done = harbor.run("apply", "manifest.yaml", "--auto-approve", "--max-delete", "100")
    assert done.code == ExitCode.SOME_FAILED
    assert all((harbor.folder / "data" / name).exists() for name in IMAGES)


def test_links_in_place_of_folders_are_not_followed(harbor: World) -> None:
    manifest(harbor, {"by": "ratio", "parts": {"train": 1}}, prune=True)
    harbor.good("apply", "manifest.yaml")
    folder = harbor.folder / "data"
    (folder / "train").rename(harbor.folder / "elsewhere")
    (folder / "train").symlink_to("../elsewhere")
    before = sorted(path.name for path in (harbor.folder / "elsewhere").iterdir())
    for splits in ({"by": "ratio", "parts": {"train": 1, "val": 1}}, None):
        manifest(harbor, splits, prune=True, backup_dir="old")
        done = harbor.run("apply", "manifest.yaml", "--auto-approve", "--max-delete", "100")
        assert done.code == (ExitCode.SOME_FAILED if splits else 0)
        assert sorted(path.name for path in (harbor.folder / "elsewhere").iterdir()) == before
    assert (folder / "train").is_symlink()
    # Nor are links in the folder that keeps what is removed.
    (folder / "train").unlink()
    manifest(harbor, {"by": "ratio", "parts": {"train": 1, "val": 1}}, prune=True)
    harbor.good("apply", "manifest.yaml", "--auto-approve", "--max-delete", "100")
    (harbor.folder / "precious").mkdir()
    (harbor.folder / "kept").mkdir()
    (harbor.folder / "kept" / "val").symlink_to("../precious")
    manifest(harbor, {"by": "ratio", "parts": {"train": 1}}, prune=True, backup_dir="kept")
    refused = harbor.run("apply", "manifest.yaml", "--auto-approve", "--max-delete", "100")
    assert refused.code == ExitCode.SOME_FAILED
    assert "data/val/" in refused.out + refused.err
    assert list((harbor.folder / "precious").iterdir()) == []
    assert any((folder / "val").glob("*.png"))


def test_a_trainer_needs_train_and_val(harbor: World) -> None:
    manifest(harbor, {"by": "ratio", "parts": {"train": 8, "holdout": 2}})
    (note,) = harbor.good("plan", "manifest.yaml", "--json").document["warnings"]
    assert note["code"] == "labels_not_found_by_trainers"
    assert note["message"].startswith("'data' has no split 'val'. YOLO trainers need 'train' and 'val'")
    manifest(harbor, {"by": "ratio", "parts": {"train": 8, "valid": 2}})
    assert harbor.good("plan", "manifest.yaml", "--json").document["warnings"] == []
    harbor.good("apply", "manifest.yaml")
    assert TrainerData(harbor.folder / "data/data.yaml").folders["val"].name == "valid"


@pytest.mark.parametrize(
    ("splits", "message"),
    [
        ({"by": "ratio", "parts": {}}, "has no 'parts'"),
        ({"by": "ratio", "parts": {"train": 0}}, "has 0.0 as the share of 'train'"),
        ({"by": "ratio", "parts": {"train": "most"}}, "has 'most' as the share of 'train'"),
        ({"by": "ratio", "parts": {"train": 1}, "field": "part"}, "is by ratio, with a 'field'"),
        ({"by": "metadata", "parts": {"train": "a"}}, "is by metadata, without a 'field'"),
        ({"by": "query", "parts": {"train": 1}}, "has 1.0 for 'train'"),
        ({"by": "ratio", "parts": {"../train": 1}}, "is not the name of a split"),
        ({"by": "ratio", "parts": {"images": 1}}, "is not the name of a split"),
        ({"by": "chance", "parts": {"train": 1}}, "'by'"),
    ],
)
def test_invalid_splits_are_an_error_with_their_line(world: World, splits: dict[str, Any], message: str) -> None:
    manifest(world, splits)
    done = world.run("validate", "manifest.yaml")
    assert done.code == ExitCode.USAGE
    assert message in done.err
    assert "manifest.yaml:" in done.err


def test_another_download_into_the_folder_of_a_split_is_an_error(world: World) -> None:
    block = {"collection": "harbor", "to": "data", "splits": RATIO}
    world.manifest(downloads=[block, {"collection": "harbor", "to": "data/train"}])
    done = world.run("validate", "manifest.yaml")
    assert done.code == ExitCode.USAGE
    assert "two downloads go into 'data/train'" in done.err
