"""`metalake-sync watch`: watches for changes and syncs them continuously. Its log goes to standard error."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from metalake_sync.cli.log_lines import json_line
from metalake_sync.cli.manifest_options import WORKERS, ManifestFlags, RunFlags, max_delete_of, observes, takes_manifest
from metalake_sync.cli.options import option
from metalake_sync.cli.terminal import echo_json, shown
from metalake_sync.core.events import Event
from metalake_sync.errors import SyncError, UsageError
from metalake_sync.redaction import redact

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from metalake_sync.core.events import EventSink
    from metalake_sync.engine import Engine
    from metalake_sync.planning.run_options import RunOptions
    from metalake_sync.watch.health import Health, HealthServer, Metrics


@click.command("watch", epilog="Example: metalake-sync watch birds.yaml --settle 5 --metrics 127.0.0.1:9464")
@takes_manifest
@observes
@option(
    "--settle", type=click.FloatRange(0.05), default=2.0, show_default=True, metavar="SECONDS",
    help="Seconds that a file must be unchanged before it is synced.",
)  # fmt: skip
@option(
    "--rescan", type=click.FloatRange(1), default=600.0, show_default=True, metavar="SECONDS",
    help="Seconds between full scans, including the lake.",
)  # fmt: skip
@option(
    "--poll", type=click.FloatRange(0.1), metavar="SECONDS",
    help="Seconds between scans of the folders, instead of notifications."
    " [default: 10, only where notifications do not work]",
)  # fmt: skip
@option("--metrics", metavar="ADDR:PORT", help="Serve /metrics (Prometheus) and /healthz on this address.")
@option(
    "--ui",
    metavar="ADDR:PORT",
    help="Serve the pages of 'ui' on this loopback address, with the daemon's state. Prints the first address.",
)
@option(
    "--max-delete",
    metavar="N|P%",
    help="Hold the actions of a run that need approval if it would trash or replace more files."
    " [default: 50% of a collection or 1000 files, whichever is smaller]",
)
@option(
    "--auto-approve",
    is_flag=True,
    help="Trash, replace, remove and overwrite without approval. By default, such actions are held.",
)
@WORKERS
def watch_command(
    flags: ManifestFlags,
    run: RunFlags,
    settle: float,
    rescan: float,
    poll: float | None,
    metrics: str | None,
    ui: str | None,
    auto_approve: bool,
    max_delete: str | None,
    workers: str | None,
) -> None:
    """Watch for changes and sync them continuously: new, changed and deleted files, annotations and manifest lines.

    Actions that trash, replace or remove something, or overwrite what another client wrote, are held and logged unless
    --auto-approve is given. The other actions continue. SIGTERM ends the command after the current run, within 30 s. A
    second SIGTERM ends it at once. SIGHUP reads the manifest again.
    """
    from metalake_sync.manifest.reading import is_stream
    from metalake_sync.state.backends.file import FileBackend, watch_lock
    from metalake_sync.watch.health import Health, ServiceManager
    from metalake_sync.watch.hints import HintBox
    from metalake_sync.watch.loop import Signals, Watcher
    from metalake_sync.watch.reporter import log
    from metalake_sync.watch.runner import ActiveManifest, activate
    from metalake_sync.watch.scheduler import WatchTiming
    from metalake_sync.watch.skipped_files import ignore_lease_breaks
    from metalake_sync.watch.triggers import Triggers

    for source in (flags.manifest, *flags.var_file):
        if is_stream(source):
            what = "standard input" if source == "-" else f"'{source}' is a pipe, which"
            raise UsageError(f"{what} cannot be watched", remedy="Write its content to a file.")
    if run.checksum:
        raise UsageError("'--checksum' would read every file again after every change", remedy="Use it with 'apply'.")
    start_log(as_json=flags.as_json or flags.json_log, quiet=flags.quiet, verbose=flags.verbose)
    watcher: Watcher | None = None

    def on_event(event: Event) -> None:
        if watcher is not None:
            watcher.on_event(event)

    options = replace(run.options(), max_delete=max_delete_of(max_delete), workers=workers)

    def open_one() -> Engine:
        return flags.engine(on_event, options)

    engine = open_one()
    own_files = [Path(flags.manifest), *map(Path, flags.var_file)]

    def load() -> ActiveManifest:
        fresh = open_one()
        if fresh.state_path != engine.state_path:
            raise SyncError("the name of the manifest changed, and so did its state file", remedy="Restart the watch.")
        return activate(fresh, own_files, auto_approve=auto_approve)

    with contextlib.ExitStack() as stack:
        # A separate lock, so that a manual apply can run between two runs of the watcher.
        own_lock = watch_lock(engine.state_path)
        stack.enter_context(FileBackend(own_lock).lock(command=f"watch {flags.manifest}"))
        health = Health(time.monotonic, time.time)
        counted = _metrics(health, wanted=metrics is not None)
        if metrics is not None:
            server = _serve_health(metrics, health, counted)
            stack.callback(server.close)
            log.info("metrics and health are served on port %d", server.port, extra={"facts": {"port": server.port}})
        if ui is not None:
            stack.enter_context(_serve_pages(ui, flags, options, engine.manifest.name, health))
        box = HintBox()
        stack.callback(box.close)
        ignore_lease_breaks()
        signals = Signals(box.wake)
        signals.install()
        service = ServiceManager(os.environ, health.alive)
        stack.callback(service.close)
        in_force = activate(engine, own_files, auto_approve=auto_approve)
        triggers = Triggers(box, in_force.places, poll, log.warning)
        triggers.start()
        stack.callback(triggers.close)
        watcher = Watcher(box, WatchTiming(settle, rescan), load, in_force, triggers, signals, health, counted, service)
        try:
            watcher.run()
            log.info("stopped")
        finally:
            service.stopping()
            watcher.watched.close()


def _metrics(health: Health, *, wanted: bool) -> Metrics:
    from metalake_sync.watch.health import NoMetrics, PrometheusMetrics

    if not wanted:
        return NoMetrics()
    try:
        return PrometheusMetrics(health)
    except ImportError:
        raise UsageError(
            "--metrics needs the Prometheus client, which is not installed",
            remedy="Install it: pip install 'metalake-sync[metrics]'.",
        ) from None


def _serve_health(address: str, health: Health, metrics: Metrics) -> HealthServer:
    from metalake_sync.watch.health import HealthServer

    host, port = _host_and_port("--metrics", address, "127.0.0.1:9464")
    try:
        return HealthServer(host, port, health, metrics)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise SyncError(
                f"another program uses the address of '--metrics {address}'",
                remedy="End it, or choose another port. Each watch on this machine needs its own.",
            ) from None
        raise UsageError(
            f"'--metrics {address}' cannot be opened ({error.strerror})",
            remedy="Choose another port, or a local address.",
        ) from None


def _host_and_port(option_name: str, address: str, example: str) -> tuple[str, int]:
    """Split ADDR:PORT. Raises UsageError."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65535:
        raise UsageError(f"'{option_name} {address}' is not an address", remedy=f"Write ADDR:PORT, such as {example}.")
    return host.strip("[]"), int(port)


