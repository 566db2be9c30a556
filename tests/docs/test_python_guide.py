"""docs/guides/python.md is true: its code runs from top to bottom, and it names every public method."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from metalake_sync import Project
from tests.embedded_lake.talk import png

PAGE = (Path(__file__).parents[2] / "docs/guides/python.md").read_text()

MANIFEST = """\
version: 1
remote: {url: "embedded:.metalake"}
collections: [{name: "birds-${SPLIT}", type: image, folders: [{path: images}]}]
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "images").mkdir()
    for name in ("crow", "jay"):
        (tmp_path / f"images/{name}.png").write_bytes(png(8, 8, name.encode()))
    (tmp_path / "birds.yaml").write_text(MANIFEST)
    return tmp_path


@pytest.mark.usefixtures("folder")
def test_the_code_of_the_page_runs(capsys: pytest.CaptureFixture[str]) -> None:
    blocks = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert len(blocks) == 6
    names: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, "python.md", "exec"), names)
    printed = capsys.readouterr().out
    assert printed.startswith("2 files to upload\n2 files uploaded with ")
    assert "\nsummary\n" in printed
    assert "\n1 box moved\n" in printed
    assert list(Path("training").rglob("*crow.txt"))


def test_the_page_names_every_method() -> None:
    methods = {name for name in vars(Project) if not name.startswith("_") and name not in ("load", "name")}
    methods -= {name for name in methods if isinstance(vars(Project)[name], property)}
    assert {name for name in methods if f"`{name}" not in PAGE and f" `{name}(" not in PAGE} == set()
