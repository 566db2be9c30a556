"""A manifest comes from a file, a folder or standard input."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest

from metalake_sync.errors import Location, ManifestError, ManifestErrors
from metalake_sync.manifest import load_manifest, read_var_file, reading
from tests.manifest.conftest import HEAD, Desk


def refusal(source: str) -> str:
    with pytest.raises(ManifestErrors) as caught:
        load_manifest(source, environment={})
    return str(caught.value)


def test_a_file_is_named_by_its_stem(desk: Desk) -> None:
    assert desk.load(HEAD, file="bccd.prod.yaml").name == "bccd.prod"


def test_a_folder_is_named_by_its_own_name_and_is_the_base(desk: Desk) -> None:
    loaded = desk.load_folder(a=HEAD)
    assert loaded.name == "lake"
    assert loaded.base_dir == desk.folder / "lake"


def test_the_folder_that_we_stand_in_has_a_name_too(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.load_folder(a=HEAD)
    monkeypatch.chdir("lake")
    assert load_manifest(".", environment={}).name == "lake"


def test_a_manifest_that_is_a_link_is_based_where_the_link_is(desk: Desk) -> None:
    (desk.folder / "mounted").mkdir()
    (desk.folder / "mounted" / "real.yaml").write_text(HEAD)
    (desk.folder / "link.yaml").symlink_to("mounted/real.yaml")
    loaded = load_manifest("link.yaml", environment={})
    assert (loaded.name, loaded.base_dir) == ("link", desk.folder)


def test_the_files_of_a_folder_are_read_in_the_order_of_their_names_hidden_ones_left_out(desk: Desk) -> None:
    folder = desk.folder / "lake"
    folder.mkdir()
    (folder / "b.yml").write_text("collections: [{name: second, type: other}]")
    (folder / "a.yaml").write_text(HEAD + "collections: [{name: first, type: other}]")
    (folder / ".#a.yaml").symlink_to("nowhere")
    (folder / "notes.txt").write_text("no manifest")
    (folder / "sub.yaml").mkdir()
    assert [one.name for one in load_manifest("lake", environment={}).collections] == ["first", "second"]


def test_standard_input_is_based_in_the_current_folder_and_says_its_name(desk: Desk) -> None:
    loaded = desk.load_stdin(HEAD + "name: piped\n")
    assert (loaded.name, loaded.base_dir, loaded.source) == ("piped", desk.folder, "-")
    assert loaded.where("name") == Location("<stdin>", 3, 7)


def test_standard_input_without_a_name_is_refused(desk: Desk) -> None:
    with pytest.raises(ManifestErrors, match=r"<stdin>:1:1: 'name' is missing\. Standard input has no name"):
        desk.load_stdin(HEAD)


def test_standard_input_is_utf8_whatever_the_terminal_is() -> None:
    text = HEAD + "name: vögel\n"
    stdin = io.TextIOWrapper(io.BytesIO(text.encode()), encoding="latin-1")
    assert load_manifest("-", environment={}, stdin=stdin).name == "vögel"


def test_a_byte_order_mark_is_no_part_of_the_manifest(desk: Desk) -> None:
    loaded = desk.load(b"\xef\xbb\xbf" + HEAD.encode())
    assert loaded.where("version") == Location("birds.yaml", 1, 10)


def test_windows_line_ends_count_as_one(desk: Desk) -> None:
    assert desk.load(HEAD.replace("\n", "\r\n")).where("remote") == Location("birds.yaml", 2, 9)


def test_a_file_that_is_no_utf8_is_refused_at_the_byte(desk: Desk) -> None:
    (told,) = desk.messages(HEAD.encode() + b"name: v\xf6gel\n")
    assert told == "birds.yaml:3:8: the manifest is not UTF-8. Save it as UTF-8."


def test_a_missing_file_is_refused(desk: Desk) -> None:
    assert refusal("nowhere.yaml").startswith("nowhere.yaml: the manifest cannot be read (No such file or directory).")


@pytest.mark.parametrize("source", ["a\0b", "x" * 5000])
def test_a_source_that_no_file_can_be_called_is_refused(desk: Desk, source: str) -> None:
    assert "the manifest cannot be read" in refusal(source)


def test_a_folder_without_a_manifest_is_refused(desk: Desk) -> None:
    assert "the folder has no *.yaml file" in refusal(".")


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_folder_that_may_not_be_listed_is_refused(desk: Desk) -> None:
    (desk.folder / "lake").mkdir(mode=0o100)
    assert "lake: the folder cannot be read (Permission denied)" in refusal("lake")


def test_what_can_be_read_of_a_folder_is_checked_although_one_file_can_not(desk: Desk) -> None:
    folder = desk.folder / "lake"
    folder.mkdir()
    (folder / "a.yaml").write_text("name: 2024-01-01\n")
    (folder / "gone.yaml").symlink_to("nowhere")
    told = refusal("lake").splitlines()
    assert [line.partition(": ")[0] for line in told] == ["lake/gone.yaml", "lake/a.yaml:1:7"]


def test_a_pipe_or_a_device_among_the_files_of_a_folder_is_refused_and_not_waited_for(desk: Desk) -> None:
    desk.load_folder(a=HEAD)
    os.mkfifo(desk.folder / "lake" / "b.yaml")
    (desk.folder / "lake" / "c.yaml").symlink_to("/dev/zero")
    said = refusal(str(desk.folder / "lake"))
    assert "b.yaml: the manifest is not a regular file" in said
    assert "c.yaml: the manifest is not a regular file" in said


def test_a_file_that_is_too_large_is_refused(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "SIZE_LIMIT_BYTES", 1 << 20)
    (told,) = desk.messages(HEAD + "#" * (1 << 20))
    assert told.startswith("birds.yaml: the manifest is larger than 1 MB.")


def test_a_file_of_up_to_32_mb_is_read(tmp_path: Path) -> None:
    file = tmp_path / "large.yaml"
    file.write_text(HEAD + "#" * ((32 << 20) - len(HEAD)))
    assert load_manifest(str(file), environment={}).name == "large"


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
