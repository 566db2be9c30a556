"""Variables stand in any scalar, and never become anything but a text."""

from __future__ import annotations

from pathlib import Path

import pytest

from metalake_sync.errors import ManifestError
from metalake_sync.manifest import read_var_file
from metalake_sync.manifest.variables import MalformedReference, MissingVariables, Variables, literal_part
from tests.manifest.conftest import HEAD, Desk


@pytest.mark.parametrize(
    ("text", "filled"),
    [
        ("${A}", "a"),
        ("x-${A}-${B}", "x-a-b"),
        ("${C:-default}", "default"),
        ("${C:-}", ""),
        ("${EMPTY}", ""),
        ("${EMPTY:-default}", "default"),
        ("${C:-embedded:.metalake}", "embedded:.metalake"),
        ("$${A}", "${A}"),
        ("$${", "${"),
        ("$A $ {A}", "$A $ {A}"),
        ("${NESTED}", "${A}"),
    ],
)
def test_references_are_filled_in(text: str, filled: str) -> None:
    variables = Variables({"A": "a"}, {"A": "never", "B": "b", "EMPTY": "", "NESTED": "${A}"})
    assert variables.fill_in(text) == filled


@pytest.mark.parametrize("text", ["${", "${A", "${}", "${A-x}", "${A:?x}", "${ A }", "${1A}", "${A:-${B}}"])
def test_what_is_no_reference_is_refused(text: str) -> None:
    with pytest.raises(MalformedReference):
        Variables({"A": "a"}).fill_in(text)


def test_all_missing_variables_of_a_text_are_named_once() -> None:
    with pytest.raises(MissingVariables) as caught:
        Variables().fill_in("${A} ${B} ${A}")
    assert caught.value.names == ("A", "B")


@pytest.mark.parametrize(("text", "literal"), [("${A}", ""), ("${A:-x}", "x"), ("y${A}", "y"), ("$${A}", "${A}")])
def test_the_literal_part_is_what_stands_in_the_manifest(text: str, literal: str) -> None:
    assert literal_part(text) == literal


def test_given_variables_beat_the_environment(desk: Desk) -> None:
    text = HEAD + "name: ${NAME}\n"
    assert desk.load(text, variables={"NAME": "given"}, environment={"NAME": "inherited"}).name == "given"
    assert desk.load(text, environment={"NAME": "inherited"}).name == "inherited"


def test_missing_variables_are_told_with_their_place_and_nothing_else_is_said_of_it(desk: Desk) -> None:
    text = HEAD + "collections:\n  - {name: x, type: '${T}', prune: '${P}', files: ['${F}']}\n"
    assert [told.partition(". ")[0] for told in desk.messages(text)] == [
        "birds.yaml:4:21: the variable T has no value",
        "birds.yaml:4:36: the variable P has no value",
        "birds.yaml:4:52: the variable F has no value",
    ]


def test_variables_give_booleans_words_and_the_version(desk: Desk) -> None:
    text = (
        "version: ${V}\nremote: {url: embedded:x}\ncollections:\n"
        "  - {name: '${N}', type: '${T}', prune: '${P}', metadata: {Count: '${N}'}}\n"
    )
    (one,) = desk.load(text, variables={"V": "1", "N": "2024", "T": "image", "P": "true"}).collections
    assert (one.name, one.type, one.prune, one.metadata_layers[1]) == ("2024", "image", True, {"Count": "2024"})


def test_keys_are_not_filled_in(desk: Desk) -> None:
    loaded = desk.load(HEAD + "collections: [{name: x, type: other, metadata: {'${A}': 1}}]\n", variables={"A": "a"})
    assert loaded.collections[0].metadata_layers[1] == {"${A}": 1}


# Files of variables.


def test_a_file_of_lines_is_read_as_a_shell_would(tmp_path: Path) -> None:
    file = tmp_path / "prod.env"
    file.write_text("# lake\n\nexport URL=https://lake.example\nKEY = 'a=b'\nEMPTY=\nQUOTED=\"x y\"\n")
    assert read_var_file(file) == {"URL": "https://lake.example", "KEY": "a=b", "EMPTY": "", "QUOTED": "x y"}


@pytest.mark.parametrize("name", ["v.yaml", "v.yml", "v.json", "v.JSON"])
def test_a_yaml_or_json_file_keeps_its_texts_as_they_are_written(tmp_path: Path, name: str) -> None:
    file = tmp_path / name
    file.write_text('{"PORT": 0800, "DAY": 2024-01-31, "NO": no}')
    assert read_var_file(file) == {"PORT": "0800", "DAY": "2024-01-31", "NO": "no"}


def test_an_empty_file_gives_no_variables(tmp_path: Path) -> None:
    for name in ("v.yaml", "v.env"):
        (tmp_path / name).write_text("")
        assert read_var_file(tmp_path / name) == {}


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("v.env", b"A=1\nhunter2\n", ":2: the line is not NAME=VALUE"),
        ("v.env", b"A-B=hunter2\n", ":1: the line is not NAME=VALUE"),
        ("v.env", b"A=\xff", ": the variable file is not UTF-8"),
        ("v.yaml", b"- hunter2", ": the variable file is not a mapping"),
        ("v.yaml", b"A: {B: hunter2}", ": the variable 'A' is not text"),
        ("v.yaml", b"A-B: hunter2", ": 'A-B' is not a valid variable name"),
        ("v.yaml", b"A: 'hunter2", ":1:12: broken YAML: found unexpected end of stream"),
        ("v.yaml", b"? [hunter2]\n: x", ":1:3: broken YAML: found unhashable key"),
        ("v.yaml", b"A: \x07", ": the variable file is not YAML"),
    ],
)
def test_a_file_that_gives_no_variables_is_refused_and_no_value_repeated(
    tmp_path: Path, name: str, text: bytes, told: str
) -> None:
    file = tmp_path / name
    file.write_bytes(text)
    with pytest.raises(ManifestError) as caught:
        read_var_file(file)
    assert str(caught.value).startswith(f"{file}{told}")
    assert "hunter2" not in str(caught.value)


def test_a_missing_file_of_variables_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"the variable file cannot be read \(No such file or directory\)"):
        read_var_file(tmp_path / "nowhere.env")
