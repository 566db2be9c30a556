"""Amazon SageMaker Ground Truth: the output manifest of a labeling job. Source: docs.aws.amazon.com/sagemaker, "Output
data"."""

from __future__ import annotations

from metalake_sync.annotations.entries import ReadNotes
from metalake_sync.annotations.formats.base import AnnotationFormat, FileHead, FormatReader, ReadOptions

IMAGE_KEY = "source-ref"


class GroundTruthFormat(AnnotationFormat):
    """JSON Lines: an image a line, and for each label attribute its value and its `…-metadata`."""

    name = "ground_truth"
    title = "SageMaker Ground Truth output manifest"
    documentation = "https://docs.aws.amazon.com/sagemaker/latest/dg/sms-data-output.html"
    extensions = (".manifest", ".jsonl")
    loses = ("labels of whole images", "masks in a bucket", "labels of videos")

    def recognizes(self, head: FileHead) -> bool:
        """The first line is an object with 'source-ref' and a key that ends in '-metadata'."""
        keys = [key for key, _, _ in head.members()]
        return IMAGE_KEY in keys and any(key.endswith("-metadata") for key in keys)

    def reader(self, options: ReadOptions, notes: ReadNotes) -> FormatReader:
        from metalake_sync.annotations.formats.ground_truth.reading import GroundTruthReader

        return GroundTruthReader(options.normalized)


FORMAT = GroundTruthFormat()
