"""The notebook of the examples: its cells run from top to bottom, and do what they say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

NOTEBOOK = Path(__file__).parents[2] / "examples" / "notebook" / "cells.ipynb"


def test_the_cells_run_from_top_to_bottom(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("PIL", reason="the notebook draws its images with Pillow")
    monkeypatch.chdir(tmp_path)
    notebook = json.loads(NOTEBOOK.read_text())
    assert notebook["nbformat"] == 4
    assert all(not cell["outputs"] for cell in notebook["cells"] if cell["cell_type"] == "code"), "clear all outputs"
    names: dict[str, Any] = {}
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), cell["id"], "exec"), names)
    printed = capsys.readouterr().out
    assert " files\r" in printed
    assert "cell_3.png 1 box moved" in printed
    # x from 14 to 34 of 64, y from 8 to 28 of 48.
    assert printed.endswith("cell\n 0 0.375 0.375 0.3125 0.416666666667\n\n")
    assert names["second"].plan().empty
