"""Label Studio: an export of tasks, as JSON or JSON-MIN. Source: labelstud.io/guide/export and the task format."""

from __future__ import annotations

from metalake_sync.annotations.entries import ReadNotes
from metalake_sync.annotations.formats.base import AnnotationFormat, FileHead, FormatReader, OutputFormat, ReadOptions
from metalake_sync.annotations.json_stream import TOP_LEVEL

_OF_MIN = frozenset({"annotation_id", "annotator", "lead_time"})
"""Keys of a JSON-MIN entry beside its data."""


class LabelStudioFormat(AnnotationFormat):
    """A JSON list of tasks."""

    name = "label_studio"
    title = "Label Studio JSON and JSON-MIN"
    documentation = "https://labelstud.io/guide/export"
    extensions = (".json",)
    writes = True
    loses = ("answers for whole images", "relations", "annotations of other annotators", "regions of texts and sounds")

    def recognizes(self, head: FileHead) -> bool:
        """A list of tasks, or one task: objects with `data` and `annotations`, `completions` or `predictions`; or
        objects with `annotation_id` and `annotator`."""
        keys = set()
        for key, position, value in head.members():
            if key == TOP_LEVEL:
                return position is not None and isinstance(value, dict) and is_task(value)
            keys.add(key)
            if key == "data" and not isinstance(value, dict):
                return False
        return is_task(dict.fromkeys(keys))

    def reader(self, options: ReadOptions, notes: ReadNotes) -> FormatReader:
        from metalake_sync.annotations.formats.label_studio.reading import LabelStudioReader

        return LabelStudioReader(options.kind)

    def output(self) -> OutputFormat:
        from metalake_sync.annotations.formats.label_studio.writing import LabelStudioOutput

        return LabelStudioOutput()


def is_task(value: dict[str, object]) -> bool:
    """Whether an object is a task, or an entry of JSON-MIN."""
    if "data" in value:
        return any(key in value for key in ("annotations", "completions", "predictions"))
    return len(_OF_MIN & value.keys()) >= 2


FORMAT = LabelStudioFormat()
