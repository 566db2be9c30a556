"""The files behind a block's sources, and the format that they are in.

Owns: files, folders, globs and YOLO's data.yaml; guessing by extension and by what stands at a file's top. Must not:
read shapes.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from metalake_sync.annotations.entries import ReadNotes, SourceFile
from metalake_sync.annotations.json_stream import BrokenJson, members
from metalake_sync.annotations.yolo_format import DATA_FILES, NAME_FILES, names_of_data_file, read_data_file
from metalake_sync.core.shapes import FormatName
from metalake_sync.errors import ManifestError
from metalake_sync.local.text_files import read_text

EXTENSIONS: dict[FormatName, str] = {"metalake": ".json", "coco": ".json", "voc": ".xml", "yolo": ".txt"}


def find_files(
    base_dir: Path, sources: Sequence[str], chosen: FormatName | None, declared_at: str, notes: ReadNotes
) -> Iterator[SourceFile]:
    """Each file once. A folder gives the files of the format's extension, in every folder below that is not hidden.
    Raises ManifestError for a source that is not there or holds nothing."""
    seen: set[Path] = set()
    for source in sources:
        path = base_dir / source
        if os.path.isdir(path):
            found, root = _in_folder(path, source, chosen, notes), path
        elif os.path.exists(path):
            if path.suffix in (".yaml", ".yml"):
                folders, listed = _labels_of(path, source)
                found = [file for folder in folders for file in _in_folder(folder, source, "yolo", notes)] + listed
                root = path.parent
            else:
                found, root = [path], path.parent
        else:
            matches = sorted(Path(name) for name in glob.glob(str(path), recursive=True))
            found = [
                file for file in matches if not os.path.isdir(file) and file.name not in (*DATA_FILES, *NAME_FILES)
            ]
            root = Path(os.path.commonpath([file.parent for file in found])) if found else path
        if not found:
            problem = "holds no annotation file" if os.path.exists(path) else "does not exist"
            raise ManifestError(
                f"annotation source '{source}' {problem}", where=declared_at, remedy="Create it, or correct 'source'."
            )
        for file in found:
            if file not in seen:
                seen.add(file)
                shown_as = os.path.relpath(file, base_dir) if file.is_relative_to(base_dir) else str(file)
                yield SourceFile(file, shown_as, root)


def _in_folder(folder: Path, source: str, chosen: FormatName | None, notes: ReadNotes) -> list[Path]:
    by_extension: dict[str, list[Path]] = {extension: [] for extension in (".json", ".xml", ".txt")}

    def unreadable(error: OSError) -> None:
        # A part that can't be looked at is unknown; taken for empty, it would clear its images.
        raise ManifestError(
            f"'{error.filename}' can't be read ({error.strerror})", where=source, remedy="Make it readable."
        )

    for here, folders, files in os.walk(folder, onerror=unreadable):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            extension = os.path.splitext(name)[1].lower()
            if extension in by_extension and name not in NAME_FILES and not name.startswith("."):
                by_extension[extension].append(Path(here) / name)
    if chosen is not None:
        return by_extension[EXTENSIONS[chosen]]
    for extension, files_found in by_extension.items():
        if files_found:
            for other, left in by_extension.items():
                if other != extension and left:
                    what = f"{other} files of a folder that are not read, because it has {extension} files too"
                    notes.count(f"{what}; 'format' says which ones count", len(left))
            return files_found
    return []


def _labels_of(data_file: Path, shown_as: str) -> tuple[list[Path], list[Path]]:
    """The folders of labels, and single label files, that belong to the pictures which a data.yaml names: folders of
    pictures, or texts that list them."""
    document = read_data_file(data_file, shown_as)
    names_of_data_file(document, shown_as)
    top = data_file.parent / str(document.get("path") or "")
    folders: list[Path] = []
    files: list[Path] = []
    for part in ("train", "val", "test"):
        said = document.get(part)
        for pictures in said if isinstance(said, list) else [said]:
            if not isinstance(pictures, str):
                continue
            # Roboflow writes ../train/images for the train/images beside the file.
            for spelling in dict.fromkeys((pictures, pictures.removeprefix("../"))):
                path = top / spelling
                folder = top / _labels_for(spelling)
                if path.suffix == ".txt" and os.path.isfile(path):
                    listed = [_label_file(path.parent, line) for line in read_text(path, str(path)).split("\n")]
                    files += [file for file in listed if file is not None and file not in files]
                elif os.path.isdir(folder):
                    if folder not in folders:
                        folders.append(folder)
                else:
                    continue
                break
    return folders, files


def _labels_for(pictures: str) -> str:
    """Where the labels of a path to pictures lie, by convention: images/train has labels/train."""
    before, images, after = f"/{pictures}".rpartition("/images")
    labels = f"{before}/labels{after}" if images else f"/{pictures}"
    return labels if pictures.startswith("/") else labels.removeprefix("/")


def _label_file(folder: Path, picture: str) -> Path | None:
    """The labels of a listed picture, if there are any."""
    if not picture.strip():
        return None
    file = folder / _labels_for(os.path.splitext(picture.strip())[0] + ".txt")
    return file if os.path.isfile(file) else None


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
    for key, position, value in members(file.path, file.shown_as, {"images", "annotations", "categories"}):
        if key in ("annotations", "categories"):
            return "coco"
        if key == "images" and position is not None:
            return "coco" if isinstance(value, dict) and "file_name" in value else "metalake"
        no_images = no_images or (key == "images" and isinstance(value, list))
    if no_images:
        return "metalake"
    raise _unknown(file)


def _unknown(file: SourceFile) -> ManifestError:
    return ManifestError(
        "its format is not known",
        where=file.shown_as,
        remedy="It is read as MetaLake's or COCO's JSON, YOLO's text or VOC's XML; 'format' says which.",
    )
