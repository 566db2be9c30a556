"""Checks of a manifest that concern several keys or blocks.

Owns: duplicate collections, collections without a type, annotations of videos, operations that contradict themselves,
downloads and trash rules that select nothing or too much, and the number of sources of a credential. It reads the raw
tree, so that these errors are reported together with those of single keys. Values of a wrong type are ignored here,
because `validation_errors` reports them. Must not: read files. Longer than 300 lines, because these errors are
collected in one pass over the raw tree.
"""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from metalake_sync.core.hosts import is_loopback
from metalake_sync.errors import Location, ManifestError
from metalake_sync.manifest.remote_models import EMBEDDED
from metalake_sync.manifest.yaml_tree import KeyPath, Tree

CREDENTIALS = ("api_key", "secret")

_STATE_FOLDER = ".metalake-sync"
"""The folder of the state beside the manifest, where the manifest does not name another one."""

_OPERATION_WIDE = {"kind": None, "mode": "replace", "normalized": False, "on_drift": "ask"}


def is_embedded(tree: Tree) -> bool:
    url = _mapping(_mapping(tree.value).get("remote")).get("url")
    return isinstance(url, str) and url.startswith(EMBEDDED)


def cross_check(tree: Tree) -> Iterator[ManifestError]:
    """Yield every error that concerns several keys, in no particular order."""
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
    folders: dict[str, tuple[str, Location]] = {}
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
                    "a trash rule for the whole lake without 'query' or 'filter' would trash everything",
                    where=tree.place(("trash", index)),
                    remedy="Add 'query' or 'filter'.",
                )


def _selection(what: str, block: Mapping[str, Any], path: KeyPath, tree: Tree) -> Iterator[ManifestError]:
    """Check that exactly one of 'collection' and 'lake' is set."""
    said = [key for key in ("collection", "lake") if block.get(key) is not None]
    if not said:
        remedy = "Add 'collection: NAME', or 'lake: image' (or video, other)."
        yield ManifestError(f"the {what} needs either 'collection' or 'lake'", where=tree.place(path), remedy=remedy)
    elif len(said) == 2:
        place = tree.keys[(*path, "lake")]
        yield ManifestError("'collection' and 'lake' cannot be used together", where=place, remedy="Keep one of them.")
    elif said == ["lake"] and block.get("type") is not None:
        place = tree.keys[(*path, "type")]
        yield ManifestError(
            "'type' cannot be used with 'lake', which sets the type", where=place, remedy="Remove 'type'."
        )


def _whole(block: Mapping[str, Any], path: KeyPath, manifest: Mapping[str, Any], tree: Tree) -> Iterator[ManifestError]:
    """Check that a rule with 'whole' has no filter, and that the manifest does not sync the same collection."""
    if _word(block.get("whole")) != "true":
        return
    if block.get("collection") is None:
        place = tree.keys[(*path, "whole")]
        yield ManifestError("'whole' needs 'collection'", where=place, remedy="Add 'collection: NAME'.")
    for key in ("query", "filter"):
        if block.get(key):
            place = tree.keys[(*path, key)]
            remedy = f"Remove one of them. Without 'whole', the rule trashes the items that match '{key}'."
            yield ManifestError(f"'whole' and '{key}' cannot be used together", where=place, remedy=remedy)
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
    block: Mapping[str, Any], path: KeyPath, tree: Tree, folders: dict[str, tuple[str, Location]]
) -> Iterator[ManifestError]:
    """Check that each download and split has its own folder, and that annotations come from a collection."""
    if block.get("lake") is not None and block.get("annotations") is not None:
        yield ManifestError(
            "annotations cannot be downloaded for the whole lake",
            where=tree.keys[(*path, "annotations")],
            remedy="Remove 'annotations', or select a 'collection': the lake returns annotations per collection.",
        )
    with_metadata = _word(block.get("metadata")) == "true"
    if block.get("media") is False and block.get("annotations") is None and not with_metadata:
        yield ManifestError(
            "the download selects neither files nor annotations",
            where=tree.keys[(*path, "media")],
            remedy="Add 'annotations: {}', or remove 'media: false'.",
        )
    if block.get("metadata_fields") and not with_metadata:
        yield ManifestError(
            "'metadata_fields' has no effect without 'metadata'",
            where=tree.keys[(*path, "metadata_fields")],
            remedy="Add 'metadata: true', or remove 'metadata_fields'.",
        )
    to = block.get("to")
    if not isinstance(to, str) or (*path, "to") in tree.broken:
        return
    yield from _backup_dir(block, to, path, tree)
    here = tree.place((*path, "to"))
    parts = _mapping(_mapping(block.get("splits")).get("parts"))
    for folder in (to, *(os.path.join(to, str(name)) for name in parts)):
        path_of_folder = os.path.normpath(folder)
        # Some file systems treat names as equal that differ in case or Unicode form.
        folded = unicodedata.normalize("NFC", unicodedata.normalize("NFC", path_of_folder).casefold())
        first, before = folders.setdefault(folded, (path_of_folder, here))
        if before is here and first == path_of_folder:
            continue
        if first == path_of_folder:
            problem = f"two downloads go into '{folder}'; the first is at {before}"
        elif before is here:
            problem = f"the folders '{first}' and '{path_of_folder}' of two splits are one folder on some file systems"
        else:
            problem = f"'{folder}' and '{first}' at {before} are one folder on some file systems"
        yield ManifestError(problem, where=here, remedy="Give each download and each split its own folder.")