@contextlib.contextmanager
def _serve_pages(address: str, flags: ManifestFlags, options: RunOptions, name: str, health: Health) -> Iterator[None]:
    """Serve the pages of `ui` during the block, in a thread. Raises UsageError for an address that cannot be used."""
    from metalake_sync.cli.commands.ui import words
    from metalake_sync.report.pages import need_libraries
    from metalake_sync.web.access import check_loopback
    from metalake_sync.web.server import UiServer
    from metalake_sync.web.workspace import Workspace

    host, port = _host_and_port("--ui", address, "127.0.0.1:8080")
    check_loopback(host, "--ui")
    need_libraries("the pages need", "ui")

    def open_engine(emit: EventSink, is_cancelled: Callable[[], bool] | None) -> Engine:
        return flags.engine(emit, replace(options, is_cancelled=is_cancelled))

    workspace = Workspace(name, open_engine, words(), read_only=False, daemon=health.document)
    with UiServer(workspace, host, port, "--ui") as server:
        # Not in the log, because the token in the address is a secret until a browser opens it.
        if flags.as_json or flags.json_log:
            echo_json(f'{{"address": "{server.address}"}}')
        else:
            click.echo(f"Open {server.address}")
        yield


class JsonLines(logging.Formatter):
    """Formats a record as JSON, with its facts."""

    def format(self, record: logging.LogRecord) -> str:
        facts = getattr(record, "facts", {})
        return json_line(record.levelname.lower(), record.getMessage(), _time(record), **facts)


class TextLines(logging.Formatter):
    """Formats a record as text: time, level for warnings and errors except notes, and the message."""

    def format(self, record: logging.LogRecord) -> str:
        message = record.getMessage()
        labeled = record.levelno >= logging.WARNING and not message.startswith("note: ")
        level = f"{record.levelname.lower()}: " if labeled else ""
        return f"{_time(record):%Y-%m-%dT%H:%M:%S}Z  {level}{shown(redact(message))}"


def _time(record: logging.LogRecord) -> datetime:
    return datetime.fromtimestamp(record.created, UTC)


def start_log(*, as_json: bool, quiet: bool, verbose: bool) -> None:
    """Send the log of `watch` to standard error. `verbose`: also log each action. `quiet`: only log warnings."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines() if as_json else TextLines())
    logger = logging.getLogger("metalake_sync.watch")
    logger.handlers[:] = [handler]
    logger.propagate = False
    logger.setLevel(logging.WARNING if quiet else logging.DEBUG if verbose else logging.INFO)
