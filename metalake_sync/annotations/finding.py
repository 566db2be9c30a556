"""The files behind a block's sources, and the format that they are in.

Owns: files, folders, globs and YOLO's data.yaml; guessing by extension and by what stands at a file's top. Must not:
read shapes.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from metalake_sync.annotations.entries import NotAnnotations, ReadNotes, SourceFile, shortened
from metalake_sync.annotations.formats.yolo_names import (
    DATA_FILE_EXTENSIONS,
    DATA_FILES,
    NAME_FILES,
    names_of,
    read_data_file,
    spellings_here,
)
from metalake_sync.annotations.json_stream import BrokenJson, members
from metalake_sync.core.shapes import FormatName
from metalake_sync.errors import ManifestError
from metalake_sync.lazy_dataclass import dataclass
from metalake_sync.sources.text_files import read_text

EXTENSIONS: dict[FormatName, str] = {"metalake": ".json", "coco": ".json", "voc": ".xml", "yolo": ".txt"}
_IMAGES = (".jpg", ".jpeg", ".png")
"""Many may lie beside their labels, and none of them is a folder."""


def find_files(
    base_dir: Path, sources: Sequence[str], chosen: FormatName | None, declared_at: str, notes: ReadNotes
) -> Iterator[SourceFile]:
    """Each file once. A folder gives the files of the format's extension, in every folder below that is not hidden.
    Raises ManifestError for a source that is not there or holds nothing."""
    seen: set[Path] = set()
    for source in sources:
        found = list(_of_source(base_dir, source, chosen, notes))
        if not found:
            problem = "holds no annotation file" if os.path.exists(base_dir / source) else "does not exist"
            raise ManifestError(
                f"annotation source '{source}' {problem}", where=declared_at, remedy="Create it, or correct 'source'."
            )
        for file in found:
            if file.path not in seen:
                seen.add(file.path)
                yield file


def _of_source(base_dir: Path, source: str, chosen: FormatName | None, notes: ReadNotes) -> Iterator[SourceFile]:
    path = base_dir / source

    def file_of(file: Path, root: Path, *, named: bool, data_file: Path | None = None) -> SourceFile:
        shown_as = os.path.relpath(file, base_dir) if file.is_relative_to(base_dir) else str(file)
        return SourceFile(file, shown_as, root, named, data_file)

    if os.path.isdir(path):
        for file in _in_folder(path, source, chosen, notes):
            yield file_of(file, path, named=False)
    elif os.path.exists(path):
        if path.suffix.lower() not in DATA_FILE_EXTENSIONS:
            yield file_of(path, path.parent, named=True)
            return
        for place in _LabelsOfDataFile(path, source, notes).places():
            files = [place.path] if place.is_file else _in_folder(place.path, source, "yolo", notes)
            for file in files:
                yield file_of(file, place.root, named=place.is_file, data_file=path)
    else:
        # Only `source` is a pattern: the manifest's own folder may have brackets in its name.
        matches = sorted(base_dir / name for name in glob.glob(source, root_dir=base_dir, recursive=True))
        _note_hidden_from_glob(base_dir, source, notes)
        files = [file for file in matches if not os.path.isdir(file) and file.name not in (*DATA_FILES, *NAME_FILES)]
        root = Path(os.path.commonpath([file.parent for file in files])) if files else path
        for file in files:
            yield file_of(file, root, named=False)


def _in_folder(folder: Path, source: str, chosen: FormatName | None, notes: ReadNotes) -> list[Path]:
    by_extension: dict[str, list[Path]] = {extension: [] for extension in (".json", ".xml", ".txt")}

    def unreadable(error: OSError) -> None:
        # A part that can't be looked at is unknown; taken for empty, it would clear its images.
        raise ManifestError(
            f"'{error.filename}' can't be read ({error.strerror})", where=source, remedy="Make it readable."
        )

    hidden = _Hidden(notes, folder)
    for here, folders, files in os.walk(folder, onerror=unreadable):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        hidden.look_at_folder(here, folders, files)
        for name in sorted(files):
            extension = os.path.splitext(name)[1].lower()
            if extension in by_extension and name not in NAME_FILES and not name.startswith("."):
                by_extension[extension].append(Path(here) / name)
            elif extension not in by_extension and extension not in _IMAGES:
                hidden.look_at_other(os.path.join(here, name))
    if chosen is not None:
        return by_extension[EXTENSIONS[chosen]]
    # A project's notes or settings do not make it JSON.
    others = by_extension[".xml"] or by_extension[".txt"]
    if others and by_extension[".json"] and not any(map(_may_be_annotations, by_extension[".json"])):
        names = [os.path.relpath(file, folder) for file in by_extension.pop(".json")]
        notes.count("JSON files of a folder hold no annotations and are left out", len(names), at=names[0])
    for extension, files_found in by_extension.items():
        if files_found:
            for other, left in by_extension.items():
                if other != extension and left:
                    what = f"{other} files of a folder that are not read, because it has {extension} files too"
                    notes.count(f"{what}; 'format' says which ones count", len(left))
            return files_found
    return []


class _Hidden:
    """Reports what may hide label files in a folder that is walked. Taken for nothing, it would clear images. `top`:
    paths are shown from here."""

    def __init__(self, notes: ReadNotes, top: Path) -> None:
        self._notes = notes
        self._top = top

    def look_at_folder(self, here: str, folders: Sequence[str], files: Sequence[str]) -> None:
        """Look at one folder, with the names of the folders in it (links to folders included) and of the rest."""
        for name in folders:
            if os.path.islink(os.path.join(here, name)):
                self.report("folders are links, which are not followed", os.path.join(here, name))
        if not folders and not files and Path(here) != self._top:
            self.report("folders are empty", here)

    def look_at_other(self, path: str) -> None:
        """Look at what is neither a folder nor a file of annotations: it may be a link whose folder is gone."""
        if _leads_nowhere(path):
            self.report("links lead nowhere", path)

    def report(self, what: str, path: str) -> None:
        self._notes.incomplete = True
        what = f"{what}: what they hold is not known, and images without an entry keep their sets"
        self._notes.count(what, at=f"'{os.path.relpath(path, self._top)}'")


def _leads_nowhere(path: str) -> bool:
    return os.path.islink(path) and not os.path.exists(path)


def _note_hidden_from_glob(base_dir: Path, source: str, notes: ReadNotes) -> None:
    """Report what may hide files from a glob: it passes over folders that can't be read, and links that lead nowhere.
    Only its folders are looked at, no file."""
    folders, _, _ = source.rpartition("/")
    if not glob.has_magic(folders):
        return
    hidden = _Hidden(notes, base_dir)
    first, *rest = folders.split("/")
    for name in glob.glob(f"{folders}/", root_dir=base_dir, recursive=True):
        path = os.path.join(base_dir, name)
        try:
            if not os.listdir(path):
                hidden.report("folders are empty", path)
        except OSError:
            hidden.report("folders can't be read", path)
    if "**" in (first, *rest):
        return
    for name in glob.glob(folders, root_dir=base_dir):
        path = os.path.join(base_dir, name)
        if _leads_nowhere(path):
            hidden.report("links lead nowhere", path)


def _may_be_annotations(file: Path) -> bool:
    """Whether a JSON file is one of annotations, right or wrong."""
    try:
        guess_format(SourceFile(file, str(file), file.parent))
    except NotAnnotations:
        return False
    except ManifestError:
        return True
    return True


@dataclass(frozen=True, slots=True)
class _Place:
    """A folder of labels, or one label file. `root`: the folder that relative paths count from."""

    path: Path
    root: Path
    is_file: bool = False


class _LabelsOfDataFile:
    """Where the labels lie that belong to the images of a data file: to folders of images, or to texts that list
    images. Paths of other machines are looked for here, beside the data file."""

    def __init__(self, data_file: Path, shown_as: str, notes: ReadNotes) -> None:
        self._data_file = data_file
        self._shown_as = shown_as
        self._notes = notes
        self._document = read_data_file(data_file, shown_as)
        names_of(self._document, shown_as)
        self._top = self._find_top()

    def places(self) -> Iterator[_Place]:
        """Each place once. What can't be found is reported, and makes the source incomplete."""
        seen: set[Path] = set()
        for part in ("train", "val", "test"):
            said = self._document.get(part)
            for images in said if isinstance(said, list) else [said]:
                if not isinstance(images, str) or not images:
                    continue
                found = self._places_of(images)
                if found is None:
                    self._notes.incomplete = True
                    self._notes.count(
                        f"'{part}' of {self._shown_as} is {shortened(images)}, and no labels of it are found here;"
                        " images without an entry keep their sets"
                    )
                    continue
                for place in found:
                    if place.path not in seen:
                        seen.add(place.path)
                        yield place

    def _find_top(self) -> Path:
        """The folder that `path` names, here or on another machine; without one, the data file's own."""
        parent = self._data_file.parent
        path = self._document.get("path")
        if isinstance(path, str):
            for spelling in spellings_here(path, keep=1):
                if os.path.isdir(parent / spelling):
                    return parent / spelling
        return parent

    def _places_of(self, images: str) -> list[_Place] | None:
        for top in dict.fromkeys((self._top, self._data_file.parent)):
            # Darknet's paths count from the folder that it is started in.
            for spelling in spellings_here(images, keep=1 if self._data_file.suffix == ".data" else None):
                path = top / spelling
                if path.suffix.lower() == ".txt":
                    if os.path.isfile(path):
                        return self._listed(path, top)
                    continue
                # Labels lie beside images that no folder 'images' holds.
                for labels in labels_for(spelling):
                    if os.path.isdir(top / labels) and (labels != spelling or not _has_images_part(spelling)):
                        return [_Place(top / labels, self._root_of(top, labels))]
        return None

    def _root_of(self, top: Path, labels: str) -> Path:
        return top / labels if os.path.isabs(labels) else top

    def _listed(self, path: Path, top: Path) -> list[_Place] | None:
        """The label files of the images that a text lists; None where not one is found."""
        listed = _ListedLabels(list(dict.fromkeys((path.parent, top, self._data_file.parent))))
        lines = [line.strip() for line in read_text(path, str(path)).split("\n") if line.strip()]
        found = [place for line in lines if (place := listed.find(line)) is not None]
        if lines and not found:
            return None
        if len(found) < len(lines):
            shown = f"{self._shown_as}: {path.name}" if path.name != self._shown_as else path.name
            self._notes.count(f"images that {shown} lists have no label file", len(lines) - len(found))
        return found


