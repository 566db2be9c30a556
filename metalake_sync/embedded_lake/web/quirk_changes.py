"""How each quirk changes the form of answers.

Must not: change what users wrote (metadata, annotations, names), or what the lake does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Any

from aiohttp import web

from metalake_sync.embedded_lake.quirks import Quirk
from metalake_sync.embedded_lake.request_log import RequestKind

_ACKNOWLEDGEMENTS = frozenset(
    {
        "finalize_file",
        "complete_upload",
        "metadata_by_json",
        "metadata_by_object",
        "update_annotations",
        "delete_annotations",
        "update_job",
    }
)
"""Routes whose answers are only acknowledgements."""

_VALIDATES = frozenset({"validate_tags", "validate_fields"})

_MAY_BE_204 = _VALIDATES | _ACKNOWLEDGEMENTS - {"update_annotations", "metadata_by_json", "metadata_by_object"}
"""The vendor's clients read the body of other answers."""

_REFUSED_WHEN_EMPTY = frozenset({"list_items", "list_collection_items", "collection_by_name"})

_COUNTS = frozenset({"count_items", "count_collection_items"})

_DATES = ("createdAt", "updatedAt")
_COMPUTED = ("fileSize", "frameCount", "frameRate", "resolution", "storagePath", "bucketName", *_DATES, "url")
"""Details that the lake computes, except ids and names."""

_NUMBERS = frozenset({"status", "statusCode", "progress", "PartNumber", "objectType", "count", "size", "objectCount"})
_NUMBERS_OF_DETAILS = frozenset({"fileSize", "frameCount", "contentType"})

_NULLABLE = frozenset(
    {
        "isExisting", "uploadRemovedFile", "message", "warningMsg", "nextPage", "uploadedFileList", "resourceArray",
        "creatableDirectories", "texts", "rawAnnotations",
    }
)  # fmt: skip
"""Fields that may be null instead of false or empty."""

_WRITTEN_BY_USERS = frozenset({"annotations", "itemDetails"})
"""Fields that contain what users wrote."""

_KEYED_BY_NAMES = frozenset({"label_references"})
"""Routes whose answer is a mapping by name, not an object with fields."""

_UNKNOWN_FIELDS = {"__v": 0, "teamId": "6b0400000000000000000000", "isLogical": False}

_HTML = "<html>\n<head><title>{status}</title></head>\n<body><h1>{status}</h1></body>\n</html>\n"

Change = Callable[[web.Request, RequestKind, int, Any], tuple[int, Any]]
"""Returns the changed status and document. NO_BODY is an answer without a body."""

NO_BODY = object()


class Html(str):
    """A page instead of a JSON document."""

    __slots__ = ()


def _on(*names: str) -> Callable[[Callable[[Any], Any]], Change]:
    """Return a decorator for changes of the documents of successful answers."""

    def make(change: Callable[[Any], Any]) -> Change:
        def changed(_: web.Request, asked: RequestKind, status: int, document: Any) -> tuple[int, Any]:
            return (status, change(document)) if asked.route in names and status == 200 else (status, document)

        return changed

    return make


# Labels and details.


def _label_rows(row: Callable[[Mapping[str, Any]], dict[str, Any]]) -> Change:
    return _on("list_labels")(lambda rows: [row(each) for each in rows])


def _details(change: Callable[[dict[str, Any]], dict[str, Any]]) -> Change:
    return _on("item_details", "collection_details")(
        lambda document: {**document, "itemDetails": change(document["itemDetails"])}
    )


def _dates(form: Callable[[datetime], Any]) -> Change:
    def change(details: dict[str, Any]) -> dict[str, Any]:
        return {
            name: form(datetime.fromisoformat(value)) if name in _DATES else value for name, value in details.items()
        }

    return _details(change)


def _without_computed(details: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in details.items() if name not in _COMPUTED}


# Counts and URLs.


def _counts(count: Callable[[int], Any], url: Callable[[str], Any], progress: Callable[[float], Any]) -> Change:
    def change(_: web.Request, asked: RequestKind, status: int, document: Any) -> tuple[int, Any]:
        if status == 200 and asked.route in _COUNTS:
            return status, count(document["count"])
        if status == 200 and asked.route == "download_url":
            return status, url(document["url"])
        if status == 200 and asked.route == "upload_progress":
            return status, progress(document["progress"])
        return status, document

    return change


# Acknowledgements and rejections.


def _acknowledges(request: web.Request, asked: RequestKind, document: Any) -> bool:
    """Return whether an answer contains nothing but success."""
    if asked.route in _VALIDATES:
        # Generation 3 answers with a list.
        return bool(document == {"isSuccess": True})
    if asked.route == "complete_upload":
        # The client may have requested the names of the session's files.
        return request.query.get("isReturnedUniqueName", "").lower() != "true"
    return asked.route in _ACKNOWLEDGEMENTS


def _empty_acknowledgement(request: web.Request, asked: RequestKind, status: int, document: Any) -> tuple[int, Any]:
    if status == 204 or (status == 200 and _acknowledges(request, asked, document)):
        return 200, {}
    return status, document


def _no_content(request: web.Request, asked: RequestKind, status: int, document: Any) -> tuple[int, Any]:
    if status == 200 and asked.route in _MAY_BE_204 and _acknowledges(request, asked, document):
        return 204, NO_BODY
    return status, document


def _refused_when_empty(_: web.Request, asked: RequestKind, status: int, document: Any) -> tuple[int, Any]:
    if status == 204 and asked.route in _REFUSED_WHEN_EMPTY:
        return 406, {"error": {"statusCode": 406, "name": "NotAcceptableError", "message": "No content found"}}
    return status, document


