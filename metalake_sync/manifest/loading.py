"""From a source to a manifest that holds together, or to all of its mistakes at once.

Owns: the order of the steps, and which mistakes are told together. Must not: look at the files that a manifest names.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import field
from pathlib import Path
from typing import Any, TextIO

from pydantic import ValidationError

from metalake_sync.errors import Location, ManifestError, ManifestErrors
from metalake_sync.lazy_dataclass import dataclass
from metalake_sync.manifest.cross_checks import CREDENTIALS, disagreements, is_embedded
from metalake_sync.manifest.merging import merge
from metalake_sync.manifest.models import Manifest
from metalake_sync.manifest.reading import STANDARD_INPUT, ManifestSource, read_source
from metalake_sync.manifest.resolved import ResolvedCollection, resolve
from metalake_sync.manifest.secrecy import REMEDY, holding, take_out_leaks
from metalake_sync.manifest.validation_errors import complaints
from metalake_sync.manifest.variables import Variables
from metalake_sync.manifest.yaml_tree import KeyPath, Tree, parse


@dataclass(frozen=True, slots=True)
class ManifestWarning:
    """Something that works and should not stay."""

    code: str
    message: str
    where: Location


@dataclass(frozen=True, slots=True)
class LoadedManifest:
    """A manifest that holds together. `base_dir`: relative paths hang from here. `source`: as the user gave it.
    `stream`: it came from standard input or a pipe, and can't be read again."""

    model: Manifest = field(repr=False)
    name: str
    base_dir: Path
    source: str
    collections: tuple[ResolvedCollection, ...]
    warnings: tuple[ManifestWarning, ...]
    _tree: Tree = field(repr=False)
    stream: bool = False

    @property
    def document(self) -> Mapping[str, Any]:
        """The manifest as plain values, with its variables filled in."""
        document: Mapping[str, Any] = self._tree.value
        return document

    def where(self, *path: str | int) -> Location:
        """Where a key's value stands, or the nearest thing around it: `where("collections", 0, "name")`."""
        return self._tree.place(path)


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
    """Read and check a manifest. `source`: a file, a folder of *.yaml, a pipe, or `-` for `stdin`.

    `variables` beat `environment`. `content`: what was read from `source` already. `default_name`: for a manifest
    without a name of its own that has no file or folder to take it from. `withheld`: variables of the environment that
    this manifest may not name.
    Raises ManifestErrors with every mistake, each with its place.
    """
    try:
        read = read_source(source, stdin, content)
    except ManifestError as error:
        raise ManifestErrors([error]) from None
    known = Variables(variables or {}, environment)
    tree = _one_tree(read, known)
    leaks = list(take_out_leaks(tree, known))
    errors = [*tree.errors, *leaks, *_missing_variables(tree, withheld), *disagreements(tree)]
    try:
        model = Manifest.model_validate(tree.value)
    except ValidationError as error:
        raise _all(read, [*errors, *complaints(error, tree)]) from None
    name = model.name or read.name or default_name
    if name is None:
        or_state = ", or give --state FILE" if read.stream else ""
        why = "Standard input" if source == STANDARD_INPUT else "A pipe" if read.stream else "This folder"
        errors.append(
            ManifestError(
                "'name' is missing",
                where=tree.place(()),
                remedy=f"{why} has none to take: add 'name'{or_state}.",
            )
        )
    if errors or name is None:
        raise _all(read, errors)
    collections = tuple(resolve(index, one, model.defaults) for index, one in enumerate(model.collections))
    return LoadedManifest(
        model, name, read.base_dir, source, collections, tuple(_warnings(tree)), tree, stream=read.stream
    )