class _ListedLabels:
    """Finds the label files of listed images. Lines of a list are alike: what found one is tried first for the next."""

    def __init__(self, bases: Sequence[Path]) -> None:
        self._bases = bases
        self._recent: tuple[Path, int] | None = None

    def find(self, image: str) -> _Place | None:
        """The labels of an image, if there are any."""
        spellings = [os.path.splitext(one)[0] + ".txt" for one in spellings_here(image, keep=2)]
        if self._recent is not None and self._recent[1] < len(spellings):
            base, number = self._recent
            found = self._at(base, spellings[number])
            if found is not None:
                return found
        for number, spelling in enumerate(spellings):
            for base in self._bases:
                found = self._at(base, spelling)
                if found is not None:
                    self._recent = (base, number)
                    return found
        return None

    @staticmethod
    def _at(base: Path, spelling: str) -> _Place | None:
        for labels in labels_for(spelling):
            if os.path.isfile(base / labels):
                return _Place(base / labels, (base / labels).parent if os.path.isabs(labels) else base, is_file=True)
        return None


def labels_for(images: str) -> Iterator[str]:
    """Where the labels of a path to images may lie, by convention: a folder 'images' becomes 'labels', the last one
    first. Without such a folder they lie beside the images."""
    parts = images.split("/")
    for at in range(len(parts) - 1, -1, -1):
        if parts[at] == "images":
            yield "/".join([*parts[:at], "labels", *parts[at + 1 :]])
    yield images


