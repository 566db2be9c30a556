"""Splits: the files of one download divided into folders, such as train, val and test.

Owns: the specs of a download with splits, and which split a file is in by ratio. Each split is a download of its own
into a folder of its name. One more spec stands for the folder around them. Must not: read the manifest or the lake.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace

from blake3 import blake3

from metalake_sync.core.downloads import DownloadSpec, Share
from metalake_sync.manifest.remote_models import Splits


def specs_of(spec: DownloadSpec, splits: Splits | None) -> Iterator[DownloadSpec]:
    """Yield the specs of a download: itself, or one for each split and one for the folder around them."""
    if splits is None:
        yield spec
        return
    shares = _shares(splits) if splits.by == "ratio" else {}
    for name, value in splits.parts.items():
        yield replace(
            spec,
            selection=replace(spec.selection, query=_query(spec.selection.query, splits, str(value))),
            to=os.path.join(spec.to, name),
            block_to=spec.to,
            split=name,
            share=shares.get(name),
        )
    may_miss = splits.by != "ratio"
    yield replace(spec, splits=tuple(splits.parts), counts_unassigned=may_miss, media=False, metadata=None)


def _query(query: str, splits: Splits, value: str) -> str:
    """Return the query of one split: that of the download, and the condition of the split."""
    if splits.by == "ratio":
        return query
    condition = f"metadata.{splits.field}={value}" if splits.by == "metadata" else value
    return f"{query} and {condition}" if query.strip() else condition


def _shares(splits: Splits) -> dict[str, Share]:
    total = sum(float(value) for value in splits.parts.values())
    shares: dict[str, Share] = {}
    begin = 0.0
    for name, value in splits.parts.items():
        end = begin + float(value) / total
        shares[name] = Share(begin, end, splits.seed)
        begin = end
    last = next(reversed(shares))
    shares[last] = replace(shares[last], end=1.0)  # Sums of fractions may miss 1.
    return shares


def is_in(share: Share, name: str) -> bool:
    """Whether a file is in a split by ratio. The name and the seed alone decide, so other files never move it."""
    digest = blake3(f"{share.seed}\0{name}".encode("utf-8", "surrogatepass")).digest()
    place: float = (int.from_bytes(digest[:8]) >> 11) / (1 << 53)
    return share.begin <= place < share.end
