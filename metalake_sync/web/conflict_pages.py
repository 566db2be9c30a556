"""The pages of conflicts with another client: both sides of each, and the user's decision.

Owns: the routes below `/plan/PLAN/conflicts`. Must not: decide a conflict; a decision is a policy of the next plan
(`core.diff_sets.ConflictDecision`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import asdict
from typing import TypeVar, get_args

from aiohttp import web

from metalake_sync.core.diff_sets import ConflictDecision, OnDrift
from metalake_sync.lazy_dataclass import dataclass
from metalake_sync.report.conflicts import Conflict
from metalake_sync.web.answers import Answers, json_answer, page_number, see_other, wants_json
from metalake_sync.web.plans import ShownPlan
from metalake_sync.web.rendering import url
from metalake_sync.web.workspace import Workspace

PAGE_CONFLICTS = 50
DECISIONS: tuple[OnDrift, ...] = get_args(OnDrift)

ResultT = TypeVar("ResultT")


@dataclass(frozen=True, slots=True)
class ListedConflict:
    """One conflict of a list."""

    number: int
    collection: str
    file: str
    operation: str
    theirs: int
    """How many shapes the lake's set has."""
    decision: OnDrift | None
    """What the user decided. None: `on_drift` of the manifest decides."""


class ConflictPages:
    """The routes of one workspace."""

    def __init__(self, workspace: Workspace, answers: Answers) -> None:
        self._workspace = workspace
        self._answers = answers

    def reads(self) -> list[web.RouteDef]:
        """Return the routes that show conflicts."""
        one = "/plan/{plan}/conflicts/{number:[0-9]{1,9}}"
        return [
            web.get("/plan/{plan}/conflicts", self.list),
            web.get(one, self.conflict),
            web.get(one + "/images/{name}", self.image),
        ]

    def writes(self) -> list[web.RouteDef]:
        """Return the routes that decide. They change nothing in the lake; the next plan takes the decisions."""
        return [
            web.post("/plan/{plan}/conflicts", self.decide_all),
            web.post("/plan/{plan}/conflicts/{number:[0-9]{1,9}}", self.decide),
            web.post("/decisions/withdraw", self.withdraw),
        ]

    async def list(self, request: web.Request) -> web.Response:
        shown = self._shown(request)
        pages = max(1, -(-len(shown.conflicts) // PAGE_CONFLICTS))
        page = min(page_number(request), pages)
        first = (page - 1) * PAGE_CONFLICTS
        listed = [self._listed(number, one) for number, one in enumerate(shown.conflicts)][first:][:PAGE_CONFLICTS]
        decided = [
            {**key._asdict(), "decision": decision.on_drift} for key, decision in self._workspace.decisions.items()
        ]
        if wants_json(request):
            return json_answer(
                {
                    "plan": shown.id,
                    "page": page,
                    "pages": pages,
                    "total": len(shown.conflicts),
                    "conflicts": [asdict(one) for one in listed],
                    "decisions": decided,
                    "outdated": self._workspace.has_new_decisions,
                }
            )
        return self._answers.page(
            "conflicts.html.j2",
            "plan",
            shown=shown,
            listed=listed,
            decided=decided[:PAGE_CONFLICTS],
            more=max(0, len(decided) - PAGE_CONFLICTS),
            outdated=self._workspace.has_new_decisions,
            page=page,
            pages=pages,
            page_url=lambda page: url(f"/plan/{shown.id}/conflicts", {"page": page}),
        )

    async def conflict(self, request: web.Request) -> web.Response:
        shown, number = self._shown(request), int(request.match_info["number"])
        if number >= len(shown.conflicts):
            raise web.HTTPNotFound
        found = await self._at_desk(lambda: self._workspace.desk.conflict(shown.id, number))
        if found is None:
            raise web.HTTPNotFound
        listed = self._listed(number, shown.conflicts[number])
        can_merge, merge_conflicts = found.can_merge, found.merge_conflicts
        if wants_json(request):
            merge = {"possible": can_merge, "conflicts": merge_conflicts}
            return json_answer({"plan": shown.id, **asdict(listed), "merge": merge, "card": asdict(found.card)})
        return self._answers.page(
            "conflict.html.j2",
            "plan",
            plan=shown.id,
            conflict=listed,
            card=found.card,
            can_merge=can_merge,
            merge_conflicts=merge_conflicts,
            last=len(shown.conflicts) - 1,
        )

    async def image(self, request: web.Request) -> web.Response:
        shown, number = self._shown(request), int(request.match_info["number"])
        name = request.match_info["name"]
        found = await self._at_desk(lambda: self._workspace.desk.conflict_image(shown.id, number, name))
        if found is None:
            raise web.HTTPNotFound
        headers = {"Cache-Control": "private, max-age=3600, immutable"}
        return web.Response(body=found.body, content_type=found.content_type, headers=headers)

    async def decide(self, request: web.Request) -> web.StreamResponse:
        """Decide one conflict. The page of the next one without a decision follows."""
        shown, number = self._shown(request), int(request.match_info["number"])
        if number >= len(shown.conflicts):
            raise web.HTTPNotFound
        self._decide(shown.conflicts[number], await self._decision(request))
        undecided = (
            other
            for other in (*range(number + 1, len(shown.conflicts)), *range(number))
            if self._decision_about(shown.conflicts[other]) is None
        )
        after = next(undecided, None)
        path = f"/plan/{shown.id}/conflicts"
        return self._seen(request, path if after is None else f"{path}/{after}")

    async def decide_all(self, request: web.Request) -> web.StreamResponse:
        """Decide all conflicts that have no decision yet."""
        shown = self._shown(request)
        decision = await self._decision(request)
        for conflict in shown.conflicts:
            if self._decision_about(conflict) is None:
                self._decide(conflict, decision)
        return self._seen(request, f"/plan/{shown.id}/conflicts")

    async def withdraw(self, request: web.Request) -> web.StreamResponse:
        """Leave all conflicts to the manifest again."""
        self._workspace.withdraw_decisions()
        shown = self._workspace.shown
        return self._seen(request, f"/plan/{shown.id}/conflicts" if shown is not None else "/plan")

    async def _decision(self, request: web.Request) -> OnDrift:
        given = str((await request.post()).get("decision", ""))
        for one in DECISIONS:
            if one == given:
                return one
        raise web.HTTPBadRequest

    def _decide(self, conflict: Conflict, on_drift: OnDrift) -> None:
        decision = ConflictDecision(on_drift, conflict.theirs_digest, conflict.ours_digest)
        self._workspace.decide(conflict.key, decision)

    def _decision_about(self, conflict: Conflict) -> OnDrift | None:
        decision = self._workspace.decisions.get(conflict.key)
        if decision is None:
            return None
        same = (decision.theirs, decision.ours) == (conflict.theirs_digest, conflict.ours_digest)
        return decision.on_drift if same else None

    def _listed(self, number: int, conflict: Conflict) -> ListedConflict:
        return ListedConflict(number, *conflict.key, len(conflict.theirs.shapes), self._decision_about(conflict))

    def _shown(self, request: web.Request) -> ShownPlan:
        shown = self._workspace.shown
        if shown is None or shown.id != request.match_info["plan"]:
            raise web.HTTPNotFound
        return shown

    def _seen(self, request: web.Request, path: str) -> web.StreamResponse:
        decided = len(self._workspace.decisions)
        return json_answer({"decisions": decided}) if wants_json(request) else see_other(path)

    async def _at_desk(self, read: Callable[[], ResultT]) -> ResultT:
        """Call a function in the thread of the plan."""
        return await asyncio.get_running_loop().run_in_executor(self._workspace.desk_thread, read)
