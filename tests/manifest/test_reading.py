"""A manifest is read from a file, a folder or standard input; variables from files."""

from __future__ import annotations

import io
import os
import tempfile
from pathlib import Path

import pytest

from metalake_sync.errors import Location, ManifestError, ManifestErrors
from metalake_sync.manifest import load_manifest, read_var_file, reading
from tests.manifest.conftest import HEAD, ManifestFolder


def error_text(source: str) -> str:
    with pytest.raises(ManifestErrors) as caught:
        load_manifest(source, environment={})
    return str(caught.value)


def test_the_name_of_a_file_is_its_stem(manifests: ManifestFolder) -> None:
    assert manifests.load(HEAD, file="bccd.prod.yaml").name == "bccd.prod"


def test_a_folder_gives_the_name_and_the_base_of_its_manifest(manifests: ManifestFolder) -> None:
    loaded = manifests.load_folder(a=HEAD)
    assert loaded.name == "lake"
    assert loaded.base_dir == manifests.folder / "lake"


def test_the_current_folder_gives_the_name_of_its_manifest(
    manifests: ManifestFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifests.load_folder(a=HEAD)
    monkeypatch.chdir("lake")
    assert load_manifest(".", environment={}).name == "lake"


def test_the_base_of_a_linked_manifest_is_the_folder_of_the_link(manifests: ManifestFolder) -> None:
    (manifests.folder / "mounted").mkdir()
    (manifests.folder / "mounted" / "real.yaml").write_text(HEAD)
    (manifests.folder / "link.yaml").symlink_to("mounted/real.yaml")
    loaded = load_manifest("link.yaml", environment={})
    assert (loaded.name, loaded.base_dir) == ("link", manifests.folder)


def test_a_manifest_in_shared_memory_is_an_ordinary_file() -> None:
    shared = Path("/dev/shm")
    if not os.access(shared, os.W_OK):
        pytest.skip("this machine has no /dev/shm that can be written")
    with tempfile.TemporaryDirectory(dir=shared) as folder:
        path = Path(folder, "bccd.yaml")
        path.write_text(HEAD)
        loaded = load_manifest(str(path), environment={})
    assert (loaded.name, loaded.base_dir) == ("bccd", Path(folder))


def test_files_of_a_folder_are_read_by_name_without_hidden_ones(manifests: ManifestFolder) -> None:
    folder = manifests.folder / "lake"
    folder.mkdir()
    (folder / "b.yml").write_text("collections: [{name: second, type: other}]")
    (folder / "a.yaml").write_text(HEAD + "collections: [{name: first, type: other}]")
    (folder / ".#a.yaml").symlink_to("nowhere")
    (folder / "notes.txt").write_text("no manifest")
    (folder / "sub.yaml").mkdir()
    assert [one.name for one in load_manifest("lake", environment={}).collections] == ["first", "second"]


def test_the_base_of_standard_input_is_the_current_folder(manifests: ManifestFolder) -> None:
    loaded = manifests.load_stdin(HEAD + "name: piped\n")
    assert (loaded.name, loaded.base_dir, loaded.source) == ("piped", manifests.folder, "-")
    assert loaded.where("name") == Location("<stdin>", 3, 7)


def test_standard_input_needs_a_name(manifests: ManifestFolder) -> None:
    with pytest.raises(ManifestErrors, match=r"<stdin>:1:1: 'name' is missing\. Standard input has no name"):
        manifests.load_stdin(HEAD)


def test_standard_input_is_read_as_utf8_with_any_terminal() -> None:
    text = HEAD + "name: vögel\n"
    stdin = io.TextIOWrapper(io.BytesIO(text.encode()), encoding="latin-1")
    assert load_manifest("-", environment={}, stdin=stdin).name == "vögel"


def test_a_byte_order_mark_is_ignored(manifests: ManifestFolder) -> None:
    loaded = manifests.load(b"\xef\xbb\xbf" + HEAD.encode())
    assert loaded.where("version") == Location("birds.yaml", 1, 10)


def test_a_windows_line_end_counts_as_one_line(manifests: ManifestFolder) -> None:
    assert manifests.load(HEAD.replace("\n", "\r\n")).where("remote") == Location("birds.yaml", 2, 9)


def test_a_manifest_that_is_not_utf8_is_an_error_at_the_byte(manifests: ManifestFolder) -> None:
    (message,) = manifests.messages(HEAD.encode() + b"name: v\xf6gel\n")
    assert message == "birds.yaml:3:8: the manifest is not UTF-8. Save it as UTF-8."


def test_a_missing_manifest_is_an_error(manifests: ManifestFolder) -> None:
    assert error_text("nowhere.yaml").startswith(
        "nowhere.yaml: the manifest cannot be read (No such file or directory)."
    )


@pytest.mark.parametrize("source", ["a\0b", "x" * 5000])
def test_an_invalid_file_name_is_an_error(manifests: ManifestFolder, source: str) -> None:
    assert "the manifest cannot be read" in error_text(source)


def test_a_folder_without_a_manifest_is_an_error(manifests: ManifestFolder) -> None:
    assert "the folder has no *.yaml file" in error_text(".")


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_an_unreadable_folder_is_an_error(manifests: ManifestFolder) -> None:
    (manifests.folder / "lake").mkdir(mode=0o100)
    assert "lake: the folder cannot be read (Permission denied)" in error_text("lake")


def test_readable_files_of_a_folder_are_checked_beside_an_unreadable_one(manifests: ManifestFolder) -> None:
    folder = manifests.folder / "lake"
    folder.mkdir()
    (folder / "a.yaml").write_text("name: 2024-01-01\n")
    (folder / "gone.yaml").symlink_to("nowhere")
    message = error_text("lake").splitlines()
    assert [line.partition(": ")[0] for line in message] == ["lake/gone.yaml", "lake/a.yaml:1:7"]


def test_a_pipe_or_device_in_a_folder_is_an_error_and_does_not_block(manifests: ManifestFolder) -> None:
    manifests.load_folder(a=HEAD)
    os.mkfifo(manifests.folder / "lake" / "b.yaml")
    (manifests.folder / "lake" / "c.yaml").symlink_to("/dev/zero")
    said = error_text(str(manifests.folder / "lake"))
    assert "b.yaml: the manifest is not a regular file" in said
    assert "c.yaml: the manifest is not a regular file" in said


def test_a_manifest_that_is_too_large_is_an_error(manifests: ManifestFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "SIZE_LIMIT_BYTES", 1 << 20)
    (message,) = manifests.messages(HEAD + "#" * (1 << 20))
    assert message.startswith("birds.yaml: the manifest is larger than 1 MB.")


def test_a_manifest_of_32_mb_is_read(tmp_path: Path) -> None:
    file = tmp_path / "large.yaml"
    file.write_text(HEAD + "#" * ((32 << 20) - len(HEAD)))
    assert load_manifest(str(file), environment={}).name == "large"


# Variable files.


def test_a_variable_file_of_lines_is_read_as_a_shell_does(tmp_path: Path) -> None:
    file = tmp_path / "prod.env"
    file.write_text("# lake\n\nexport URL=https://lake.example\nKEY = 'a=b'\nEMPTY=\nQUOTED=\"x y\"\n")
    assert read_var_file(file) == {"URL": "https://lake.example", "KEY": "a=b", "EMPTY": "", "QUOTED": "x y"}


@pytest.mark.parametrize("name", ["v.yaml", "v.yml", "v.json", "v.JSON"])
def test_a_yaml_or_json_variable_file_gives_texts_as_written(tmp_path: Path, name: str) -> None:
    file = tmp_path / name
    file.write_text('{"PORT": 0800, "DAY": 2024-01-31, "NO": no}')
    assert read_var_file(file) == {"PORT": "0800", "DAY": "2024-01-31", "NO": "no"}


def test_an_empty_variable_file_has_no_variables(tmp_path: Path) -> None:
    for name in ("v.yaml", "v.env"):
        (tmp_path / name).write_text("")
        assert read_var_file(tmp_path / name) == {}


@pytest.mark.parametrize(
    ("name", "text", "message"),
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
def test_an_invalid_variable_file_is_an_error_that_shows_no_value(
    tmp_path: Path, name: str, text: bytes, message: str
) -> None:
    file = tmp_path / name
    file.write_bytes(text)
    with pytest.raises(ManifestError) as caught:
        read_var_file(file)
    assert str(caught.value).startswith(f"{file}{message}")
    assert "hunter2" not in str(caught.value)


def test_a_missing_variable_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"the variable file cannot be read \(No such file or directory\)"):
        read_var_file(tmp_path / "nowhere.env")
