"""Answers to requests: HTML, JSON, errors, and the values that every page has.

Owns: the form of an answer, and its status. Must not: know a page.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from aiohttp import web

from metalake_sync.errors import ExitCode, SyncError
from metalake_sync.redaction import redact
from metalake_sync.web.background import Work
from metalake_sync.web.rendering import render
from metalake_sync.web.workspace import Workspace

HTTP_ERRORS: Mapping[int, tuple[tuple[str, ...], str]] = {
    404: (
        ("this page does not exist, or not any more",),
        "A plan's pages exist until the plan is applied or replaced.",
    ),
    405: (("this address does not accept that",), "A server with --read-only changes nothing."),
    413: (("the request is too large",), "Use the buttons of this server's own pages."),
    503: (("too many pages receive events",), "Close some of them."),
}
STATUS = {ExitCode.GUARDED: 409, ExitCode.LOCKED: 409, ExitCode.USAGE: 400, ExitCode.LAKE_AWAY: 502}
OTHER_ERROR = (("the request is not valid",), "Use the links of this server's own pages.")


class Answers:
    """Makes the answers of one workspace."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace

    def frame(self, view: str) -> dict[str, Any]:
        """Return the values that every page has."""
        workspace = self._workspace
        return {
            "name": workspace.name,
            "read_only": workspace.read_only,
            "view": view,
            "is_running": workspace.is_running,
            "has_run": workspace.run is not None,
        }

    def page(self, template: str, view: str, **values: Any) -> web.Response:
        """Return a page."""
        return html(render(template, {**self.frame(view), **values}))

    def error(self, request: web.Request, status: int, lines: Sequence[str], remedy: str) -> web.Response:
        """Return an error as a page or as JSON."""
        safe = [redact(line) for line in lines]
        if wants_json(request):
            return json_answer({"error": {"message": "\n".join(safe), "remedy": remedy}}, status)
        values = {"status": status, "lines": safe, "remedy": remedy, "known": status not in (403, 421)}
        return html(render("error.html.j2", self.frame("") | values), status)

    def failed(self, request: web.Request, error: SyncError) -> web.Response:
        """Return the answer for an error of the manifest, the state or the lake."""
        return self.error(request, STATUS.get(error.exit_code, 500), lines_of(error), error.remedy or "")


def wants_json(request: web.Request) -> bool:
    """Return whether the request asks for the JSON twin of a page."""
    return request.query.get("format") == "json"


def html(text: str, status: int = 200) -> web.Response:
    """Return a page."""
    return web.Response(text=text, status=status, content_type="text/html", charset="utf-8")


def json_answer(document: Any, status: int = 200) -> web.Response:
    """Return JSON values."""
    return web.Response(text=json.dumps(document, default=_plain), status=status, content_type="application/json")


def see_other(path: str) -> web.Response:
    """Send the browser to another page, after a write."""
    return web.Response(status=303, headers={"Location": path})


def _plain(value: Any) -> Any:
    return value.value if hasattr(value, "value") else str(value)


def page_number(request: web.Request) -> int:
    """Return the page in the address, 1 without one."""
    text = request.query.get("page", "1")
    return max(1, int(text)) if text.isascii() and text.isdecimal() and len(text) < 9 else 1


def lines_of(error: SyncError) -> tuple[str, ...]:
    """Return an error as lines, without its remedy. A manifest with several errors has one line for each."""
    place = f"{error.where}: " if error.where is not None else ""
    several = getattr(error, "errors", None)
    return tuple(str(error).splitlines()) if several else (place + error.message,)


def error_view(error: SyncError | None) -> dict[str, Any] | None:
    """Return an error as values of a template."""
    if error is None:
        return None
    remedy = "" if getattr(error, "errors", None) else error.remedy or ""
    return {"lines": [redact(line) for line in lines_of(error)], "remedy": redact(remedy)}


def work_document(work: Work[Any] | None) -> dict[str, Any]:
    """Return what a piece of work does, as JSON values."""
    if work is None:
        return {"state": "none", "step": "", "error": None}
    return {"state": work.state, "step": redact(work.step), "error": error_view(work.error)}
