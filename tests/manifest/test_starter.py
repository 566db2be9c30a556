"""The manifest that `init` writes is valid as it stands, and so is every line that it offers."""

from __future__ import annotations

import re

from metalake_sync.manifest.starter import STARTER_MANIFEST
from tests.manifest.conftest import Desk


def test_the_starter_manifest_needs_no_variables_and_no_lake(desk: Desk) -> None:
    loaded = desk.load(STARTER_MANIFEST)
    assert loaded.model.remote.url == "embedded:.metalake"
    assert [folder.path for one in loaded.collections for folder in one.folders] == ["images"]
    assert loaded.warnings == ()


def test_what_the_starter_manifest_offers_in_comments_is_valid(desk: Desk) -> None:
    text = re.sub(r"^( +)# (?=[a-z_]+:|  - )", r"\1", STARTER_MANIFEST, flags=re.MULTILINE)
    (one,) = desk.load(text).collections
    assert one.prune
    assert len(one.file_metadata) == 2
    assert one.annotations[0].kind == "human"
    assert one.folders[0].naming == "path"
