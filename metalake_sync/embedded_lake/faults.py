"""Fault plans: which requests of a lake fail, and how. The same plan and seed affect the same requests.

Owns: the form of a plan, reading it, and the decision for each request. Must not: touch a connection
(`web.faults_middleware`).
"""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from metalake_sync.embedded_lake.request_log import STORE_ROUTES, RequestKind
from metalake_sync.errors import UsageError
from metalake_sync.protocol import routes

PLAN_LIMIT_BYTES = 1 << 20
ROUTES = frozenset(name.lower() for name, route in vars(routes).items() if isinstance(route, routes.Route))
ANY, LAKE, STORE = "*", "lake", "store"

DOES_NOTHING = frozenset(
    {
        "put_part",
        "finalize_file",
        "complete_upload",
        "metadata_by_json",
        "metadata_by_object",
        "update_annotations",
        "delete_annotations",
        "trash_items",
    }
)
"""Calls whose answer holds nothing that only doing them gives: a lake can say 200 and do nothing."""


class _Fault(BaseModel):
    """`route`: a name of `protocol.routes` in small letters, `put_part`, `get_object`, `lake` or `store` for all of
    theirs, or * for every one. `effect`: only calls that read, or that write. `after`: how many of those requests are
    left in peace first. `times`: how many are spoiled at most, None for all. `chance`: of each, decided by the plan's
    seed."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    route: str = ANY
    effect: Literal["reads", "writes"] | None = None
    after: int = Field(0, ge=0)
    times: int | None = Field(1, ge=1)
    chance: float = Field(1.0, gt=0, le=1)

    @field_validator("route")
    @classmethod
    def _known(cls, route: str) -> str:
        known = ROUTES | STORE_ROUTES | {LAKE, STORE}
        if route != ANY and route not in known:
            raise ValueError(f"there is no route '{route}'; there are {', '.join(sorted(known))} and *")
        return route

    def wants(self, asked: RequestKind) -> bool:
        server = STORE if asked.route in STORE_ROUTES else LAKE
        return self.route in (ANY, server, asked.route) and self.effect in (
            None,
            "writes" if asked.mutating else "reads",
        )


class Latency(_Fault):
    """The answer comes late."""

    kind: Literal["latency"]
    seconds: float = Field(ge=0)


class Status(_Fault):
    """An error instead of the answer. `carried_out`: the request was done all the same."""

    kind: Literal["status"]
    status: int = Field(ge=400, le=599)
    retry_after: float | None = Field(None, ge=0)
    carried_out: bool = False


class Rate(_Fault):
    """429 for what comes beyond so many requests per second; a second's worth may come at once."""

    kind: Literal["rate"]
    per_second: float = Field(gt=0)
    retry_after: float | None = Field(None, ge=0)
    times: int | None = Field(None, ge=1)


class Reset(_Fault):
    """The connection is reset, before the request was carried out or after."""

    kind: Literal["reset"]
    when: Literal["before", "after"] = "before"


class Cut(_Fault):
    """The request is carried out, and the connection closed in the middle of the answer."""

    kind: Literal["cut"]


class NoJson(_Fault):
    """The request is carried out, and the answer is a page of HTML with the status 200."""

    kind: Literal["no_json"]


class WrongEtag(_Fault):
    """A part is spoiled on its way: the store keeps other bytes than were sent, and says so by its ETag."""

    kind: Literal["wrong_etag"]
    route: Literal["put_part"] = "put_part"


class ExpiredUrl(_Fault):
    """A signed URL is refused as expired."""

    kind: Literal["expired_url"]
    route: Literal["put_part", "get_object", "*"] = "put_part"

    def wants(self, asked: RequestKind) -> bool:
        return asked.route in STORE_ROUTES and super().wants(asked)


class Stall(_Fault):
    """The request is carried out, half the answer sent, and nothing for so long; then the connection is closed."""

    kind: Literal["stall"]
    seconds: float = Field(gt=0)


class Down(_Fault):
    """From this request on, every request is reset for so long."""

    kind: Literal["down"]
    seconds: float = Field(gt=0)


class JobFails(_Fault):
    """The session's job fails: nothing that it held is ever seen."""

    kind: Literal["job_fails"]
    route: Literal["complete_upload"] = "complete_upload"


class JobNeverEnds(_Fault):
    """The session's job stays in progress, for so long or for ever."""

    kind: Literal["job_never_ends"]
    seconds: float | None = Field(None, gt=0)
    route: Literal["complete_upload"] = "complete_upload"