def _has_images_part(path: str) -> bool:
    return "images" in path.split("/")


def guess_format(file: SourceFile) -> FormatName:
    """By the extension; JSON by its first keys. Raises ManifestError where nothing fits."""
    match file.path.suffix.lower():
        case ".xml":
            return "voc"
        case ".txt":
            return "yolo"
        case ".json":
            return _guess_json(file)
        case _:
            try:
                return _guess_json(file)
            except BrokenJson:
                raise _unknown(file) from None


def _guess_json(file: SourceFile) -> FormatName:
    no_images = False
    categories = False
    for key, position, value in members(file.path, file.shown_as, {"images", "annotations", "categories"}):
        if key == "annotations":
            return "coco"
        if key == "images" and position is not None:
            return "coco" if isinstance(value, dict) and ("file_name" in value or "id" in value) else "metalake"
        categories = categories or key == "categories"
        no_images = no_images or (key == "images" and isinstance(value, list))
    if no_images:
        return "coco" if categories else "metalake"
    raise _unknown(file)


def _unknown(file: SourceFile) -> NotAnnotations:
    return NotAnnotations(
        "its format is not known",
        where=file.shown_as,
        remedy="It is read as MetaLake's or COCO's JSON, YOLO's text or VOC's XML; 'format' says which.",
    )