def _bare_message(_: web.Request, __: RequestKind, status: int, document: Any) -> tuple[int, Any]:
    return (status, {"message": document["error"]["message"]}) if status >= 400 else (status, document)


def _html_error(_: web.Request, __: RequestKind, status: int, document: Any) -> tuple[int, Any]:
    return (status, Html(_HTML.format(status=status))) if status >= 400 else (status, document)


def _no_compatibility(_: web.Request, asked: RequestKind, status: int, document: Any) -> tuple[int, Any]:
    if asked.route == "compatibility" and status == 200:
        return 404, {"error": {"statusCode": 404, "name": "NotFoundError", "message": "Endpoint not found"}}
    return status, document


# Every object of every answer.


def _everywhere(change: Callable[[RequestKind, Any], Any]) -> Change:
    def changed(_: web.Request, asked: RequestKind, status: int, document: Any) -> tuple[int, Any]:
        return status, document if document is NO_BODY else change(asked, document)

    return changed


def _with_unknown_fields(asked: RequestKind, document: Any) -> Any:
    def grown(value: Any, is_map: bool) -> Any:
        if isinstance(value, list):
            return [grown(each, is_map=False) for each in value]
        if not isinstance(value, dict):
            return value
        fields = {
            name: each if name == "annotations" else grown(each, is_map=name == "texts")
            for name, each in reversed(value.items())
            if name != "itemDetails"
        }
        if "itemDetails" in value:
            fields["itemDetails"] = {**_UNKNOWN_FIELDS, **dict(reversed(value["itemDetails"].items()))}
        return fields if is_map else {**_UNKNOWN_FIELDS, **fields}

    return grown(document, is_map=asked.route in _KEYED_BY_NAMES)


def _with_numbers_as_text(_: RequestKind, document: Any) -> Any:
    def texts(value: Any) -> Any:
        if isinstance(value, list):
            return [texts(each) for each in value]
        if not isinstance(value, dict):
            return value
        return dict(_fields(value, texts, _NUMBERS, str_of))

    def str_of(value: Any) -> Any:
        return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else texts(value)

    found = texts(document)
    if isinstance(found, dict) and isinstance(found.get("itemDetails"), dict):
        found["itemDetails"] = {
            name: str(value) if name in _NUMBERS_OF_DETAILS else value for name, value in found["itemDetails"].items()
        }
    return found


def _with_nulls(_: RequestKind, document: Any) -> Any:
    def nulls(value: Any) -> Any:
        if isinstance(value, list):
            return [nulls(each) for each in value]
        if not isinstance(value, dict):
            return value
        return dict(_fields(value, nulls, _NULLABLE, null_of))

    def null_of(value: Any) -> Any:
        drawn = value.get("annotations", True) if isinstance(value, dict) else value
        return nulls(value) if drawn and value else None

    return nulls(document)


def _fields(
    value: Mapping[str, Any], inside: Callable[[Any], Any], names: frozenset[str], change: Callable[[Any], Any]
) -> Iterator[tuple[str, Any]]:
    for name, each in value.items():
        if name in _WRITTEN_BY_USERS:
            yield name, each
        else:
            yield name, change(each) if name in names else inside(each)


def _milliseconds(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)


CHANGES: Mapping[Quirk, Change] = {
    # Changes are applied in this order, each to the result of the previous one.
    Quirk.DETAILS_MINIMAL: _details(_without_computed),
    Quirk.DATES_AS_OBJECTS: _dates(lambda moment: {"$date": moment.isoformat()}),
    Quirk.DATES_AS_MILLISECONDS: _dates(_milliseconds),
    Quirk.DATES_WITHOUT_ZONE: _dates(lambda moment: moment.replace(tzinfo=None).isoformat(" ")),
    Quirk.DATES_UNREADABLE: _dates(lambda moment: moment.strftime("on day %j of %Y")),
    Quirk.LABEL_ROWS_KEY: _label_rows(lambda row: {"label": row["labelText"], "key": row["label"]}),
    Quirk.LABEL_ROWS_TEXT: _label_rows(lambda row: {"label": row["label"], "labelText": row["labelText"]}),
    Quirk.LABEL_ROWS_ID_NAME: _label_rows(lambda row: {"id": row["label"], "name": row["labelText"]}),
    Quirk.LABEL_ROWS_EMPTY: _on("list_labels", "list_label_groups")(lambda _: {}),
    Quirk.NO_COMPATIBILITY: _no_compatibility,
    Quirk.INCOMPATIBLE: _on("compatibility")(
        lambda _: {"isCompatible": False, "message": "This version of the client is no longer supported"}
    ),
    Quirk.COUNTS_BARE: _counts(lambda count: count, lambda url: url, lambda progress: progress),
    Quirk.COUNTS_AS_TEXT: _counts(str, lambda url: {"signedUrl": url}, lambda progress: f"{progress:g}%"),
    Quirk.COUNTS_NESTED: _counts(
        lambda count: {"images": {"count": count, "size": 0}, "videos": {"count": 0, "size": 0}},
        lambda url: {"data": {"url": url}},
        lambda progress: {"data": {"progress": progress}},
    ),
    Quirk.REFUSED_WHEN_EMPTY: _refused_when_empty,
    Quirk.EMPTY_ACKNOWLEDGEMENTS: _empty_acknowledgement,
    Quirk.NO_CONTENT: _no_content,
    Quirk.UNKNOWN_FIELDS: _everywhere(_with_unknown_fields),
    Quirk.NUMBERS_AS_TEXT: _everywhere(_with_numbers_as_text),
    Quirk.NULLS: _everywhere(_with_nulls),
    Quirk.BARE_MESSAGES: _bare_message,
    Quirk.HTML_ERRORS: _html_error,
}
"""The quirks that concern only the form of answers."""
