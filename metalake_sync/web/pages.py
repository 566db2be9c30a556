"""The pages and their JSON twins: what each URL answers.

Owns: the routes. `?format=json` gives the values of a page. Must not: decide who may ask (`access`), or start work but
through the workspace.

Longer than 300 lines, because every route is one method of the same class.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from itertools import islice
from typing import Any

from aiohttp import web

from metalake_sync.documents.base import to_json
from metalake_sync.errors import SyncError
from metalake_sync.operations.state import Status
from metalake_sync.redaction import redact
from metalake_sync.report.model import Entry
from metalake_sync.state.runs import RunRow
from metalake_sync.state.store import StateStore
from metalake_sync.web.access import Access, Refused
from metalake_sync.web.answers import (
    HTTP_ERRORS,
    OTHER_ERROR,
    Answers,
    error_view,
    html,
    json_answer,
    page_number,
    see_other,
    wants_json,
    work_document,
)
from metalake_sync.web.background import Work
from metalake_sync.web.conflict_pages import ConflictPages
from metalake_sync.web.entry_lists import Filter, ListedPage
from metalake_sync.web.explorer_pages import ExplorerPages
from metalake_sync.web.finding_pages import FindingPages
from metalake_sync.web.rendering import STATIC, render, url
from metalake_sync.web.runs import Run
from metalake_sync.web.workspace import Workspace

STATUS_WAIT_S = 0.15
"""How long the first view waits for the status. A longer comparison is shown as progress."""

RUNS_LISTED = 50
PAST_ACTIONS_LISTED = 100
EVENT_STREAMS = 16
"""How many pages can receive events at the same time."""

HEARTBEAT_S = 15.0
EVENT_PAUSE_S = 0.15
"""Events of a stream are at least so far apart."""

NOT_ACTIONS = frozenset({"unchanged", "unmanaged", "bytes_to_send", "bytes_sent"})
"""Keys in the summary of a run that do not count actions."""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Pages:
    """The routes of one workspace."""

    def __init__(self, workspace: Workspace, access: Access) -> None:
        self._workspace = workspace
        self._access = access
        self._answers = Answers(workspace)
        self._conflicts = ConflictPages(workspace, self._answers)
        self._findings = FindingPages(workspace, self._answers)
        self._explorer = ExplorerPages(workspace, self._answers)
        self._streams = 0

    def routes(self) -> list[web.RouteDef]:
        """Return the routes. With `read_only`, none of them changes the lake, the sources or the records."""
        reads = [
            web.get("/", self.overview),
            web.get("/plan", self.plan),
            web.post("/plan", self.make_plan),
            web.post("/plan/cancel", self.cancel_plan),
            web.get("/plan/{plan}/document", self.plan_document),
            web.get("/plan/{plan}/entries/{number:[0-9]{1,9}}", self.entry),
            web.get("/plan/{plan}/entries/{number:[0-9]{1,9}}/images/{name}", self.image),
            *self._conflicts.reads(),
            *self._explorer.reads(),
            *self._findings.routes(),
            web.get("/run", self.run),
            web.get("/history", self.history),
            web.get("/history/{run}", self.past_run),
            web.get("/events", self.events),
            web.get("/static/{name}", self.static),
        ]
        writes = [
            web.post("/plan/{plan}/apply", self.apply),
            *self._conflicts.writes(),
            web.post("/run/cancel", self.cancel),
            web.post("/history/{run}/revert", self.revert),
        ]
        return reads if self._workspace.read_only else reads + writes

    @web.middleware
    async def guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Check who asks, and turn every error into a page or JSON."""
        try:
            self._access.check_host(request)
            self._access.check_origin(request)
            if request.method == "GET" and request.path == "/" and "token" in request.query:
                return self._enter(request.query["token"])
            if self._access.has_password and request.path == "/login":
                return await self._sign_in(request)
            if not request.path.startswith("/static/"):
                if self._access.has_password and request.method == "GET" and not self._access.has_session(request):
                    return see_other("/login")
                self._access.check_session(request)
            return await handler(request)
        except Refused as error:
            return self._answers.error(request, error.status, (error.message,), error.remedy)
        except web.HTTPException as error:
            return self._answers.error(request, error.status, *HTTP_ERRORS.get(error.status, OTHER_ERROR))
        except SyncError as error:
            return self._answers.failed(request, error)
        except (ConnectionError, asyncio.CancelledError):
            raise
        except Exception as error:  # noqa: BLE001 - its message may have secrets, so only its kind is shown
            if self._workspace.changes.closed:
                return self._answers.error(request, 503, ("the server ends",), "Start 'metalake-sync ui' again.")
            message = f"internal error: {type(error).__name__}"
            return self._answers.error(request, 500, (message,), "Please report it, with the address of this page.")

    def _enter(self, token: str) -> web.Response:
        """Exchange the token for the session's cookie. The browser continues from this page of the server itself, so
        that it sends the cookie wherever the address was opened."""
        session = self._access.exchange(token)
        response = html(render("enter.html.j2", self._answers.frame("")))
        response.set_cookie(self._access.cookie, session, path="/", httponly=True, samesite="Strict")
        return response

    async def _sign_in(self, request: web.Request) -> web.Response:
        """Ask for the password, or exchange it for the session's cookie."""
        if request.method != "POST":
            return html(render("login.html.j2", {"problem": ""}))
        try:
            session = await self._access.sign_in(str((await request.post()).get("password", "")))
        except Refused as error:
            return html(render("login.html.j2", {"problem": f"{error.message}. {error.remedy}"}), error.status)
        response = see_other("/")
        # A browser that came by TLS must not send the cookie without it.
        secure = request.headers.get("Origin", "").startswith("https:")
        response.set_cookie(self._access.cookie, session, path="/", httponly=True, samesite="Strict", secure=secure)
        return response

    async def overview(self, request: web.Request) -> web.Response:
        work = self._workspace.read_status(again="again" in request.query)
        await self._wait(work)
        status = work.result
        if wants_json(request):
            return json_answer({**self._activity(), "overview": _status_document(status)})
        shown = self._workspace.shown
        return self._answers.page(
            "overview.html.j2",
            "overview",
            work=work,
            error=error_view(work.error),
            status=status,
            shown=shown,
            daemon=_daemon_view(self._workspace.daemon() if self._workspace.daemon is not None else None),
            watched_by=self._workspace.watched_by,
            runs=[_run_view(run) for run in status.runs] if status is not None else [],
        )

    async def plan(self, request: web.Request) -> web.Response:
        work = self._workspace.planning
        shown = self._workspace.shown
        wanted = Filter.of(request.query)
        listed = shown.entries.page(wanted, page_number(request)) if shown is not None else None
        if wants_json(request):
            entries = shown.entries.entries if shown is not None else ()
            return json_answer(
                {
                    **self._activity(),
                    "summary": asdict(shown.plan.summary) if shown is not None else None,
                    "destructive": shown.destroys if shown is not None else None,
                    "blocked": list(shown.plan.blocked) if shown is not None else None,
                    "revert": shown.revert if shown is not None else None,
                    "conflicts": len(shown.conflicts) if shown is not None else None,
                    "decisions": len(self._workspace.decisions),
                    "list": _list_document(shown.id, listed, entries) if shown is not None and listed else None,
                }
            )
        return self._answers.page(
            "plan.html.j2",
            "plan",
            work=work,
            error=error_view(work.error) if work is not None else None,
            shown=shown,
            listed=listed,
            wanted=wanted,
            outdated=self._workspace.has_new_decisions,
            page_url=lambda **changes: url("/plan", wanted.query(**changes)),
        )

    async def make_plan(self, request: web.Request) -> web.StreamResponse:
        self._workspace.make_plan()
        return self._seen(request, "/plan")

    async def cancel_plan(self, request: web.Request) -> web.StreamResponse:
        """End the planning. A plan changes nothing, so nothing is left undone."""
        if self._workspace.planning is not None and self._workspace.planning.is_working:
            self._workspace.planning.cancel()
        return self._seen(request, "/plan")

    async def plan_document(self, request: web.Request) -> web.Response:
        """The plan as `plan --json` prints it."""
        shown = self._workspace.shown
        if shown is None or shown.id != request.match_info["plan"]:
            raise web.HTTPNotFound
        text = await asyncio.to_thread(to_json, shown.plan.document)
        return web.Response(text=text, content_type="application/json")

    async def entry(self, request: web.Request) -> web.Response:
        plan, number = request.match_info["plan"], int(request.match_info["number"])
        shown = self._workspace.shown
        if shown is None or shown.id != plan or number >= len(shown.entries.entries):
            raise web.HTTPNotFound
        card = await self._at_desk(lambda: self._workspace.desk.card(plan, number))
        if card is None:
            raise web.HTTPNotFound
        if wants_json(request):
            return json_answer({**_entry_document(plan, number, shown.entries.entries[number]), "card": asdict(card)})
        values = {"card": card, "number": number, "plan": plan, "entry": shown.entries.entries[number]}
        if "part" in request.query:
            return html(render("card_part.html.j2", values))
        return self._answers.page("entry.html.j2", "plan", last=len(shown.entries.entries) - 1, **values)

    async def image(self, request: web.Request) -> web.Response:
        plan, number, name = (request.match_info[key] for key in ("plan", "number", "name"))
        shown = self._workspace.shown
        if shown is None or shown.id != plan:
            raise web.HTTPNotFound
        found = await self._at_desk(lambda: self._workspace.desk.image(plan, int(number), name))
        if found is None:
            raise web.HTTPNotFound
        headers = {"Cache-Control": "private, max-age=3600, immutable"}
        return web.Response(body=found.body, content_type=found.content_type, headers=headers)

    async def apply(self, request: web.Request) -> web.StreamResponse:
        form = await request.post()
        self._workspace.apply(request.match_info["plan"], str(form.get("count", "")))
        return self._seen(request, "/run")

    async def run(self, request: web.Request) -> web.Response:
        run = self._workspace.run
        if wants_json(request):
            failures = [json.loads(to_json(failure)) for failure in run.failures] if run is not None else []
            return json_answer({**self._activity(), "failures": failures})
        return self._answers.page(
            "run.html.j2",
            "run",
            current=run,
            error=error_view(run.error) if run is not None else None,
            done=_counts(asdict(run.result.done) if run is not None and run.result is not None else {}),
            live=_run_document(run) if run is not None else {},
        )

    async def cancel(self, request: web.Request) -> web.StreamResponse:
        if self._workspace.run is not None:
            self._workspace.run.cancel()
        return self._seen(request, "/run")

    async def history(self, request: web.Request) -> web.Response:
        runs = await asyncio.to_thread(self._past_runs, RUNS_LISTED)
        if wants_json(request):
            return json_answer({"runs": [asdict(run) for run in runs]})
        return self._answers.page("history.html.j2", "history", runs=[_run_view(run) for run in runs])

    async def past_run(self, request: web.Request) -> web.Response:
        run_id, page = request.match_info["run"], page_number(request)
        found = await asyncio.to_thread(self._past_run, run_id, page)
        if found is None:
            raise web.HTTPNotFound
        run, total, actions = found
        pages = max(1, -(-total // PAST_ACTIONS_LISTED))
        if wants_json(request):
            documents = [action["document"] for action in actions]
            return json_answer({"run": asdict(run), "page": page, "pages": pages, "total": total, "actions": documents})
        return self._answers.page(
            "past_run.html.j2",
            "history",
            run=_run_view(run),
            provenance=run.provenance,
            actions=actions,
            total=total,
            number=page,
            pages=pages,
            page_url=lambda page: url(f"/history/{run_id}", {"page": str(page)}),
        )

    async def revert(self, request: web.Request) -> web.StreamResponse:
        self._workspace.make_plan(request.match_info["run"])
        return self._seen(request, "/plan")

    async def events(self, request: web.Request) -> web.StreamResponse:
        """Server-sent events: what the workspace does, after each change."""
        if self._streams >= EVENT_STREAMS:
            raise web.HTTPServiceUnavailable
        changes = self._workspace.changes
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"})
        self._streams += 1
        try:
            await response.prepare(request)
            while not changes.closed:
                number = changes.number
                await response.write(f"event: activity\ndata: {json.dumps(self._activity())}\n\n".encode())
                await asyncio.sleep(EVENT_PAUSE_S)
                await changes.after(number, HEARTBEAT_S)
        except ConnectionError:
            pass  # the browser left the page
        finally:
            self._streams -= 1
        return response

    async def static(self, request: web.Request) -> web.Response:
        found = STATIC().get(request.match_info["name"])
        if found is None:
            raise web.HTTPNotFound
        headers = {"Cache-Control": "public, max-age=3600"}
        return web.Response(text=found.text, content_type=found.content_type, charset="utf-8", headers=headers)

    def _seen(self, request: web.Request, path: str) -> web.Response:
        """Answer a write with the page that shows its effect."""
        if wants_json(request):
            return json_answer(self._activity())
        return see_other(path)

    async def _wait(self, work: Work[Any]) -> None:
        """Give work a moment to end."""
        await asyncio.to_thread(work.wait, STATUS_WAIT_S)

    async def _at_desk(self, read: Callable[[], Any]) -> Any:
        """Call a function in the thread of the plan."""
        return await asyncio.get_running_loop().run_in_executor(self._workspace.desk_thread, read)

    def _activity(self) -> dict[str, Any]:
        """Return what the workspace does, as JSON values."""
        workspace = self._workspace
        shown = workspace.shown
        return {
            "manifest": workspace.name,
            "read_only": workspace.read_only,
            "status": work_document(workspace.status),
            "checks": work_document(workspace.checking),
            "doctor": work_document(workspace.examining),
            "plan": {**work_document(workspace.planning), "id": shown.id if shown is not None else None},
            "run": _run_document(workspace.run) if workspace.run is not None else None,
            "daemon": workspace.daemon() if workspace.daemon is not None else None,
        }

    def _past_runs(self, limit: int) -> list[RunRow]:
        backend = self._workspace.open_engine(lambda _event: None, None).state_backend
        if not backend.exists():
            return []
        with StateStore(backend) as state:
            return list(state.runs.last(limit))

    def _past_run(self, run_id: str, page: int) -> tuple[RunRow, int, list[dict[str, Any]]] | None:
        """Return a run, the number of its actions, and one page of them."""
        backend = self._workspace.open_engine(lambda _event: None, None).state_backend
        if not backend.exists():
            return None
        with StateStore(backend) as state:
            run = next((one for one in state.runs.last(1_000_000) if one.id == run_id), None)
            if run is None:
                return None
            total = sum(state.runs.action_counts(run_id).values())
            first = (page - 1) * PAST_ACTIONS_LISTED
            words = self._workspace.words
            actions = []
            with contextlib.closing(state.runs.changes(run_id)) as changes:  # type: ignore[type-var]
                for change in islice(changes, first, first + PAST_ACTIONS_LISTED):
                    values = state.runs.values_of(change)
                    actions.append(
                        {
                            "row": change.row,
                            "words": words.past_action(change.row, values),
                            "document": words.document(change.row, values),
                        }
                    )
            return run, total, actions


def _daemon_view(health: dict[str, Any] | None) -> dict[str, Any] | None:
    """Return the health of a daemon as values of the overview."""
    if health is None:
        return None
    last = health["last_success"]
    ended = datetime.fromtimestamp(last, UTC).strftime("%Y-%m-%d %H:%M:%S") if last is not None else None
    return {**health, "last_success": ended, "problem": redact(health["problem"] or "")}


def _run_document(run: Run) -> dict[str, Any]:
    progress = run.progress
    return {
        **work_document(run),
        "cancelling": run.is_cancelled() and run.is_working,
        "stage": progress.stage if progress else "",
        "files_done": progress.files_done if progress else 0,
        "files_total": progress.files_total if progress else 0,
        "bytes_sent": progress.bytes_sent if progress else 0,
        "bytes_total": progress.bytes_total if progress else 0,
        "done": dict(run.done),
        "failed": run.failed,
        "id": run.result.run_id if run.result is not None else None,
    }


def _status_document(status: Status | None) -> Any:
    return asdict(status) if status is not None else None


def _entry_document(plan: str, number: int, entry: Entry) -> dict[str, Any]:
    return {
        "number": number,
        "url": f"/plan/{plan}/entries/{number}",
        "collection": entry.collection,
        "type": entry.type,
        "file": entry.file,
        "new": entry.is_new,
        "actions": [asdict(action) for action in entry.actions],
        "labels": list(entry.labels),
    }


def _list_document(plan: str, listed: ListedPage, entries: Sequence[Entry]) -> dict[str, Any]:
    return {
        "page": listed.page,
        "pages": listed.pages,
        "matching": listed.matching,
        "total": listed.total,
        "blocks": [
            {
                "collection": block.collection,
                "heading": block.heading,
                "total": block.total,
                "group": block.group or None,
                "entries": [_entry_document(plan, number, entries[number]) for number in block.entries],
            }
            for block in listed.blocks
        ],
    }


def _run_view(run: RunRow) -> dict[str, Any]:
    return {
        "id": run.id,
        "command": run.command,
        "started": run.started_at[:19].replace("T", " "),
        "ended": (run.ended_at or "")[:19].replace("T", " "),
        "outcome": run.outcome or "without an end",
        "counts": _counts(run.summary or {}),
        "user": run.provenance.user if run.provenance is not None else None,
        "commit": (run.provenance.commit or "")[:12] if run.provenance is not None else "",
    }


def _counts(summary: Mapping[str, Any]) -> list[tuple[str, int]]:
    """Return the actions of a summary that happened at all."""
    return [(name, number) for name, number in summary.items() if number and name not in NOT_ACTIONS]
