"""Reads answers of the lake whose form is not documented: several forms are accepted, and the whole answer is kept.

Owns: which keys may hold a value. Must not: send calls.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeGuard

from metalake_sync.api.results import LabelGroupInfo, SystemCounts, UploadStatus

_GROUP_IDS = ("id", "_id", "groupId", "key")
_GROUP_NAMES = ("name", "groupName", "labelGroupName")
_GROUP_LABELS = ("labels", "labelKeys", "labelList")
_LABEL_TEXTS = ("labelText", "name", "label", "key")


def upload_status(answer: object) -> UploadStatus:
    """Read `{"progress": 40.0}` or a number."""
    details = _details(answer)
    progress = details.get("progress", answer)
    return UploadStatus(float(progress) if _is_number(progress) else None, details)


def system_counts(answer: object) -> SystemCounts:
    """Read `{"images": {"count": 3}}`, `{"images": 3}` or `{"imageCount": 3}`."""
    details = _details(answer)

    def count(kind: str) -> int | None:
        for key in (f"{kind}s", kind, f"{kind}Count", f"{kind}sCount"):
            value = details.get(key)
            value = value.get("count") if isinstance(value, Mapping) else value
            if _is_number(value):
                return int(value)
        return None

    return SystemCounts(count("image"), count("video"), count("other"), details)


def label_groups(answer: object) -> list[LabelGroupInfo]:
    """Read a list of objects, or an object with such a list under any key."""
    if isinstance(answer, Mapping):
        answer = next((value for value in answer.values() if isinstance(value, list)), [])
    groups = answer if isinstance(answer, list) else []
    return [_group(group) for group in groups if isinstance(group, Mapping)]


def _group(group: Mapping[str, Any]) -> LabelGroupInfo:
    labels = _first(group, _GROUP_LABELS)
    texts = [
        _first(label, _LABEL_TEXTS) if isinstance(label, Mapping) else label
        for label in (labels if isinstance(labels, list) else [])
    ]
    known = tuple(str(text) for text in texts if text is not None)
    return LabelGroupInfo(_text(_first(group, _GROUP_IDS)), _text(_first(group, _GROUP_NAMES)), known, group)


def _first(values: Mapping[str, Any], keys: Sequence[str]) -> Any:
    return next((values[key] for key in keys if values.get(key) is not None), None)


def _text(value: Any) -> str:
    return "" if value is None else str(value)


def _details(answer: object) -> Mapping[str, Any]:
    return {key: value for key, value in answer.items() if key != "isSuccess"} if isinstance(answer, dict) else {}


def _is_number(value: Any) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)
