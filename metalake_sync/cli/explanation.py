"""`plan --explain FILE`: the explanation of one file, as text or JSON.

Owns: the output. Must not: find the explanation (`operations.explain`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import click

from metalake_sync.cli.plan_lines import plan_lines, value_words
from metalake_sync.cli.terminal import count, echo_json, say, shown, size
from metalake_sync.core.snapshots import RecordedFile
from metalake_sync.engine import Engine
from metalake_sync.operations.explain import Explanation, explain


def print_explanation(engine: Engine, file: str, *, as_json: bool) -> None:
    """Print the explanation of a file on standard output. Raises UsageError for an unknown file."""
    explanations = explain(engine, file)
    if as_json:
        echo_json(json.dumps([_document(one) for one in explanations], indent=2))
        return
    for one in explanations:
        say("\n".join(_lines(one)))


def _lines(one: Explanation) -> Iterator[str]:
    yield click.style(f"{shown(one.collection)}/{shown(one.name)} ({one.type})", bold=True)
    for rule in one.rules or ["no source of the manifest has it"]:
        yield f"  rule      {shown(rule)}"
    for field, value in one.metadata.items():
        yield f"  metadata  {shown(field)}: {value_words(value)}"
    yield f"  recorded  {_recorded_words(one.recorded)}"
    yield f"  in lake   {_lake_words(one)}"
    lines = list(plan_lines(one.follows))
    for line in lines:
        yield f"  follows   {line.sign} {line.what}  {line.why}"
        for detail in line.details:
            yield f"              {detail}"
    for note in one.notes:
        yield f"  note      {shown(note.message)}"
    if not lines:
        yield "  follows   nothing"


def _recorded_words(recorded: RecordedFile | None) -> str:
    if recorded is None:
        return "not recorded in the state"
    sets = "".join(
        f", {count(known.shape_count, 'shape')} in {shown(known.operation)}" for known in recorded.annotations.values()
    )
    known = recorded.fingerprint
    return (
        f"{recorded.origin}, {size(known.size_bytes)}, content {recorded.content_hash[:12] or 'unknown'},"
        f" lake id {shown(recorded.lake_id)}, from {shown(recorded.path)}{sets}"
    )


def _lake_words(one: Explanation) -> str:
    if not one.asked:
        return "not read (--refresh none)"
    if one.lake is None:
        return "not in the lake"
    return ", ".join(f"{shown(field)} {value_words(value)}" for field, value in one.lake.items())


def _document(one: Explanation) -> dict[str, Any]:
    from metalake_sync.documents.base import to_json

    recorded = one.recorded
    return {
        "collection": one.collection,
        "type": one.type,
        "file": one.name,
        "rules": one.rules,
        "metadata": one.metadata,
        "recorded": None
        if recorded is None
        else {
            "path": recorded.path,
            "bytes": recorded.fingerprint.size_bytes,
            "content": recorded.content_hash,
            "lake_id": recorded.lake_id,
            "unique_name": recorded.unique_name,
            "origin": recorded.origin.value,
            "shapes": {name: known.shape_count for name, known in recorded.annotations.items()},
        },
        "lake": one.lake,
        "actions": [json.loads(to_json(action)) for action in one.follows],
        "notes": [note.message for note in one.notes],
    }
