"""Reading any file succeeds, or gives one error with a place and a remedy.

The readers of annotations are tried in tests/annotations/test_junk.py, the lake's answers in tests/remote.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metalake_sync.annotations.block_files import find_files
from metalake_sync.annotations.entries import ReadNotes
from metalake_sync.documents.saved_plan_files import load_plan
from metalake_sync.embedded_lake.faults import read_fault_plan
from metalake_sync.errors import ManifestError, ManifestErrors, SyncError
from metalake_sync.manifest import load_manifest, read_var_file
from metalake_sync.sources import text_files
from metalake_sync.sources.metadata_readers import read_metadata_file
from metalake_sync.sources.readings import NoCache
from metalake_sync.sources.sidecars import Sidecars
from metalake_sync.state.store import StateStore

MANIFEST = b"""version: 1
remote: {url: "https://lake.example", api_key: "${KEY:-k}", secret: s}
collections:
  - name: birds
    type: image
    folders: [{path: images, include: ["*.jpg"], metadata: {City: Rome, Tags: [a]}}]
    annotations: [{operation: op, kind: human, source: a.json, labels: {map: {a: b}}}]
"""


def _manifest(path: Path) -> None:
    load_manifest(str(path), environment={}, stdin=None)


def _sidecar(path: Path) -> None:
    for layer in Sidecars(path.parent, NoCache()).layers_of(str(path.parent / "a.jpg")):
        json.dumps(dict(layer.values))


def _data_yaml(path: Path) -> None:
    list(find_files(path.parent, (path.name,), None, "m.yaml:1:1", ReadNotes()))


def _state(path: Path) -> None:
    with StateStore(path) as state:
        state.collections.lakes()


READERS: dict[str, tuple[Callable[[Path], object], bytes]] = {
    "m.yaml": (_manifest, MANIFEST),
    "vars.yaml": (read_var_file, b"KEY: value\nOTHER: '1'\n"),
    "vars.env": (read_var_file, b"KEY=value\n# no\nOTHER='1'\n"),
    "meta.json": (
        lambda path: read_metadata_file(path, path.name),
        b'{"files": [{"file": "a.jpg", "metadata": {"City": "Rome", "Tags": ["a"], "n": 1.5}}]}',
    ),
    "meta.jsonl": (
        lambda path: read_metadata_file(path, path.name),
        b'{"file": "a.jpg", "City": "Rome"}\n{"file": "b.jpg", "metadata": {"n": 1}}\n',
    ),
    "meta.csv": (lambda path: read_metadata_file(path, path.name), b'file,City,Tags\na.jpg,"Ro""me",a;b\n'),
    "a.jpg.json": (_sidecar, b'{"metadata": {"City": "Rome", "Tags": ["a"]}}'),
    "a.jpg.yaml": (_sidecar, b"City: Rome\nTags: [a]\nwhen: 2026-01-01\n"),
    "data.yaml": (_data_yaml, b"path: .\ntrain: images\nval: val.txt\nnames: {0: bird}\n"),
    "saved.plan": (lambda path: load_plan(str(path)), b'{"kind": "metalake-sync plan", "format_version": "2.0"}'),
    "faults.yaml": (read_fault_plan, b"seed: 1\nfaults: [{kind: status, status: 500, route: lake, times: 2}]\n"),
    "s.db": (_state, b"SQLite format 3\x00\x10\x00\x01\x01\x00@  \x00\x00\x00\x01\x00\x00\x00\x02"),
}

FILLINGS = [
    *(b"", b"null", b".nan", b"1e999", b'"', b"'", b"[", b"]", b"{}", b"\xff", b"\x00", b"9" * 5000, b"&a [*a]"),
    *(b"!!python/object:os.system {}", b"<<: *x", b"\xef\xbb\xbf", b"\r", b"\t", b"${", b"\\ud800", b"? :"),
]

# Each line contains the one above eight times.
LAUGHS = b"x1: &x1 [ha]\n" + b"".join(
    b"x%d: &x%d [%s]\n" % (at, at, b", ".join([b"*x%d" % (at - 1)] * 8)) for at in range(2, 12)
)


def read(name: str, content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(content)
        (path.parent / "a.jpg").touch()
        try:
            READERS[name][0](path)
        except ManifestErrors as errors:
            complaints = [str(error) for error in errors.errors]
        except SyncError as error:
            complaints = [str(error)]
        else:
            return
        assert complaints
        assert all(name in complaint for complaint in complaints), complaints


@pytest.mark.parametrize("name", READERS)
@given(content=st.binary(max_size=80) | st.text(max_size=40).map(lambda text: text.encode("utf-8", "replace")))
@settings(max_examples=25, deadline=None)
def test_any_bytes_are_read_or_are_a_clear_error(name: str, content: bytes) -> None:
    read(name, content)


@pytest.mark.parametrize("name", READERS)
@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_a_damaged_file_is_read_or_is_a_clear_error(name: str, data: st.DataObject) -> None:
    sample = READERS[name][1]
    start = data.draw(st.integers(0, len(sample)))
    end = data.draw(st.integers(start, min(len(sample), start + 12)))
    read(name, sample[:start] + data.draw(st.sampled_from(FILLINGS)) + sample[end:])


@pytest.mark.parametrize("name", [name for name in READERS if not name.endswith(".db")])
@pytest.mark.parametrize(
    "content",
    [
        b"[" * 20_000,
        b'{"a": ' * 20_000,
        LAUGHS,
        b'{"files": [{"file": "a.jpg", "metadata": ' + b"[" * 2000 + b"]" * 2000 + b"}]}",
    ],
    ids=["lists", "objects", "laughs", "nested"],
)
def test_documents_that_expand_without_end_are_errors(name: str, content: bytes) -> None:
    read(name, content)


def test_reading_of_an_endless_line_stops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_files, "LINE_LIMIT_CHARS", 1000)
    for name in ("meta.jsonl", "meta.csv"):
        (tmp_path / name).write_text(READERS[name][1].decode() + "x" * 5000)
        with pytest.raises(ManifestError, match=rf"{name}:3: the line is longer"):
            READERS[name][0](tmp_path / name)


def test_a_text_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    with open(tmp_path / "meta.json", "wb") as file:
        file.truncate(text_files.TEXT_LIMIT_BYTES + 1)
    with pytest.raises(ManifestError, match="larger than 512 MB"):
        READERS["meta.json"][0](tmp_path / "meta.json")
