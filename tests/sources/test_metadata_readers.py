"""Metadata from tables, JSON Lines, sidecars and EXIF: values, errors, and the origin of each value."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from metalake_sync.errors import ManifestError
from metalake_sync.sources.image_headers import ImageFacts
from metalake_sync.sources.metadata_layers import MetadataLayer, explain_layers
from metalake_sync.sources.metadata_readers import TableFormat, read_metadata_file
from metalake_sync.sources.readings import NoCache
from metalake_sync.sources.sidecars import Sidecars
from metalake_sync.state.store import StateStore


def test_a_table_gives_typed_values_and_tags(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    path.write_text('\ufefffile,City,Height,Indoor,Tags\r\na.jpg,"Rome, Italy",3.5,yes,"a; b"\r\nb.jpg,,,,\r\n')
    source = read_metadata_file(path, "m.csv", None, TableFormat(types={"Height": "number", "Indoor": "boolean"}))
    assert source.entries == {
        "a.jpg": {"City": "Rome, Italy", "Height": 3.5, "Indoor": True, "Tags": ["a", "b"]},
        "b.jpg": {},
    }
    assert source.place("a.jpg") == "m.csv:2"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name,x\na,1\n", "m.csv:1: no column is named 'file'"),
        ("file,x,x\na,1,2\n", "m.csv:1: two columns are named 'x'"),
        ("file,Height\na,1,2\n", "m.csv:2: the row has 3 cells, the first one 2"),
        ("file,Height\n,1\n", "m.csv:2: the row has no file name"),
        ('file,Height\na,"1\n', "broken CSV"),
        ("", "m.csv:1: no column is named 'file'"),
    ],
)
def test_an_invalid_table_is_an_error_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "m.csv"
    path.write_text(text)
    table = TableFormat(types={"Height": "number"} if "Height" in text else {})
    with pytest.raises(ManifestError) as caught:
        read_metadata_file(path, "m.csv", None, table)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("a,high\n", "m.csv:2: 'Height' is 'high', which is not a number"),
        ("a,nan\n", "m.csv:2: 'Height' is 'nan', which is not a number"),
        ("a,2e308\n", "m.csv:2: 'Height' is '2e308', which is not a number"),
        ("a,1_0\n", "m.csv:2: 'Height' is '1_0', which is not a number"),
        ("a,1\na,2\n", "'a' has metadata twice, and they differ: m.csv:2 and m.csv:3"),
    ],
)
def test_an_invalid_row_is_reported_and_the_others_are_read(tmp_path: Path, rows: str, message: str) -> None:
    (tmp_path / "m.csv").write_text(f"file,Height\n{rows}good,3\n")
    source = read_metadata_file(tmp_path / "m.csv", "m.csv", None, TableFormat(types={"Height": "number"}))
    assert source.entries == {"good": {"Height": 3.0}}
    assert message in str(source.broken["a"])


@pytest.mark.parametrize("number", ["2e308", "[NaN]", "9" * 5000])
def test_a_number_that_cannot_be_sent_is_an_error_with_its_field_in_every_format(tmp_path: Path, number: str) -> None:
    (tmp_path / "m.csv").write_text(f'file,Depth\na,"{number}"\ngood,1\n')
    (tmp_path / "m.jsonl").write_text(f'{{"file": "a", "Depth": {number}}}\n{{"file": "good", "Depth": 1}}\n')
    for name in ("m.csv", "m.jsonl"):
        source = read_metadata_file(tmp_path / name, name, None, TableFormat(types={"Depth": "json"}))
        assert source.entries == {"good": {"Depth": 1}}
        assert str(source.broken["a"]).startswith(f"{name}:{2 if name == 'm.csv' else 1}: 'Depth' is ")
    (tmp_path / "a.json").write_text(f'{{"Depth": {number}}}')
    with pytest.raises(ManifestError, match=r"^a\.json: 'Depth' is "):
        sidecar(tmp_path)


def test_json_lines_may_be_flat_or_in_the_vendors_form(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    path.write_text('{"file": "a", "x": 1}\n\n{"file": "b", "metadata": {"x": 2}}\n')
    assert read_metadata_file(path, "m.jsonl").entries == {"a": {"x": 1}, "b": {"x": 2}}
    path.write_text('{"file": "a"}\n{"file": \n')
    with pytest.raises(ManifestError, match=r"m.jsonl:2|m.jsonl:3"):
        read_metadata_file(path, "m.jsonl")


def sidecar(folder: Path) -> list[MetadataLayer]:
    return list(Sidecars(folder, NoCache()).layers_of(str(folder / "a.jpg")))


def test_a_sidecar_of_the_whole_name_overrides_one_of_the_stem(tmp_path: Path) -> None:
    (tmp_path / "a.jpg.json").write_text('{"City": "Rome"}')
    (tmp_path / "a.yaml").write_text("City: no\nDay: 2024-01-31\nHeight: 3.5\n")
    assert sidecar(tmp_path) == [
        MetadataLayer("a.yaml", {"City": "no", "Day": "2024-01-31", "Height": 3.5}),
        MetadataLayer("a.jpg.json", {"City": "Rome"}),
    ]


@pytest.mark.parametrize("name", ["a.jpg.json", "a.yaml"])
@pytest.mark.parametrize("kind", ["fifo", "folder"])
def test_a_sidecar_that_is_not_a_regular_file_is_an_error_and_does_not_block(
    tmp_path: Path, name: str, kind: str
) -> None:
    if kind == "fifo":
        os.mkfifo(tmp_path / name)
    else:
        (tmp_path / name).mkdir()
    with pytest.raises(ManifestError, match=f"{name}: it is not a regular file"):
        sidecar(tmp_path)


@pytest.mark.parametrize("name", ["a.jpg.json", "a.json"])
def test_a_duplicate_key_in_a_json_sidecar_is_an_error(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text('{"City": "Rome", "City": "Oslo"}')
    with pytest.raises(ManifestError, match=f"{name}: the key 'City' occurs twice"):
        sidecar(tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1]", "a.yaml: it is not a mapping of fields"),
        ("a: [", "a.yaml:"),
        ("a: &x 1\nb: *x", "aliases are not supported"),
        ("City: Rome\nCity: Oslo", "a.yaml:2:1: broken YAML (the key 'City' occurs twice)"),
        ("Place:\n  a: 1\n  a: 2", "the key 'a' occurs twice"),
        ("1: x", "the key 1 is not text"),
        ("a: !!binary aGk=", "not a value of JSON"),
        ("a:", "'a' is null"),
        ("Depth: 2e308", "a.yaml: 'Depth' is not a finite number"),
        ("Tags: x", "'Tags' is not a list of texts"),
    ],
)
def test_an_invalid_sidecar_is_one_clear_error(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(ManifestError) as caught:
        sidecar(tmp_path)
    assert message in str(caught.value)


def image(path: Path, **gps: Any) -> None:
    exif = Image.Exif()
    exif[0x010F], exif[0x0110] = "ACME\0", "One"
    exif.get_ifd(0x8769).update({0x9003: "2024:01:31 12:30:00", 0x9011: "+02:00"})
    exif.get_ifd(0x8825).update({1: "S", 2: (33.0, 30.0, 0.0), 3: "E", 4: (gps.get("east", 151.0), 0.0, 36.0)})
    Image.new("RGB", (40, 20)).save(path, exif=exif)


def test_an_image_header_gives_time_place_camera_and_size(tmp_path: Path) -> None:
    image(tmp_path / "a.jpg")
    (layer,) = ImageFacts(tmp_path, NoCache()).layers_of(str(tmp_path / "a.jpg"))
    assert layer == MetadataLayer(
        "EXIF of a.jpg",
        {
            "Captured At": "2024-01-31T12:30:00+02:00",
            "GPS Latitude": -33.5,
            "GPS Longitude": 151.01,
            "Camera Make": "ACME",
            "Camera Model": "One",
            "Width": 40,
            "Height": 20,
            "File Size": (tmp_path / "a.jpg").stat().st_size,
        },
    )


def test_impossible_facts_and_other_files_give_no_value(tmp_path: Path) -> None:
    image(tmp_path / "a.jpg", east=500.0)
    (tmp_path / "b.jpg").write_bytes(b"\xff\xd8\xff\xe1junk" * 9)
    facts = ImageFacts(tmp_path, NoCache(), {"longitude": "Lon", "width": "W"})
    assert [layer.values for layer in facts.layers_of(str(tmp_path / "a.jpg"))] == [{"W": 40}]
    assert list(facts.layers_of(str(tmp_path / "b.jpg"))) == []


def test_an_image_is_read_again_only_if_it_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.jpg"
    image(path)
    monkeypatch.setattr("metalake_sync.sources.readings.is_racy", lambda *_: False)
    fields = {"camera_model": "Model"}
    with StateStore(tmp_path / "state" / "s.db") as state:
        facts = ImageFacts(tmp_path, state.readings, fields)
        before = [layer.values for layer in facts.layers_of(str(path))]
        state.readings.flush()
        with monkeypatch.context() as patch:
            patch.setattr("metalake_sync.sources.image_headers.read_exif", lambda _path: {"camera_model": "read anew"})
            assert [layer.values for layer in facts.layers_of(str(path))] == before == [{"Model": "One"}]
            os.utime(path, ns=(1, 1))
            assert [layer.values for layer in facts.layers_of(str(path))] == [{"Model": "read anew"}]


def test_each_value_has_its_origin() -> None:
    layers = [
        MetadataLayer("collection", {"City": "Rome", "Tags": ["a"]}),
        MetadataLayer("m.csv:2", {"City": "Oslo", "Tags": ["b"]}),
    ]
    city, tags = explain_layers(layers)
    assert (city.value, city.origins, city.overridden) == (
        "Oslo",
        ("m.csv:2",),
        (MetadataLayer("collection", {"City": "Rome"}),),
    )
    assert (tags.value, tags.origins) == (["a", "b"], ("collection", "m.csv:2"))
