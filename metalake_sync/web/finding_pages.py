"""The pages of what is wrong and how to mend it: checks of the sources, and what a run needs (`doctor`).

Owns: the routes `/checks` and `/doctor`. Must not: check anything itself (`operations`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from aiohttp import web

from metalake_sync.documents.checks import FindingDocument, finding_documents
from metalake_sync.web.answers import (
    Answers,
    error_view,
    json_answer,
    page_number,
    see_other,
    wants_json,
    work_document,
)
from metalake_sync.web.rendering import url
from metalake_sync.web.workspace import Workspace

PAGE_FINDINGS = 50
UNREADABLE_LISTED = 100
FILTERS = ("level", "check", "collection")


class FindingPages:
    """The routes of one workspace."""

    def __init__(self, workspace: Workspace, answers: Answers) -> None:
        self._workspace = workspace
        self._answers = answers

    def routes(self) -> list[web.RouteDef]:
        """Return the routes. None of them changes the lake, the sources or the records."""
        return [
            web.get("/checks", self.checks),
            web.post("/checks", self.start_checks),
            web.get("/doctor", self.doctor),
            web.post("/doctor", self.start_doctor),
        ]

    async def checks(self, request: web.Request) -> web.Response:
        """The findings of the checks of all local files and annotations."""
        work = self._workspace.checking
        checked = work.result if work is not None else None
        every = finding_documents(checked.findings) if checked is not None else []
        wanted = {name: request.query.get(name, "") for name in FILTERS}
        found = [
            one for one in every if all(not value or getattr(one, name) == value for name, value in wanted.items())
        ]
        pages = max(1, -(-len(found) // PAGE_FINDINGS))
        page = min(page_number(request), pages)
        listed = found[(page - 1) * PAGE_FINDINGS : page * PAGE_FINDINGS]
        errors = sum(one.level == "error" for one in every)
        unreadable = list(checked.unreadable) if checked is not None else []
        if wants_json(request):
            return json_answer(
                {
                    "work": work_document(work),
                    "files": checked.files if checked is not None else None,
                    "errors": errors,
                    "warnings": len(every) - errors,
                    "unreadable": unreadable[:UNREADABLE_LISTED],
                    "page": page,
                    "pages": pages,
                    "matching": len(found),
                    "findings": [asdict(one) for one in listed],
                }
            )
        return self._answers.page(
            "checks.html.j2",
            "checks",
            work=work,
            error=error_view(work.error) if work is not None else None,
            checked=checked,
            errors=errors,
            warnings=len(every) - errors,
            unreadable=unreadable[:UNREADABLE_LISTED],
            more_unreadable=max(0, len(unreadable) - UNREADABLE_LISTED),
            listed=listed,
            matching=len(found),
            wanted=wanted,
            choices={name: _values(every, name) for name in FILTERS},
            page=page,
            pages=pages,
            page_url=lambda page: url("/checks", {**{key: one for key, one in wanted.items() if one}, "page": page}),
        )

    async def start_checks(self, request: web.Request) -> web.StreamResponse:
        self._workspace.check_sources()
        return self._seen(request, "/checks")

    async def doctor(self, request: web.Request) -> web.Response:
        """What a run depends on: versions, sources, state, disk, credentials, the lake and the clock."""
        work = self._workspace.examining
        findings = work.result if work is not None else None
        if wants_json(request):
            rows = [_row(asdict(one)) for one in findings] if findings is not None else []
            return json_answer({"work": work_document(work), "findings": rows})
        return self._answers.page(
            "doctor.html.j2",
            "doctor",
            work=work,
            error=error_view(work.error) if work is not None else None,
            findings=findings,
        )

    async def start_doctor(self, request: web.Request) -> web.StreamResponse:
        self._workspace.examine()
        return self._seen(request, "/doctor")

    def _seen(self, request: web.Request, path: str) -> web.StreamResponse:
        return json_answer({"started": True}) if wants_json(request) else see_other(path)


def _values(findings: Sequence[FindingDocument], name: str) -> list[str]:
    return sorted({str(getattr(one, name)) for one in findings})


def _row(finding: dict[str, Any]) -> dict[str, Any]:
    """Return a finding as `doctor --json` prints it."""
    return {key: value for key, value in finding.items() if key != "exit_code"}
