"""The manifest in use: its runner, its places and its webhook, created each time the manifest is read."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from metalake_sync.lazy_dataclass import dataclass
from metalake_sync.manifest.remote_models import Notify
from metalake_sync.project import Project
from metalake_sync.sources.regular_files import read_small_file
from metalake_sync.watch.filesystems import Mounts
from metalake_sync.watch.notify import Webhook, WebhookEvent
from metalake_sync.watch.runner import ProjectRunner
from metalake_sync.watch.watched_paths import Places, places_of

SECRET_LIMIT_BYTES = 64 << 10

log = logging.getLogger("metalake_sync.watch")


@dataclass(frozen=True, slots=True)
class ActiveManifest:
    """A manifest in use. Close it when another one replaces it."""

    runner: ProjectRunner
    places: Places
    base_dir: str
    webhook: Webhook | None

    def close(self) -> None:
        self.runner.annotation_cache.close()
        if self.webhook is not None:
            self.webhook.close()


def activate(project: Project, own_files: Sequence[Path], *, auto_approve: bool) -> ActiveManifest:
    """Create the parts that watch a loaded manifest. `own_files`: the manifest, and its files of variables."""
    manifest = project.manifest
    places = places_of(manifest, own_files[0], own_files[1:])
    notify = manifest.model.notify
    for warning in manifest.warnings:
        log.warning("%s: %s", warning.where, warning.message)
    return ActiveManifest(
        ProjectRunner(project, lambda: auto_approve, Mounts(places.roots)),
        places,
        os.path.abspath(manifest.base_dir),
        None if notify is None else _webhook(notify, manifest.base_dir, manifest.name),
    )


def _webhook(notify: Notify, base_dir: Path, name: str) -> Webhook:
    events: frozenset[WebhookEvent] = frozenset(notify.on)
    return Webhook(notify.url, _secret_of(notify, base_dir), events=events, common={"manifest": name})


def _secret_of(notify: Notify, base_dir: Path) -> Callable[[], bytes | None]:
    def secret() -> bytes | None:
        if notify.secret_file is not None:
            return read_small_file(base_dir / notify.secret_file, SECRET_LIMIT_BYTES).strip()
        return notify.secret.get_secret_value().encode() if notify.secret is not None else None

    return secret