def check_pruned_folders(tree: Tree, base_dir: Path) -> Iterator[ManifestError]:
    """Check that no download removes files beside the manifest or its state. `base_dir`: the folder of the manifest."""
    manifest = _mapping(tree.value)
    base = os.path.abspath(base_dir)
    kept = {base: "the manifest", os.path.join(base, _STATE_FOLDER): "the state"}
    state = manifest.get("state")
    if isinstance(state, str) and "://" not in state and ("state",) not in tree.broken:
        kept.setdefault(os.path.dirname(os.path.normpath(os.path.join(base, state))), "the state")
    for index, block in enumerate(_entries(manifest.get("downloads"))):
        path: KeyPath = ("downloads", index, "to")
        to = _mapping(block).get("to")
        if not isinstance(to, str) or path in tree.broken or _word(_mapping(block).get("prune")) != "true":
            continue
        holds = kept.get(os.path.normpath(os.path.join(base, to)))
        if holds is not None:
            yield ManifestError(
                f"a download with 'prune' goes into the folder of {holds}",
                where=tree.place(path),
                remedy="Choose a folder of its own, or remove 'prune'.",
            )


def _backup_dir(block: Mapping[str, Any], to: str, path: KeyPath, tree: Tree) -> Iterator[ManifestError]:
    """Check that removed files are kept outside of the folder of the download, and only with 'prune'."""
    backup = block.get("backup_dir")
    if not isinstance(backup, str) or (*path, "backup_dir") in tree.broken:
        return
    where = tree.place((*path, "backup_dir"))
    if _word(block.get("prune")) != "true":
        remedy = "Add 'prune: true', or remove 'backup_dir'."
        yield ManifestError("'backup_dir' has no effect without 'prune'", where=where, remedy=remedy)
    folders = [os.path.join(os.path.normpath(os.path.join("/base", one)), "") for one in (to, backup)]
    if folders[0].startswith(folders[1]) or folders[1].startswith(folders[0]):
        yield ManifestError(
            "'backup_dir' and 'to' overlap",
            where=where,
            remedy="Choose a folder outside of 'to', such as one beside it.",
        )


def _credential(what: str, remote: Mapping[str, Any], tree: Tree) -> Iterator[ManifestError]:
    said = [key for key in (what, f"{what}_file", f"{what}_command") if remote.get(key) is not None]
    # An empty variable does not count, because environments often use it for "not set".
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
        if said[0] == what:  # an empty text is already an error of the other two
            yield ManifestError(
                f"'{what}' is empty", where=tree.place(("remote", what)), remedy="Set the variable that it comes from."
            )
    else:
        yield ManifestError(
            f"'{what}' is missing",
            where=tree.place(("remote",)),
            remedy=f"Add '{what}: ${{LAYERNEXT_{what.upper()}}}', or {what}_file or {what}_command.",
        )


def _plain_http(remote: Mapping[str, Any], tree: Tree) -> Iterator[ManifestError]:
    """Report plain HTTP to another machine."""
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
            "'url' is plain HTTP to another machine: anyone on the network path could read the key and the files",
            where=tree.place(("remote", "url")),
            remedy="Write https://, or allow it with 'allow_insecure: true'.",
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
            remedy="Add 'type: image' (or video, other).",
        )
    if not isinstance(name, str) or not isinstance(media_type, str) or (*path, "name") in tree.broken:
        return
    here = tree.place((*path, "name"))
    before = first.setdefault((name, media_type), here)
    if before is not here:
        yield ManifestError(
            f"collection '{name}' of type {media_type} is defined twice; the first definition is at {before}",
            where=here,
            remedy="Merge the two blocks, or rename one of them.",
        )


def _only_images(
    block: Mapping[str, Any], defaults: Mapping[str, Any], path: KeyPath, tree: Tree
) -> Iterator[ManifestError]:
    media_type = _type(block, defaults)
    if media_type not in ("video", "other"):
        return
    if block.get("annotations"):
        place, remedy = tree.keys[(*path, "annotations")], "Remove 'annotations', or fix 'type'."
    elif "annotations" not in block and defaults.get("annotations"):
        place, remedy = tree.place(path), "Add 'annotations: []' here, because those of 'defaults' apply to it too."
    else:
        return
    yield ManifestError(f"a collection of type {media_type} cannot have annotations", where=place, remedy=remedy)


def _operations(annotations: Any, path: KeyPath, tree: Tree) -> Iterator[ManifestError]:
    """Check that all blocks of one operation have the same 'kind', 'mode' and 'normalized'. For unmanaged images, this
    applies to each address."""
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
                    f"operation '{operation}' has a different '{key}' than at {tree.place((*path, earlier, key))}",
                    where=tree.place((*path, number, key)),
                    remedy=f"Give all blocks of an operation the same '{key}', or this one another 'operation'.",
                )


def _annotated_twice(manifest: Mapping[str, Any], defaults: Mapping[str, Any], tree: Tree) -> Iterator[ManifestError]:
    """Check that an operation of a collection is defined in one place, because two would remove each other's sets."""
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
                f"operation '{names[1]}' of collection '{names[0]}' is in the collection itself, too, at"
                f" {tree.place(at_home[names])}",
                where=tree.place(("annotations", number)),
                remedy="Keep one of them.",
            )


def _type(block: Mapping[str, Any], defaults: Mapping[str, Any]) -> Any:
    own = block.get("type")
    return own if own is not None else defaults.get("type")


def _word(value: Any) -> str:
    """Return a value as lowercase text, because a variable has `true` as text."""
    return str(value).lower()


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _entries(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list) else ()
