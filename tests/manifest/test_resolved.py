"""A collection's own word beats the defaults; metadata stays in layers."""

from __future__ import annotations

from tests.manifest.conftest import HEAD, Desk

DEFAULTS = """\
defaults:
  type: image
  storage_prefix: birds
  metadata: {Camera: A, Tags: [wide]}
  folders: [{path: common}]
  on_change: keep
  prune: true
collections:
"""


def test_what_a_collection_does_not_say_the_defaults_do(desk: Desk) -> None:
    (one,) = desk.load(HEAD + DEFAULTS + "  - {name: x}\n").collections
    assert (one.type, one.storage_prefix, one.on_change, one.prune) == ("image", "birds", "keep", True)
    assert [folder.path for folder in one.folders] == ["common"]


def test_what_a_collection_says_holds_also_where_it_is_what_it_would_be_anyway(desk: Desk) -> None:
    text = "  - {name: x, type: other, on_change: replace, prune: false, folders: [], storage_prefix: ~}\n"
    (one,) = desk.load(HEAD + DEFAULTS + text).collections
    assert (one.type, one.storage_prefix, one.on_change, one.prune) == ("other", None, "replace", False)
    assert one.folders == ()


def test_metadata_of_the_defaults_is_a_layer_of_its_own(desk: Desk) -> None:
    (one,) = desk.load(HEAD + DEFAULTS + "  - {name: x, metadata: {Tags: [narrow]}}\n").collections
    assert one.metadata_layers == ({"Camera": "A", "Tags": ["wide"]}, {"Tags": ["narrow"]})


def test_a_collection_knows_its_place_in_the_manifest(desk: Desk) -> None:
    loaded = desk.load(HEAD + DEFAULTS + "  - {name: x}\n  - {name: y}\n")
    second = loaded.collections[1]
    assert loaded.where("collections", second.index, "name").line == 12
