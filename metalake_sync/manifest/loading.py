"""Loading a manifest: from a source to a checked manifest, or to all of its errors at once.

Owns: the order of the steps, which errors are reported together, and which keys may be in several files of one
manifest. Top-level lists of several files are concatenated. Any other key may be in one file only, or have the same
value in all. Must not: read the files that a manifest names. Longer than 300 lines, because errors of all steps are
collected and reported together.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import field
from pathlib import Path
from typing import Any, TextIO

from blake3 import blake3
from pydantic import ValidationError

from metalake_sync.errors import Location, ManifestError, ManifestErrors
from metalake_sync.key_stores.addresses import is_key_store_url, scheme_without_slashes
from metalake_sync.lazy_dataclass import dataclass
from metalake_sync.manifest.credentials import LEAK_REMEDY, find_credential, readable_by_everyone, remove_leaks
from metalake_sync.manifest.cross_checks import CREDENTIALS, check_pruned_folders, cross_check, is_embedded
from metalake_sync.manifest.models import Manifest, ResolvedCollection, resolve
from metalake_sync.manifest.reading import STANDARD_INPUT, ManifestSource, read_source
from metalake_sync.manifest.scalars import Variables
from metalake_sync.manifest.validation_errors import model_errors
from metalake_sync.manifest.yaml_tree import KeyPath, Tree, parse


@dataclass(frozen=True, slots=True)
class ManifestWarning:
    """Something that works and should be changed."""

    code: str
    message: str
    where: Location


@dataclass(frozen=True, slots=True)
class LoadedManifest:
    """A checked manifest."""

    model: Manifest = field(repr=False)
    name: str
    base_dir: Path
    """Relative paths start here."""
    source: str
    """The source as the user gave it."""
    collections: tuple[ResolvedCollection, ...]
    warnings: tuple[ManifestWarning, ...]
    _tree: Tree = field(repr=False)
    stream: bool = False
    """Whether it cannot be read again: it came from standard input or a pipe, or a program composed it."""
    given_variables: frozenset[str] = frozenset()
    """The variables that the command line and variable files set."""
    values_in: Path | None = None
    """The temporary folder of the files with a program's own values, if it has sources that are values."""

    @property
    def document(self) -> Mapping[str, Any]:
        """The manifest as plain values, with variables replaced."""
        document: Mapping[str, Any] = self._tree.value
        return document

    def where(self, *path: str | int) -> Location:
        """Return the place of a value, or of the nearest value around it: `where("collections", 0, "name")`."""
        return self._tree.place(path)

    @property
    def state(self) -> str | None:
        """Where the manifest says that the state is kept: the path of a file, or a URL. None if it says nothing.

        A text that was meant to be a URL is returned as it is, so that opening the state reports it.
        """
        said = self.model.state
        if said is None or is_key_store_url(said) or scheme_without_slashes(said) is not None or said != said.strip():
            return said
        return str(self.base_dir / said)

    def references(self, *path: str | int) -> frozenset[str]:
        """Return the names of the variables in one value."""
        return frozenset(self._tree.references.get(path, ()))

    @property
    def variables(self) -> frozenset[str]:
        """The names of the variables to which the manifest refers."""
        return frozenset(name for names in self._tree.references.values() for name in names)


def load_manifest(
    source: str,
    *,
    variables: Mapping[str, str] | None = None,
    environment: Mapping[str, str],
    stdin: TextIO | None = None,
    content: bytes | None = None,
    default_name: str | None = None,
    withheld: Container[str] = (),
) -> LoadedManifest:
    """Read and check a manifest. `source` is a file, a folder of *.yaml, a pipe, or `-` for `stdin`.

    `variables` override `environment`. `content` is the content of `source` if it was read before. `default_name` is
    used if neither the manifest nor its path has a name. `withheld` has variables of the environment that the manifest
    must not use. Raises ManifestErrors with every error and its place.
    """
    try:
        read = read_source(source, stdin, content)
    except ManifestError as error:
        raise ManifestErrors([error]) from None
    known = Variables(variables or {}, environment)
    tree = _one_tree(read, known)
    leaks = list(remove_leaks(tree, known))
    errors = [*tree.errors, *leaks, *_missing_variables(tree, withheld), *cross_check(tree)]
    errors += check_pruned_folders(tree, read.base_dir)
    try:
        model = Manifest.model_validate(tree.value)
    except ValidationError as error:
        raise _all(read, [*errors, *model_errors(error, tree)]) from None
    name = model.name or read.name or default_name
    if name is None:
        or_state = ", or give --state FILE" if read.stream else ""
        why = "Standard input" if source == STANDARD_INPUT else "A pipe" if read.stream else "This folder"
        errors.append(
            ManifestError(
                "'name' is missing",
                where=tree.place(()),
                remedy=f"{why} has no name: add 'name'{or_state}.",
            )
        )
    if errors or name is None:
        raise _all(read, errors)
    collections = tuple(resolve(index, one, model.defaults) for index, one in enumerate(model.collections))
    return LoadedManifest(
        model,
        name,
        read.base_dir,
        source,
        collections,
        tuple(_shown_warnings(tree, read.base_dir, model)),
        tree,
        stream=read.stream,
        given_variables=frozenset(variables or ()),
    )


