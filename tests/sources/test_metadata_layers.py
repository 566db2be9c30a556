"""The effective metadata of a file: layers, merged tags, and entries that match no file."""

from __future__ import annotations

from pathlib import Path

import pytest

from metalake_sync.errors import ManifestError
from metalake_sync.sources.metadata_entries import EntrySource
from metalake_sync.sources.metadata_layers import MetadataLayer, MetadataRules, PatternSource
from metalake_sync.sources.metadata_readers import read_metadata_json
from metalake_sync.sources.names import lake_name
from metalake_sync.sources.rules import PatternList

RULES = MetadataRules(
    (
        MetadataLayer("defaults", {"City": "Rome", "Tags": ["wide"]}),
        MetadataLayer("collection", {"City": "Oslo"}),
    ),
    [
        PatternSource(PatternList(["*_night.jpg"]), {"Light": "low", "Tags": ["night"]}),
        EntrySource("m.json", {"a_night.jpg": {"Light": "moon"}, "sub/b.jpg": {"City": "Bern"}, "gone.jpg": {}}),
    ],
)


def test_narrow_layers_override_wide_ones_and_tags_are_merged() -> None:
    folder = RULES.for_folder(MetadataLayer("folder", {"split": "train", "Tags": ["wide", "folder"]}))
    assert folder.of("a_night.jpg", "a_night.jpg").values == {
        "City": "Oslo",
        "split": "train",
        "Light": "moon",
        "Tags": ["wide", "folder", "night"],
    }


def test_an_empty_list_of_tags_differs_from_missing_tags() -> None:
    rules = MetadataRules()
    assert rules.for_folder(MetadataLayer("folder", {"Tags": []})).of("a.jpg", "a.jpg").values == {"Tags": []}
    assert rules.for_folder(MetadataLayer("folder", {})).of("a.jpg", "a.jpg").values == {}


def test_an_entry_matches_a_file_by_name_or_by_path() -> None:
    folder = RULES.for_folder(MetadataLayer("", {}))
    assert folder.of("b.jpg", "sub/b.jpg").values["City"] == "Bern"
    assert folder.of("b.jpg", "other/b.jpg").values["City"] == "Oslo"


def test_files_without_an_entry_share_one_metadata_set() -> None:
    folder = RULES.for_folder(MetadataLayer("", {}))
    assert folder.of("x.jpg", "x.jpg") is folder.of("y.jpg", "sub/y.jpg")
    assert folder.of("p_night.jpg", "p_night.jpg") is folder.of("q_night.jpg", "q_night.jpg")


def test_entries_that_match_no_file_are_reported() -> None:
    rules = MetadataRules((), [EntrySource("m.json", {"a.jpg": {"x": 1}, "gone.jpg": {"x": 1}})])
    rules.for_folder(MetadataLayer("", {})).of("a.jpg", "a.jpg")
    assert rules.entries_without_file() == ["gone.jpg"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "m.json: it is not a metadata file"),
        ('{"files": [1]}', r"m.json: files\[0\]: the entry has no file name"),
        ('{"files": \n [}', "m.json:2:3: broken JSON"),
    ],
)
def test_an_invalid_metadata_file_is_an_error_with_its_place(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "m.json").write_text(text)
    with pytest.raises(ManifestError, match=message):
        read_metadata_json(tmp_path / "m.json", "m.json")