def compose_manifest(document: Mapping[str, Any], *, name: str, base_dir: Path, source: str) -> LoadedManifest:
    """Check a manifest that a program put together. `source`: what its mistakes are told of: there are no lines.

    Raises ManifestErrors with every mistake.
    """
    tree = Tree(dict(document), places={(): Location(source)})
    tree.keys = {path: Location(source) for path in _paths(document, ())}
    errors = list(disagreements(tree))
    remote = document.get("remote", {})
    if holding(document, [str(remote[key]) for key in CREDENTIALS if remote.get(key)]) is not None:
        errors.append(ManifestError("it holds the API key or the secret", where=Location(source), remedy=REMEDY))
    try:
        model = Manifest.model_validate(document)
    except ValidationError as error:
        raise ManifestErrors([*errors, *complaints(error, tree)]) from None
    if errors:
        raise ManifestErrors(errors)
    collections = tuple(resolve(index, one, model.defaults) for index, one in enumerate(model.collections))
    return LoadedManifest(model, name, base_dir, source, collections, (), tree)


def _paths(value: Any, path: KeyPath) -> Iterator[KeyPath]:
    items = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ()
    for step, below in items:
        yield (*path, step)
        yield from _paths(below, (*path, step))


def _one_tree(read: ManifestSource, variables: Variables) -> Tree:
    """Parse the files and merge them. While one of them can't be read, what is missing in the others is not known."""
    trees: list[Tree] = []
    errors = list(read.errors)
    unreadable = bool(errors)
    told: list[ManifestError] = []
    for file in read.files:
        try:
            tree = parse(file.text, file.shown, variables)
        except ManifestError as error:
            errors.append(error)
            unreadable = True
            continue
        told += tree.errors
        if isinstance(tree.value, dict):
            trees.append(tree)
        else:
            unreadable = True
            if () not in tree.broken:
                errors.append(
                    ManifestError(
                        "the manifest is no mapping of keys to values",
                        where=tree.place(()),
                        remedy="Begin with 'version: 1'; 'metalake-sync init' writes one to start from.",
                    )
                )
    if unreadable:
        raise _all(read, [*errors, *told])
    return trees[0] if len(trees) == 1 else merge(trees)


def _missing_variables(tree: Tree, withheld: Container[str]) -> Iterator[ManifestError]:
    """A variable without a value is a mistake, but for the credentials of an embedded lake, which asks for none."""
    excused = {("remote", what) for what in CREDENTIALS} if is_embedded(tree) else set()
    for path, names in tree.missing.items():
        if path in excused:
            continue
        tree.broken.add(path)
        for name in names:
            if name in withheld:
                yield ManifestError(
                    f"the variable {name} is not read from the environment with --safe",
                    where=tree.place(path),
                    remedy=f"Take it out, or let the pipeline give --var {name}=….",
                )
                continue
            yield ManifestError(
                f"the variable {name} has no value",
                where=tree.place(path),
                remedy=f"Set it in the environment, give --var {name}=…, or write ${{{name}:-default}}.",
            )


def _warnings(tree: Tree) -> Iterator[ManifestWarning]:
    for what in CREDENTIALS:
        if ("remote", what) in tree.literal and tree.value["remote"][what]:
            yield ManifestWarning(
                "literal_secret",
                f"'{what}' stands in the manifest itself; write ${{LAYERNEXT_{what.upper()}}}, and set the variable",
                tree.place(("remote", what)),
            )
    notify = tree.value.get("notify")
    if not notify:
        return
    if not notify.get("secret") and not notify.get("secret_file"):
        yield ManifestWarning(
            "unsigned_webhook",
            "whoever knows the webhook's address can forge its messages; give 'secret' or 'secret_file' to sign them",
            tree.place(("notify",)),
        )
    elif ("notify", "secret") in tree.literal:
        yield ManifestWarning(
            "literal_secret",
            "'secret' stands in the manifest itself; write ${NOTIFY_SECRET}, and set the variable",
            tree.place(("notify", "secret")),
        )


def _all(read: ManifestSource, errors: Sequence[ManifestError]) -> ManifestErrors:
    """In the order of the files and of their lines."""
    files = {file.shown: number for number, file in enumerate(read.files)}

    def place(error: ManifestError) -> tuple[int, int, int]:
        where = error.where
        if not isinstance(where, Location):
            return -1, 0, 0
        return files.get(where.file, -1), where.line or 0, where.column or 0

    return ManifestErrors(sorted(errors, key=place))