def parse_manifest(source: str, variables: Variables) -> Mapping[str, Any]:
    """Return the values of a manifest without checking them. Raises ManifestError if it cannot be read."""
    document: Mapping[str, Any] = _one_tree(read_source(source, None), variables).value
    return document


def compose_manifest(document: Mapping[str, Any], *, name: str, base_dir: Path, source: str) -> LoadedManifest:
    """Check a manifest that a program composed. Errors name `source` as their place, because there are no lines.

    Raises ManifestErrors with every error.
    """
    tree = Tree(dict(document), places={(): Location(source)})
    tree.keys = {path: Location(source) for path in _paths(document, ())}
    errors = [*cross_check(tree), *check_pruned_folders(tree, base_dir)]
    remote = document.get("remote", {})
    if find_credential(document, [str(remote[key]) for key in CREDENTIALS if remote.get(key)]) is not None:
        errors.append(
            ManifestError("the value contains the API key or the secret", where=Location(source), remedy=LEAK_REMEDY)
        )
    try:
        model = Manifest.model_validate(document)
    except ValidationError as error:
        raise ManifestErrors([*errors, *model_errors(error, tree)]) from None
    if errors:
        raise ManifestErrors(errors)
    collections = tuple(resolve(index, one, model.defaults) for index, one in enumerate(model.collections))
    return LoadedManifest(model, name, base_dir, source, collections, (), tree, stream=True)


def _paths(value: Any, path: KeyPath) -> Iterator[KeyPath]:
    items = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ()
    for step, below in items:
        yield (*path, step)
        yield from _paths(below, (*path, step))


def _one_tree(read: ManifestSource, variables: Variables) -> Tree:
    """Parse the files and merge them. If one cannot be read, only errors of single files are reported."""
    trees: list[Tree] = []
    errors = list(read.errors)
    unreadable = bool(errors)
    found: list[ManifestError] = []
    for file in read.files:
        try:
            tree = parse(file.text, file.shown, variables)
        except ManifestError as error:
            errors.append(error)
            unreadable = True
            continue
        found += tree.errors
        if isinstance(tree.value, dict):
            trees.append(tree)
        else:
            unreadable = True
            if () not in tree.broken:
                errors.append(
                    ManifestError(
                        "the manifest is not a mapping of keys to values",
                        where=tree.place(()),
                        remedy="Start with 'version: 1'. 'metalake-sync init' writes an example.",
                    )
                )
    if unreadable:
        raise _all(read, [*errors, *found])
    return trees[0] if len(trees) == 1 else merge(trees)


LISTS = frozenset({"collections", "annotations", "metadata", "downloads", "trash"})


def merge(trees: Sequence[Tree]) -> Tree:
    """Merge the trees of several files, each of them a mapping. Places keep the name of their file."""
    merged = Tree({}, places={(): trees[0].place(())})
    for tree in trees:
        merged.errors += tree.errors
        for key, value in tree.value.items():
            held = merged.value.get(key)
            if key in LISTS and isinstance(held, list) and isinstance(value, list):
                _take(merged, tree, key, shift=len(held))
                held += value
            elif key not in merged.value:
                merged.value[key] = list(value) if isinstance(value, list) else value
                _take(merged, tree, key, shift=0)
            elif held != value:
                merged.errors.append(
                    ManifestError(
                        f"'{key}' has a different value here than at {merged.keys[(key,)]}",
                        where=tree.keys[(key,)],
                        remedy="Keep it in one file of the folder.",
                    )
                )
    return merged


