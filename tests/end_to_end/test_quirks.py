"""One project against lakes of both generations and of every quirk: the same bytes, boxes and metadata in the end, or
one clear error."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from metalake_sync.cli.main import run
from metalake_sync.embedded_lake import EmbeddedLake
from metalake_sync.embedded_lake.names import normal_form
from metalake_sync.embedded_lake.quirks import Quirk
from metalake_sync.errors import ExitCode
from metalake_sync.protocol.routes import Generation
from tests.embedded_lake.talk import API_KEY, SECRET, lake_at, png, settings, talk_to

MANIFEST = {
    "version": 1,
    "name": "cells",
    "remote": {"url": "${LAYERNEXT_URL}", "api_key": "${LAYERNEXT_API_KEY}", "secret": "${LAYERNEXT_SECRET}"},
    "collections": [
        {
            "name": "cells of 2026",
            "type": "image",
            "folders": [{"path": "images"}],
            "prune": True,
            "metadata": {"Taken At": "Graz", "magnification": 40, "Tags": ["Blood", "#lab"]},
            "file_metadata": ["metadata.json"],
            "annotations": [{"operation": "people", "kind": "human", "source": "boxes.json"}],
        }
    ],
}


@dataclass
class Said:
    """What a command printed, and its exit code."""

    code: int
    out: str
    err: str


@dataclass
class Project:
    """A folder with a manifest, images, metadata and boxes. `images`: what should be in the lake."""

    folder: Path
    capsys: pytest.CaptureFixture[str]
    images: dict[str, bytes] = field(default_factory=dict)
    boxes: dict[str, list[tuple[str, list[float]]]] = field(default_factory=dict)
    """Image → label and numbers of each box."""

    def make(self, count: int) -> None:
        (self.folder / "images").mkdir(parents=True)
        for number in range(count):
            name = f"Cell {number:03}.png" if number % 2 else f"cell_{number:03}.png"
            self.draw(name, png(60, 40, salt=name.encode()))
            if number % 4 != 3:
                boxes: list[tuple[str, list[float]]] = [
                    ("RBC", [number % 7, 2.5, 10, 12]),
                    ("Platelets", [20, 3, 4, 5]),
                ]
                self.boxes[name] = boxes[: 1 + number % 2]
        files = [{"file": name, "metadata": self.own_metadata(name)} for name in list(self.images)[::3]]
        self.write("metadata.json", {"files": files})
        self.write_boxes()
        (self.folder / "manifest.yaml").write_text(yaml.safe_dump(MANIFEST))

    @staticmethod
    def own_metadata(name: str) -> dict[str, Any]:
        return {"Slide No": name[-6:-4], "good": True, "Tags": ["night"]}

    def metadata(self, name: str, position: int) -> dict[str, Any]:
        """The metadata that an image should have, with fields and tags in normal form."""
        own = self.own_metadata(name) if position % 3 == 0 else {}
        tags = ["Blood", "#lab", *own.pop("Tags", [])]
        fields = {"Taken At": "Graz", "magnification": 40, **own}
        return {**{normal_form(key): value for key, value in fields.items()}, "tags": sorted(map(normal_form, tags))}

    def draw(self, name: str, content: bytes) -> None:
        self.images[name] = content
        (self.folder / "images" / name).write_bytes(content)

    def write(self, name: str, document: Any) -> None:
        (self.folder / name).write_text(json.dumps(document))

    def write_boxes(self) -> None:
        entries = [
            {
                "image": name,
                "annotations": [
                    {"type": "rectangle", "bbox": bbox, "label": label, "metadata": {}} for label, bbox in drawn
                ],
            }
            for name, drawn in self.boxes.items()
        ]
        self.write("boxes.json", {"images": entries})

    def run(self, *args: str) -> Said:
        self.capsys.readouterr()
        code = run(list(args))
        shown = self.capsys.readouterr()
        assert "Traceback" not in shown.err
        assert "internal error" not in shown.err
        return Said(code, shown.out, shown.err)

    def good(self, *args: str) -> Said:
        said = self.run(*args)
        assert said.code == 0, (args, said)
        return said


@pytest.fixture
def project(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    request: pytest.FixtureRequest,
) -> Project:
    """A project of 8 images, or of as many as the test says."""
    folder = tmp_path / "project"
    project = Project(folder, capsys)
    project.make(getattr(request, "param", 8))
    for name, value in {
        "HOME": str(tmp_path),
        "NO_PROXY": "*",
        "LAYERNEXT_API_KEY": API_KEY,
        "LAYERNEXT_SECRET": SECRET,
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(folder)
    return project


def take_through(project: Project, lake: EmbeddedLake) -> None:
    """Plan, apply, apply again, move a box, replace an image, prune one, pull: as a user does."""
    take_through_up_to_replacing(project, lake)
    project.draw("cell_002.png", png(60, 40, salt=b"changed"))
    assert "1 file replaced" in project.good("apply", "--auto-approve", "manifest.yaml").out
    prune(project)
    project.good("pull", "manifest.yaml", "--collection", "cells of 2026", "--to", "out", "--annotations", "all")
    assert sorted(path.read_bytes() for path in Path("out").rglob("*.png")) == sorted(project.images.values())
    assert "Nothing to do" in project.good("plan", "--refresh", "full", "manifest.yaml").out


def take_through_up_to_replacing(project: Project, lake: EmbeddedLake) -> None:
    assert f"{len(project.images)} to add" in project.good("plan", "manifest.yaml").out
    project.good("apply", "manifest.yaml")
    lake.requests.clear()
    assert "Nothing was sent" in project.good("apply", "manifest.yaml").out
    assert lake.requests.writes == 0
    moved = next(iter(project.boxes))
    project.boxes[moved][0] = ("RBC", [11, 12, 13, 14])
    project.write_boxes()
    lake.requests.clear()
    project.good("apply", "manifest.yaml")
    assert (lake.requests.of("update_annotations"), lake.requests.of("finalize_file")) == (1, 0)


def prune(project: Project) -> None:
    """Take an image out of the folder, and apply."""
    (project.folder / "images" / "cell_004.png").unlink()
    del project.images["cell_004.png"], project.boxes["cell_004.png"]
    project.write_boxes()
    project.good("apply", "--auto-approve", "manifest.yaml")


def check_lake(project: Project, folder: Path) -> None:
    """Serve the same lake without quirks, and look at what is in it."""
    with lake_at(folder) as talk:
        (head,) = talk.items(contentType=5)
        items = {item["name"]: item for item in talk.items(head["id"], contentType=2)}
        assert {name: talk.http.get(item["url"], timeout=30).content for name, item in items.items()} == project.images
        drawn = {
            name: sorted((shape["label"], shape["bbox"]) for shape in shapes)
            for name, shapes in talk.annotations(head["id"]).items()
            if shapes
        }
        assert drawn == {name: sorted(boxes) for name, boxes in project.boxes.items()}
        for name, item in items.items():
            asked = ["Taken At", "magnification", "Slide No", "good", "taken_at", "slide_no", "Tags"]
            details = talk.details(item["uniqueName"], *asked)
            found = {normal_form(key): details[key] for key in asked if key in details and key != "Tags"}
            found["tags"] = sorted(map(normal_form, details["Tags"]))
            assert found == project.metadata(name, int(name[-7:-4])), name


def serve(folder: Path, generations: Sequence[Generation], *quirks: Quirk) -> EmbeddedLake:
    return EmbeddedLake(settings(folder, generations=frozenset(generations), quirks=frozenset(quirks)))


@pytest.mark.parametrize("project", [8, pytest.param(60, marks=pytest.mark.long)], indirect=True)
@pytest.mark.parametrize(
    "generations", [[Generation.TWO], [Generation.THREE], list(Generation)], ids=["2", "3", "both"]
)
def test_a_project_works_with_every_generation(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, generations: list[Generation]
) -> None:
    with serve(tmp_path / "lake", generations) as lake:
        monkeypatch.setenv("LAYERNEXT_URL", lake.url)
        take_through(project, lake)
    check_lake(project, tmp_path / "lake")


PARTLY = frozenset({Quirk.LOCAL_DISK, Quirk.INCOMPATIBLE, Quirk.TRASHED_NAMES_TAKEN, Quirk.TRASHED_NAMES_REFUSED})
"""Quirks that make a part of it impossible."""

CONCERNS_2 = frozenset({Quirk.NO_COMPATIBILITY, Quirk.RENAMES_BY_ITSELF})
"""Quirks that generation 3 does not have, or that it tells of."""


def _combinations() -> Iterator[Any]:
    """Every quirk in the newer generation, and in the long form in the older one too."""
    for quirk in Quirk:
        if quirk in PARTLY:
            continue
        for generation in Generation:
            usual = (generation is Generation.THREE) is (quirk not in CONCERNS_2)
            marks = [] if usual else [pytest.mark.long]
            yield pytest.param(quirk, generation, id=f"{quirk.value}-{generation:d}", marks=marks)


@pytest.mark.parametrize(("quirk", "generation"), list(_combinations()))
def test_a_project_works_with_every_quirk(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quirk: Quirk, generation: Generation
) -> None:
    with serve(tmp_path / "lake", [generation], quirk) as lake:
        monkeypatch.setenv("LAYERNEXT_URL", lake.url)
        take_through(project, lake)
    check_lake(project, tmp_path / "lake")


@pytest.mark.parametrize("generation", Generation)
def test_storage_that_no_client_can_send_to_is_one_clear_error(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, generation: Generation
) -> None:
    with serve(tmp_path / "lake", [generation], Quirk.LOCAL_DISK) as lake:
        monkeypatch.setenv("LAYERNEXT_URL", lake.url)
        said = project.run("apply", "manifest.yaml")
        assert (said.code, lake.requests.of("begin_file")) == (ExitCode.FAILED, 0)
        assert said.err.count("error:") == 1
        assert "'lds'" in said.err


def test_an_incompatible_lake_is_one_clear_error_that_can_be_overruled(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serve(tmp_path / "lake", [Generation.TWO], Quirk.INCOMPATIBLE) as lake:
        monkeypatch.setenv("LAYERNEXT_URL", lake.url)
        said = project.run("apply", "manifest.yaml")
        assert (said.code, lake.requests.writes) == (ExitCode.FAILED, 0)
        assert said.err.count("error:") == 1
        assert "This version of the client is no longer supported" in said.err
        assert "--ignore-compatibility" in said.err
        monkeypatch.setenv("METALAKE_SYNC_IGNORE_COMPATIBILITY", "1")
        take_through(project, lake)
    check_lake(project, tmp_path / "lake")


def test_a_lake_of_generation_3_is_not_asked_about_compatibility(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serve(tmp_path / "lake", [Generation.THREE], Quirk.INCOMPATIBLE) as lake:
        monkeypatch.setenv("LAYERNEXT_URL", lake.url)
        take_through(project, lake)
    check_lake(project, tmp_path / "lake")


@pytest.mark.parametrize(
    "quirk", [Quirk.TRASHED_NAMES_TAKEN, Quirk.TRASHED_NAMES_REFUSED], ids=lambda quirk: quirk.value
)
@pytest.mark.parametrize("generation", Generation)
def test_if_the_trash_keeps_names_one_replacement_fails_and_the_rest_continues(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, generation: Generation, quirk: Quirk
) -> None:
    with serve(tmp_path / "lake", [generation], quirk) as lake:
        monkeypatch.setenv("LAYERNEXT_URL", lake.url)
        take_through_up_to_replacing(project, lake)
        before = project.images["cell_006.png"]
        for name in ("cell_002.png", "cell_006.png"):
            project.draw(name, png(60, 40, salt=b"changed" + name.encode()))
        said = project.run("apply", "--auto-approve", "manifest.yaml")
        assert said.code == ExitCode.SOME_FAILED
        assert "Lost in trash" in said.err
        # Only one was tried. The changed image goes up under a new name, and the other one is left as it was.
        project.draw("cell_006.png", before)
        shutil.move("images/cell_002.png", "images/cell_103.png")
        project.images["cell_103.png"] = project.images.pop("cell_002.png")
        project.boxes["cell_103.png"] = project.boxes.pop("cell_002.png")
        prune(project)
    check_lake(project, tmp_path / "lake")


def test_a_video_collection_is_distinguished_from_its_empty_twin(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project.folder / "films").mkdir()
    for number in range(3):
        (project.folder / "films" / f"{number}.mp4").write_bytes(b"film %d" % number)
    films = {"name": "films", "type": "video", "folders": [{"path": "films"}], "metadata": {"City": "Graz"}}
    (project.folder / "manifest.yaml").write_text(yaml.safe_dump({**MANIFEST, "collections": [films]}))
    with serve(tmp_path / "lake", [Generation.THREE], Quirk.VIDEO_TWINS) as lake:
        monkeypatch.setenv("LAYERNEXT_URL", lake.url)
        project.good("apply", "manifest.yaml")
        lake.requests.clear()
        assert "Nothing was sent" in project.good("apply", "manifest.yaml").out
        assert "Nothing to do" in project.good("plan", "--refresh", "full", "manifest.yaml").out
        assert lake.requests.writes == 0
        (project.folder / "manifest.yaml").write_text(yaml.safe_dump({**MANIFEST, "collections": []}))
        emitted = project.good("import", "manifest.yaml", "--emit").out
        assert [block["name"] for block in yaml.safe_load(emitted)] == ["films"]
        assert "# 3 files in the lake" in emitted
        assert "# left out: another collection of this name" in emitted


def test_a_virtual_collection_can_be_pulled_and_rejects_uploads(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    generation = Generation.THREE
    with serve(tmp_path / "lake", [generation]) as lake, talk_to(lake.url, generation) as talk:
        monkeypatch.setenv("LAYERNEXT_URL", lake.url)
        project.good("apply", "manifest.yaml")
        drawn = sorted(project.boxes)[:2]
        chosen = [item["id"] for item in talk.items(contentType=2) if item["name"] in drawn]
        selection = {"isAllSelected": False, "contentType": 2, "objectIdList": chosen}
        tag = talk.asked("/api/client/query/getSelectionId", selection)["selectionTag"]
        talk.asked("/api/client/vCollection/create", {"selectionId": tag, "vCollectionName": "best of"})
        project.good("pull", "manifest.yaml", "--collection", "best of", "--to", "out", "--annotations", "human")
        images = {path.read_bytes() for path in Path("out").rglob("*.png")}
        assert images == {project.images[name] for name in drawn}
        pulled = json.loads(Path("out/annotations.json").read_text())["images"]
        assert sum(len(image["annotations"]) for image in pulled) == sum(len(project.boxes[name]) for name in drawn)
        best = {"name": "best of", "type": "image", "folders": [{"path": "images"}]}
        (project.folder / "manifest.yaml").write_text(yaml.safe_dump({**MANIFEST, "collections": [best]}))
        said = project.run("apply", "manifest.yaml")
        assert said.code == ExitCode.FAILED
        assert "The collection 'best of' is virtual and does not accept uploads" in said.err
        assert said.err.count("error:") == 1


def test_a_set_that_the_lake_did_not_clear_is_found_by_a_full_refresh(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serve(tmp_path / "lake", [Generation.THREE], Quirk.EMPTY_SETS_IGNORED) as lake:
        monkeypatch.setenv("LAYERNEXT_URL", lake.url)
        project.good("apply", "manifest.yaml")
        project.boxes.pop("cell_000.png")
        project.write_boxes()
        project.good("apply", "--auto-approve", "manifest.yaml")
        assert "Nothing to do" in project.good("plan", "manifest.yaml").out
        assert (
            "cell_000.png  drifted, overwrites what another client wrote, shapes of people: 1 → 0"
            in project.good("plan", "--refresh", "full", "manifest.yaml").out
        )


DATES = (Quirk.DATES_AS_OBJECTS, Quirk.DATES_AS_MILLISECONDS, Quirk.DATES_WITHOUT_ZONE, Quirk.DATES_UNREADABLE)


@pytest.mark.parametrize("quirk", [*DATES, Quirk.DETAILS_MINIMAL], ids=lambda quirk: quirk.value)
def test_changes_of_another_client_are_found_with_every_form_of_dates(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quirk: Quirk
) -> None:
    generation = Generation.THREE
    with serve(tmp_path / "lake", [generation], quirk) as lake, talk_to(lake.url, generation) as talk:
        monkeypatch.setenv("LAYERNEXT_URL", lake.url)
        project.good("apply", "manifest.yaml")
        (head,) = talk.items(contentType=5)
        for number, name in enumerate(("Cell 001.png", "cell_006.png", "Cell 001.png")):
            for _ in range(2):
                assert "Nothing to do" in project.good("plan", "--refresh", "full", "manifest.yaml").out
            page = [{"file": name, "metadata": {"magnification": number}}]
            talk.asked("/api/client/metadata/uploadMetadataByJson", {"metadata": page, "collectionId": head["id"]})
            plan = project.good("plan", "--refresh", "full", "manifest.yaml").out
            assert f"magnification: {number} → 40" in plan
            assert "1 to update" in plan
            project.good("apply", "--refresh", "full", "--auto-approve", "manifest.yaml")
