"""Finds the labels that a YOLO data file names.

Owns: the convention of folders `images` and `labels`, and lists of images. Must not: read labels.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from metalake_sync.annotations.entries import ReadNotes
from metalake_sync.annotations.formats.base import ListedFiles
from metalake_sync.annotations.formats.values import shortened
from metalake_sync.annotations.formats.yolo.class_names import names_of, read_data_file, spellings_here
from metalake_sync.sources.text_files import read_text


class LabelsOfDataFile:
    """Finds the labels of a data file, which names folders of images, or texts that list images. Paths of another
    machine are looked up beside the data file."""

    def __init__(self, data_file: Path, shown_as: str, notes: ReadNotes) -> None:
        self._data_file = data_file
        self._shown_as = shown_as
        self._notes = notes
        self._document = read_data_file(data_file, shown_as)
        names_of(self._document, shown_as)
        self._top = self._find_top()

    def places(self) -> Iterator[ListedFiles]:
        """Yield each folder or file of labels once. A part that is not found makes the source incomplete."""
        seen: set[Path] = set()
        for part in ("train", "val", "test"):
            value = self._document.get(part)
            for images in value if isinstance(value, list) else [value]:
                if not isinstance(images, str) or not images:
                    continue
                found = self._places_of(images)
                if found is None:
                    self._notes.incomplete = True
                    self._notes.count(
                        f"'{part}' of {self._shown_as} is {shortened(images)}, and its labels are not found;"
                        " images without an entry keep their sets"
                    )
                    continue
                for place in found:
                    if place.path not in seen:
                        seen.add(place.path)
                        yield place

    def _find_top(self) -> Path:
        """Return the folder that `path` names, here or on another machine; without `path`, the data file's folder."""
        parent = self._data_file.parent
        path = self._document.get("path")
        if isinstance(path, str):
            for spelling in spellings_here(path, keep=1):
                if os.path.isdir(parent / spelling):
                    return parent / spelling
        return parent

    def _places_of(self, images: str) -> list[ListedFiles] | None:
        for top in dict.fromkeys((self._top, self._data_file.parent)):
            # Darknet's paths start from the folder in which it is run.
            for spelling in spellings_here(images, keep=1 if self._data_file.suffix == ".data" else None):
                path = top / spelling
                if path.suffix.lower() == ".txt":
                    if os.path.isfile(path):
                        return self._listed(path, top)
                    continue
                # Labels are beside the images only if no folder of their path is called 'images'.
                for labels in labels_for(spelling):
                    if os.path.isdir(top / labels) and (labels != spelling or not _has_images_part(spelling)):
                        return [ListedFiles(top / labels, self._root_of(top, labels))]
        return None

    def _root_of(self, top: Path, labels: str) -> Path:
        return top / labels if os.path.isabs(labels) else top

    def _listed(self, path: Path, top: Path) -> list[ListedFiles] | None:
        """Return the label files of the images that a text lists, or None if none is found."""
        listed = _LabelFinder(list(dict.fromkeys((path.parent, top, self._data_file.parent))))
        lines = [line.strip() for line in read_text(path, str(path)).split("\n") if line.strip()]
        found = [place for line in lines if (place := listed.find(line)) is not None]
        if lines and not found:
            return None
        if len(found) < len(lines):
            shown = f"{self._shown_as}: {path.name}" if path.name != self._shown_as else path.name
            self._notes.count(f"images that {shown} lists have no label file", len(lines) - len(found))
        return found


class _LabelFinder:
    """Finds the label files of listed images. The folder and spelling that found one are tried first for the next."""

    def __init__(self, bases: Sequence[Path]) -> None:
        self._bases = bases
        self._recent: tuple[Path, int] | None = None

    def find(self, image: str) -> ListedFiles | None:
        """Return the label file of an image, or None if it does not exist."""
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
    def _at(base: Path, spelling: str) -> ListedFiles | None:
        for labels in labels_for(spelling):
            if os.path.isfile(base / labels):
                return ListedFiles(
                    base / labels, (base / labels).parent if os.path.isabs(labels) else base, is_file=True
                )
        return None


def labels_for(images: str) -> Iterator[str]:
    """Yield the paths where, by convention, the labels of a path to images may be: with a folder 'images' replaced by
    'labels', the last one first; then beside the images."""
    parts = images.split("/")
    for at in range(len(parts) - 1, -1, -1):
        if parts[at] == "images":
            yield "/".join([*parts[:at], "labels", *parts[at + 1 :]])
    yield images


def _has_images_part(path: str) -> bool:
    return "images" in path.split("/")