def _take(merged: Tree, tree: Tree, key: str, *, shift: int) -> None:
    """Copy the places and marks of a key and of everything below it. `shift` is added to the indexes of its list."""

    def moved(path: KeyPath) -> KeyPath:
        if shift and len(path) > 1 and isinstance(path[1], int):
            return (key, path[1] + shift, *path[2:])
        return path

    def below(path: KeyPath) -> bool:
        return path[:1] == (key,)

    for path, place in tree.places.items():
        if below(path):
            merged.places.setdefault(moved(path), place)
    for path, place in tree.keys.items():
        if below(path):
            merged.keys.setdefault(moved(path), place)
    merged.literal |= {moved(path) for path in tree.literal if below(path)}
    merged.broken |= {moved(path) for path in tree.broken if below(path)}
    merged.references |= {moved(path): names for path, names in tree.references.items() if below(path)}
    merged.missing |= {moved(path): names for path, names in tree.missing.items() if below(path)}


def _missing_variables(tree: Tree, withheld: Container[str]) -> Iterator[ManifestError]:
    """Yield errors for variables without a value. An embedded lake needs no credentials, so those may be missing."""
    excused = {("remote", what) for what in CREDENTIALS} if is_embedded(tree) else set()
    for path, names in tree.missing.items():
        if path in excused:
            continue
        tree.broken.add(path)
        for name in names:
            if name in withheld:
                yield ManifestError(
                    f"the variable {name} is not read from the environment, because of --safe",
                    where=tree.place(path),
                    remedy=f"Remove it, or let the pipeline pass --var {name}=….",
                )
                continue
            yield ManifestError(
                f"the variable {name} has no value",
                where=tree.place(path),
                remedy=f"Set it in the environment, pass --var {name}=…, or write ${{{name}:-default}}.",
            )


def _shown_warnings(tree: Tree, base_dir: Path, model: Manifest) -> Iterator[ManifestWarning]:
    for warning in (*_warnings(tree), *_readable_secrets(tree, base_dir)):
        if warning.code not in model.notes.ignore:
            yield warning


def _readable_secrets(tree: Tree, base_dir: Path) -> Iterator[ManifestWarning]:
    """Warn of each file with a credential that every user of the machine can read."""
    for place in (("remote", "api_key_file"), ("remote", "secret_file"), ("notify", "secret_file")):
        file = (tree.value.get(place[0]) or {}).get(place[1])
        if file is None:
            continue
        if readable_by_everyone(base_dir / file):
            yield ManifestWarning(
                "secret_readable",
                f"'{place[1]}' names the file '{file}', which every user of this machine can read;"
                f" run: chmod o-r {shlex.quote(file)}",
                tree.place(place),
            )


def _warnings(tree: Tree) -> Iterator[ManifestWarning]:
    for what in CREDENTIALS:
        if ("remote", what) in tree.literal and tree.value["remote"][what]:
            yield ManifestWarning(
                "literal_secret",
                f"'{what}' is written in the manifest itself; write ${{LAYERNEXT_{what.upper()}}}, and set that "
                "variable",
                tree.place(("remote", what)),
            )
    notify = tree.value.get("notify")
    if not notify:
        return
    if not notify.get("secret") and not notify.get("secret_file"):
        yield ManifestWarning(
            "unsigned_webhook",
            "messages of the webhook are not signed, so anyone who knows its address can forge them; set "
            "'secret' or 'secret_file'",
            tree.place(("notify",)),
        )
    elif ("notify", "secret") in tree.literal:
        yield ManifestWarning(
            "literal_secret",
            "'secret' is written in the manifest itself; write ${NOTIFY_SECRET}, and set that variable",
            tree.place(("notify", "secret")),
        )


def _all(read: ManifestSource, errors: Sequence[ManifestError]) -> ManifestErrors:
    """Return all errors in the order of files and lines."""
    files = {file.shown: number for number, file in enumerate(read.files)}

    def place(error: ManifestError) -> tuple[int, int, int]:
        where = error.where
        if not isinstance(where, Location):
            return -1, 0, 0
        return files.get(where.file, -1), where.line or 0, where.column or 0

    return ManifestErrors(sorted(errors, key=place))


def manifest_digest(manifest: LoadedManifest) -> str:
    """Return the BLAKE3 hash of the manifest with variables replaced. A saved plan stores it.

    It does not depend on credentials or on where they come from.
    """
    said = manifest.model.model_dump(mode="json", exclude={"remote"})
    text = json.dumps({**said, "lake": manifest.model.remote.url}, sort_keys=True)
    if manifest.values_in is not None:
        # Its name is random, so it differs for equal values.
        text = text.replace(json.dumps(str(manifest.values_in))[1:-1], "")
    return blake3(text.encode("utf-8", "surrogatepass")).hexdigest()
