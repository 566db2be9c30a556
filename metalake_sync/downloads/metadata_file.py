"""The file of metadata beside downloaded files, in a form that `file_metadata` reads.

Owns: its name and form, and the fields in it. The protocol has no call that lists the fields of a file, and returns the
fields of one file per call.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from metalake_sync.annotations.formats import format_named
from metalake_sync.core.metadata import TAGS, is_computed
from metalake_sync.remote.client import LakeClient
from metalake_sync.remote.item_details import remote_fields

FILE = "metadata.json"

LINES_FILE = "metadata.jsonl"
"""Where each image has a JSON file of its own, readers take every `.json` file for the annotations of an image."""

FILES = (FILE, LINES_FILE)

PAGE_SIZE = 1000
"""How many files are requested together."""

CALLS_AT_ONCE = 16


def fields_to_read(listed: Iterable[str], known: Iterable[str]) -> tuple[str, ...]:
    """Return the fields of a download in their order: the Tags, those that it lists, and those known from the state.

    Fields that the lake computes are read only if they are listed.
    """
    own = (field for field in sorted(known) if not is_computed(field))
    return tuple(dict.fromkeys((TAGS, *listed, *own)))


def metadata_file_for(format: str | None) -> str:
    """Return the name of the file beside annotations of a format; None: the download writes no annotations."""
    if format is None or format_named(format).output().image_file_extension != ".json":
        return FILE
    return LINES_FILE


def write_metadata(
    client: LakeClient,
    filenames: Mapping[str, str],
    fields: Iterable[str],
    path: Path,
    seen: Callable[[int], None] = lambda _: None,
) -> None:
    """Write the metadata of files into a new file: JSON lines if its name is `LINES_FILE`, else one document.

    `filenames`: unique name → file name. A file without a value of the fields has no entry. Raises LakeRejected and
    OSError.
    """
    wanted = list(dict.fromkeys(fields))
    order = sorted(filenames, key=lambda unique_name: filenames[unique_name])
    entries = 0
    lines = path.name == LINES_FILE
    with path.open("w", encoding="utf-8") as file:
        file.write("" if lines else '{"files": [')
        for start in range(0, len(order), PAGE_SIZE):
            page = order[start : start + PAGE_SIZE]
            for unique_name, found in remote_fields(client, page, wanted, CALLS_AT_ONCE).items():
                values = {name: found[name] for name in wanted if found.get(name) not in (None, [])}
                if values:
                    entry = {"file": filenames[unique_name], "metadata": values}
                    # Escapes keep half characters, which UTF-8 cannot encode.
                    text = json.dumps(entry)
                    file.write(f"{text}\n" if lines else (",\n" if entries else "\n") + text)
                    entries += 1
            seen(min(start + PAGE_SIZE, len(order)))
        file.write("" if lines else "\n]}\n")