class DoesNothing(_Fault):
    """200, as if all were well; nothing was done."""

    kind: Literal["does_nothing"]
    route: str

    @field_validator("route")
    @classmethod
    def _can(cls, route: str) -> str:
        if route not in DOES_NOTHING:
            raise ValueError(f"only these calls can do nothing unnoticed: {', '.join(sorted(DOES_NOTHING))}")
        return route


Fault = (
    Latency
    | Status
    | Rate
    | Reset
    | Cut
    | NoJson
    | WrongEtag
    | ExpiredUrl
    | Stall
    | Down
    | JobFails
    | JobNeverEnds
    | DoesNothing
)


class FaultPlan(BaseModel):
    """The first fault that wants a request gets it. `seed`: what chance is made of."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    seed: int = 0
    faults: list[Annotated[Fault, Field(discriminator="kind")]] = []


def read_fault_plan(path: Path) -> FaultPlan:
    """Read a plan from YAML or JSON. Raises UsageError with the place of the mistake."""
    try:
        with open(path, "rb") as file:
            text = file.read(PLAN_LIMIT_BYTES + 1)
    except OSError as error:
        raise UsageError(f"the fault plan can't be read ({error.strerror})", where=str(path)) from None
    if len(text) > PLAN_LIMIT_BYTES:
        raise UsageError("the fault plan is too large", where=str(path), remedy="Is it the right file?")
    try:
        document = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UsageError(f"the fault plan is no YAML ({error})", where=str(path)) from None
    try:
        return FaultPlan.model_validate(document)
    except ValidationError as error:
        fault = error.errors(include_input=False, include_url=False)[0]
        place = ".".join(map(str, fault["loc"])) or "the plan"
        raise UsageError(
            f"the fault plan is wrong at {place}: {fault['msg']}",
            where=str(path),
            remedy="docs/reliability.md shows a plan with every kind.",
        ) from None


class Faults:
    """A plan at work. `injected` counts by kind; `use` changes the plan at any time, from any thread."""

    def __init__(self, plan: FaultPlan | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self.injected: Counter[str] = Counter()
        self._clock = clock
        self._lock = threading.Lock()
        self._down_until = 0.0
        self.use(plan or FaultPlan())

    def use(self, plan: FaultPlan) -> None:
        with self._lock:
            self._plan = plan
            self._down_until = 0.0
            self._seen = [0] * len(plan.faults)
            self._done = [0] * len(plan.faults)
            # When each rate's allowance is used up: ahead of now by at most a second.
            self._used_until = [0.0] * len(plan.faults)
            # Each fault has dice of its own, so that one more fault in a plan leaves the others as they were.
            self._dice = [random.Random(f"{plan.seed}.{index}") for index in range(len(plan.faults))]  # noqa: S311

    @property
    def active(self) -> bool:
        """Whether the plan holds any fault."""
        return bool(self._plan.faults)

    def pick(self, asked: RequestKind) -> Fault | None:
        """The fault that this request gets, or None."""
        if not self.active:
            return None
        with self._lock:
            if self._clock() < self._down_until:
                self.injected["down"] += 1
                return Reset(kind="reset", when="before")
            for index, fault in enumerate(self._plan.faults):
                if self._hits(index, fault, asked):
                    self.injected[fault.kind] += 1
                    if isinstance(fault, Down):
                        self._down_until = self._clock() + fault.seconds
                    return fault
        return None

    def _hits(self, index: int, fault: Fault, asked: RequestKind) -> bool:
        if not fault.wants(asked) or (fault.times is not None and self._done[index] >= fault.times):
            return False
        if isinstance(fault, Rate) and self._allows(index, fault):
            return False
        self._seen[index] += 1
        if self._seen[index] <= fault.after or self._dice[index].random() >= fault.chance:
            return False
        self._done[index] += 1
        return True

    def _allows(self, index: int, rate: Rate) -> bool:
        """Whether a request is within the rate; it takes its share then."""
        now = self._clock()
        ahead_s = max(0.0, self._used_until[index] - now)
        # Half a share is forgiven: times are no whole numbers.
        if ahead_s > max(1.0, 1 / rate.per_second) - 0.5 / rate.per_second:
            return False
        self._used_until[index] = now + ahead_s + 1 / rate.per_second
        return True