NOT_FINITE = "m.json: files[0]: 'x' is not a finite number"


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ("1", "m.json: files[0]: 'metadata' is not an object"),
        ('{"x": null}', "m.json: files[0]: 'x' is null"),
        ('{"Tags": "x"}', "m.json: files[0]: 'Tags' is not a list of texts"),
        ('{"Tags": ["x", " "]}', "m.json: files[0]: a tag in 'Tags' is empty"),
        ('{"x": NaN}', NOT_FINITE),
        ('{"x": 2e308}', NOT_FINITE),
        ('{"y": 1, "x": {"deep": [0, -Infinity]}}', NOT_FINITE),
        ('{"x": 36893488147419103232}', "m.json: files[0]: 'x' is an integer of 66 bits"),
        (f'{{"x": {"9" * 5000}}}', "m.json: files[0]: 'x' is an integer of"),
        (f'{{"x": {"[" * 700}{"]" * 700}}}', "nested too deeply"),
        (
            '{"x": 1}}, {"file": "a", "metadata": {"x": 2}',
            "m.json: 'a' has metadata twice, and they differ: m.json: files[0] and m.json: files[1]",
        ),
    ],
)
def test_an_invalid_entry_is_reported_and_the_others_are_read(tmp_path: Path, metadata: str, message: str) -> None:
    good = '{"file": "good", "metadata": {"x": 18446744073709551615}}'
    (tmp_path / "m.json").write_text(f'{{"files": [{{"file": "a", "metadata": {metadata}}}, {good}]}}')
    source = read_metadata_json(tmp_path / "m.json", "m.json")
    assert source.entries == {"good": {"x": 18446744073709551615}}
    assert list(source.broken) == ["a"]
    assert message in str(source.broken["a"])


def test_the_metadata_of_a_file_with_an_invalid_entry_is_unknown() -> None:
    error = ManifestError("'x' is null", where="m.json")
    rules = MetadataRules((), [EntrySource("m.json", {"b": {"x": 1}}, {}, {"a": error, "gone": error})])
    folder = rules.for_folder(MetadataLayer("", {"City": "Rome"}))
    assert folder.of("b", "b").values == {"City": "Rome", "x": 1}
    for read in (folder.of, folder.layers_of):
        with pytest.raises(ManifestError, match="'x' is null"):
            read("a", "a")
    assert rules.broken_without_file() == [error]


def test_a_byte_order_mark_is_ignored(tmp_path: Path) -> None:
    (tmp_path / "m.json").write_text('\ufeff{"files": [{"file": "a", "metadata": {"x": 1}}]}')
    assert read_metadata_json(tmp_path / "m.json", "m.json").entries == {"a": {"x": 1}}


def test_naming_path_joins_the_folders() -> None:
    assert lake_name("a/b/c.jpg", "name") == "c.jpg"
    assert lake_name("a/b/c.jpg", "path") == "a__b__c.jpg"


@pytest.mark.parametrize(
    "entry",
    ["Mu\u0308ller.jpg", "M\u00fcller.jpg", "./M\u00fcller.jpg", "sub\\M\u00fcller.jpg", "images/sub/M\u00fcller.jpg"],
)
@pytest.mark.parametrize("on_disk", ["Mu\u0308ller.jpg", "M\u00fcller.jpg"])
def test_an_entry_may_spell_a_path_as_another_system_does(entry: str, on_disk: str) -> None:
    rules = MetadataRules((), [EntrySource("m.csv", {entry: {"City": "Bern"}, "other.jpg": {"City": "Rome"}})])
    folder = rules.for_folder(MetadataLayer("", {}), "/data/images")
    assert folder.of(on_disk, f"sub/{on_disk}").values == {"City": "Bern"}
    assert folder.of("x.jpg", "sub/x.jpg").values == {}
    assert rules.entries_without_file() == ["other.jpg"]


def test_an_exact_spelling_wins() -> None:
    twins = {"Mu\u0308ller.jpg": {"City": "Bern"}, "M\u00fcller.jpg": {"City": "Rome"}}
    folder = MetadataRules((), [EntrySource("m.csv", twins)]).for_folder(MetadataLayer("", {}))
    assert [folder.of(name, name).values for name in twins] == list(twins.values())


def test_two_spellings_of_one_file_that_contradict_affect_only_that_file() -> None:
    entries = {"./a.jpg": {"City": "Bern"}, ".\\a.jpg": {"City": "Rome"}, "./b.jpg": {"City": "Oslo"}}
    folder = MetadataRules((), [EntrySource("m.csv", entries)]).for_folder(MetadataLayer("", {}))
    with pytest.raises(ManifestError, match="match the same file and have different metadata"):
        folder.of("a.jpg", "a.jpg")
    assert folder.of("b.jpg", "b.jpg").values == {"City": "Oslo"}
