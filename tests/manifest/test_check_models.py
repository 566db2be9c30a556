"""The key `checks`: its short forms, and errors at their places."""

from __future__ import annotations

from typing import Any

import pytest

from metalake_sync.manifest.check_models import Checks
from tests.manifest.conftest import ManifestFolder

HEAD = "version: 1\nremote: {url: 'embedded:.lake'}\n"


@pytest.mark.parametrize(
    ("images", "level", "depth"),
    [
        ("off", "off", "header"),
        (False, "off", "header"),
        ("warn", "warn", "header"),
        ("error", "error", "header"),
        ("placeholders", "error", "placeholders"),
        ("header", "error", "header"),
        ("decode", "error", "decode"),
        ({}, "error", "header"),
        ({"level": "warn", "depth": "decode"}, "warn", "decode"),
        ({"level": False}, "off", "header"),
    ],
)
def test_forms_of_images(images: Any, level: str, depth: str) -> None:
    checks = Checks.model_validate({"images": images})
    assert (checks.images.level, checks.images.depth) == (level, depth)


def test_without_settings_only_placeholders_are_found() -> None:
    checks = Checks.model_validate({})
    assert (checks.images.level, checks.images.depth) == ("error", "placeholders")
    assert (checks.duplicates, checks.split_leak.level, checks.boxes) == ("off", "off", "off")
    assert (checks.labels.allow, checks.labels.max_share_change) == (None, None)


@pytest.mark.parametrize(
    ("text", "size"),
    [(5, 5), ("5", 5), ("500kB", 500_000), ("50MB", 50_000_000), ("1.5 GB", 1_500_000_000), ("2m", 2_000_000)],
)
def test_sizes(text: Any, size: int) -> None:
    assert Checks.model_validate({"images": {"max_bytes": text}}).images.max_bytes == size


def test_settings_of_labels_and_lists() -> None:
    checks = Checks.model_validate(
        {
            "labels": {"allow": ["bird"], "max_share_change": "12.5 %"},
            "split_leak": {"collections": [["train", "val"]]},
            "duplicates": False,
        }
    )
    assert (checks.labels.allow, checks.labels.max_share_change) == (["bird"], 12.5)
    assert (checks.split_leak.level, checks.split_leak.collections) == ("error", [["train", "val"]])
    assert checks.duplicates == "off"


@pytest.mark.parametrize(
    ("checks", "says"),
    [
        ("{images: {max_bytes: large}}", "'max_bytes' is not a size. Write a number of bytes"),
        ("{images: {max_pixels: 0}}", "'max_pixels'"),
        ("{images: strict}", "'images'"),
        ("{labels: {max_share_change: 20}}", "'max_share_change' is not a percentage. Write a percentage"),
        ("{labels: {max_share_change: 120%}}", "'max_share_change' is not a percentage"),
        ("{split_leak: {collections: [[train]]}}", "collections"),
        ("{duplicate: warn}", "unknown key 'duplicate'. Did you mean 'duplicates'?"),
        ("{duplicates: maybe}", "'duplicates' is 'maybe'"),
    ],
)
def test_errors_have_their_place(manifests: ManifestFolder, checks: str, says: str) -> None:
    (error,) = manifests.messages(f"{HEAD}checks: {checks}\n")
    assert error.startswith("birds.yaml:3:")
    assert says in error
