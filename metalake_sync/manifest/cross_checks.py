"""Whether the blocks of a manifest agree with one another: what no block can tell of itself.

Owns: two collections of one name, collections without a type, annotations where no images are, operations that
contradict themselves, downloads and trash rules that mean nothing or too much, and where credentials come from. Looks
at the raw tree, so that these mistakes are told together with those of the single keys; what has the wrong form is
passed over here, because `complaints` tells it. Must not: look at files.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from metalake_sync.core.hosts import is_loopback
from metalake_sync.errors import Location, ManifestError
from metalake_sync.manifest.models import EMBEDDED
from metalake_sync.manifest.yaml_tree import KeyPath, Tree

CREDENTIALS = ("api_key", "secret")

_OPERATION_WIDE = {"kind": None, "mode": "replace", "normalized": False}


def is_embedded(tree: Tree) -> bool:
    url = _mapping(_mapping(tree.value).get("remote")).get("url")
    return isinstance(url, str) and url.startswith(EMBEDDED)


def disagreements(tree: Tree) -> Iterator[ManifestError]:
    """Every mistake that lies between keys, in no particular order."""
    manifest = _mapping(tree.value)
    remote = manifest.get("remote")
    if isinstance(remote, Mapping):
        for what in CREDENTIALS:
            yield from _credential(what, remote, tree)
        yield from _plain_http(remote, tree)
    defaults = _mapping(manifest.get("defaults"))
    yield from _operations(defaults.get("annotations"), ("defaults", "annotations"), tree)
    yield from _operations(manifest.get("annotations"), ("annotations",), tree)
    yield from _annotated_twice(manifest, defaults, tree)
    first: dict[tuple[str, str], Location] = {}
    for index, block in enumerate(_entries(manifest.get("collections"))):
        if isinstance(block, Mapping):
            path: KeyPath = ("collections", index)
            yield from _identity(block, defaults, path, tree, first)
            yield from _only_images(block, defaults, path, tree)
            yield from _operations(block.get("annotations"), (*path, "annotations"), tree)
    folders: dict[str, Location] = {}
    for index, block in enumerate(_entries(manifest.get("downloads"))):
        if isinstance(block, Mapping):
            yield from _selection("download", block, ("downloads", index), tree)
            yield from _download(block, ("downloads", index), tree, folders)
    for index, block in enumerate(_entries(manifest.get("trash"))):
        if isinstance(block, Mapping):
            yield from _selection("trash rule", block, ("trash", index), tree)
            yield from _whole(block, ("trash", index), manifest, tree)
            if block.get("lake") and not block.get("query") and not _mapping(block.get("filter")):
                yield ManifestError(
                    "a trash rule for the whole lake means everything in it",
                    where=tree.place(("trash", index)),
                    remedy="Add 'query' or 'filter'.",
                )


def _selection(what: str, block: Mapping[str, Any], path: KeyPath, tree: Tree) -> Iterator[ManifestError]:
    """Items are those of one collection, or of the whole lake."""
    said = [key for key in ("collection", "lake") if block.get(key) is not None]
    if not said:
        remedy = "Add 'collection: NAME', or 'lake: image', video or other."
        yield ManifestError(f"the {what} says not what it means", where=tree.place(path), remedy=remedy)
    elif len(said) == 2:
        place = tree.keys[(*path, "lake")]
        yield ManifestError("'collection' and 'lake' exclude one another", where=place, remedy="Keep one of them.")
    elif said == ["lake"] and block.get("type") is not None:
        place = tree.keys[(*path, "type")]
        yield ManifestError("'lake' says the type already", where=place, remedy="Take 'type' out.")


def _whole(block: Mapping[str, Any], path: KeyPath, manifest: Mapping[str, Any], tree: Tree) -> Iterator[ManifestError]:
    """A rule that trashes a collection itself narrows nothing, and the manifest does not sync that collection."""
    if _word(block.get("whole")) != "true":
        return
    if block.get("collection") is None:
        place = tree.keys[(*path, "whole")]
        yield ManifestError("'whole' goes with 'collection' only", where=place, remedy="Name the collection.")
    for key in ("query", "filter"):
        if block.get(key):
            place = tree.keys[(*path, key)]
            remedy = f"Remove one of the two: without 'whole', the rule trashes the items that match '{key}'."
            yield ManifestError(f"'whole' and '{key}' exclude each other", where=place, remedy=remedy)
    defaults = _mapping(manifest.get("defaults"))
    for index, other in enumerate(_entries(manifest.get("collections"))):
        same_name = _mapping(other).get("name") == block.get("collection") is not None
        if same_name and block.get("type") in (None, _type(_mapping(other), defaults)):
            yield ManifestError(
                f"the rule trashes the collection '{block['collection']}', and this manifest syncs it, at"
                f" {tree.place(('collections', index))}",
                where=tree.place(path),
                remedy="Remove the rule, or the collection.",
            )


def _download(
    block: Mapping[str, Any], path: KeyPath, tree: Tree, folders: dict[str, Location]
) -> Iterator[ManifestError]:
    """Each download has a folder of its own, and annotations are those of a collection."""
    if block.get("lake") is not None and block.get("annotations") is not None:
        yield ManifestError(
            "annotations of the whole lake can't be had",
            where=tree.keys[(*path, "annotations")],
            remedy="Take them out, or name a 'collection': the lake gives annotations collection by collection.",
        )
    if block.get("media") is False and block.get("annotations") is None:
        yield ManifestError(
            "the download wants neither files nor annotations",
            where=tree.keys[(*path, "media")],
            remedy="Add 'annotations: {}', or take 'media' out.",
        )
    to = block.get("to")
    if not isinstance(to, str) or (*path, "to") in tree.broken:
        return
    here = tree.place((*path, "to"))
    before = folders.setdefault(os.path.normpath(to), here)
    if before is not here:
        yield ManifestError(
            f"two downloads go into '{to}'; the first is at {before}", where=here, remedy="Give each its own folder."
        )


def _credential(what: str, remote: Mapping[str, Any], tree: Tree) -> Iterator[ManifestError]:
    said = [key for key in (what, f"{what}_file", f"{what}_command") if remote.get(key) is not None]
    # An empty variable is no second source: in an environment "not set" is often written so.
    given = [key for key in said if remote[key] != "" or ("remote", key) in tree.broken]
    if len(given) > 1:
        yield ManifestError(
            f"'{given[0]}' and '{given[1]}' both give the {what.replace('_', ' ')}",
            where=tree.keys[("remote", given[1])],
            remedy="Keep one of them.",
        )
    elif given or is_embedded(tree):
        return
    elif said:
        if said[0] == what:  # of the other two, an empty text is a mistake of its own
            yield ManifestError(
                f"'{what}' is empty", where=tree.place(("remote", what)), remedy="Give the variable a value."
            )
    else:
        yield ManifestError(
            f"'{what}' is missing",
            where=tree.place(("remote",)),
            remedy=f"Add '{what}: ${{LAYERNEXT_{what.upper()}}}', or {what}_file or {what}_command.",
        )


def _plain_http(remote: Mapping[str, Any], tree: Tree) -> Iterator[ManifestError]:
    """A key that goes to another machine in the open."""
    url = remote.get("url")
    if not isinstance(url, str) or remote.get("allow_insecure") is True:
        return
    try:
        parts = urlsplit(url)
        plain = parts.scheme == "http" and bool(parts.hostname) and not is_loopback(parts.hostname or "")
    except ValueError:
        return
    if plain:
        yield ManifestError(
            "'url' is plain HTTP to another machine: everybody on the way could read key and files",
            where=tree.place(("remote", "url")),
            remedy="Write https://, or allow it with 'allow_insecure: true' beside it.",
        )


def _identity(
    block: Mapping[str, Any],
    defaults: Mapping[str, Any],
    path: KeyPath,
    tree: Tree,
    first: dict[tuple[str, str], Location],
) -> Iterator[ManifestError]:
    name, media_type = block.get("name"), _type(block, defaults)
    if media_type is None:
        yield ManifestError(
            f"collection '{name}' has no type" if isinstance(name, str) else "the collection has no type",
            where=tree.place(path),
            remedy="Add 'type: image', video or other.",
        )
    if not isinstance(name, str) or not isinstance(media_type, str) or (*path, "name") in tree.broken:
        return
    here = tree.place((*path, "name"))
    before = first.setdefault((name, media_type), here)
    if before is not here:
        yield ManifestError(
            f"collection '{name}' of type {media_type} stands here a second time; the first is at {before}",
            where=here,
            remedy="Make one block of the two, or give one of them another name.",
        )


def _only_images(
    block: Mapping[str, Any], defaults: Mapping[str, Any], path: KeyPath, tree: Tree
) -> Iterator[ManifestError]:
    media_type = _type(block, defaults)
    if media_type not in ("video", "other"):
        return
    if block.get("annotations"):
        place, remedy = tree.keys[(*path, "annotations")], "Take them out, or correct 'type'."
    elif "annotations" not in block and defaults.get("annotations"):
        place, remedy = tree.place(path), "Add 'annotations: []' here: those of 'defaults' hold for it too."
    else:
        return
    yield ManifestError(f"a collection of type {media_type} takes no annotations", where=place, remedy=remedy)


def _operations(annotations: Any, path: KeyPath, tree: Tree) -> Iterator[ManifestError]:
    """Several blocks may feed one operation, but it has one kind, one mode and one meaning of its numbers. Where images
    are addressed, that holds for each address."""
    first: dict[tuple[str, ...], int] = {}
    blocks = _entries(annotations)
    for number, block in enumerate(blocks):
        operation = _mapping(block).get("operation")
        if not isinstance(operation, str) or (*path, number, "operation") in tree.broken:
            continue
        address = [_word(_mapping(block).get(key)) for key in ("by", "bucket", "job", "collection")]
        earlier = first.setdefault((operation, *address), number)
        for key, default in _OPERATION_WIDE.items():
            if _word(block.get(key, default)) != _word(blocks[earlier].get(key, default)):
                yield ManifestError(
                    f"operation '{operation}' has another '{key}' here than at {tree.place((*path, earlier, key))}",
                    where=tree.place((*path, number, key)),
                    remedy=f"Give all blocks of an operation the same '{key}', or this one another 'operation'.",
                )


def _annotated_twice(manifest: Mapping[str, Any], defaults: Mapping[str, Any], tree: Tree) -> Iterator[ManifestError]:
    """One operation of a collection has one place in the manifest: two would clear each other's sets."""
    at_home: dict[tuple[str, str], KeyPath] = {}
    for index, block in enumerate(_entries(manifest.get("collections"))):
        source, base = (
            (block, ("collections", index)) if "annotations" in _mapping(block) else (defaults, ("defaults",))
        )
        for number, annotation in enumerate(_entries(_mapping(source).get("annotations"))):
            names = (_word(_mapping(block).get("name")), _word(_mapping(annotation).get("operation")))
            at_home.setdefault(names, (*base, "annotations", number, "operation"))
    for number, block in enumerate(_entries(manifest.get("annotations"))):
        names = (_word(_mapping(block).get("collection")), _word(_mapping(block).get("operation")))
        if names in at_home:
            yield ManifestError(
                f"operation '{names[1]}' of collection '{names[0]}' stands in the collection itself too, at"
                f" {tree.place(at_home[names])}",
                where=tree.place(("annotations", number)),
                remedy="Keep one of the two.",
            )


def _type(block: Mapping[str, Any], defaults: Mapping[str, Any]) -> Any:
    own = block.get("type")
    return own if own is not None else defaults.get("type")


def _word(value: Any) -> str:
    """A variable gives `true` as a text."""
    return str(value).lower()


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _entries(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list) else ()
