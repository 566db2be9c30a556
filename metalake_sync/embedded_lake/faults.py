"""Fault plans: which requests of a lake fail, and how. The same plan and seed affect the same requests.

Owns: the form of a plan, reading it, and the decision for each request. Must not: touch a connection
(`embedded_lake.web.middleware`).
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
"""Calls whose answers contain no result, so that a lake can answer 200 without doing anything."""


class _Fault(BaseModel):
    """Which requests get a fault."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    route: str = ANY
    """A name of `protocol.routes` in lower case, `put_part`, `get_object`, `lake` (all calls), `store`, or *."""
    effect: Literal["reads", "writes"] | None = None
    """Only calls that read, or only calls that write."""
    after: int = Field(0, ge=0)
    """How many matching requests are not affected first."""
    times: int | None = Field(1, ge=1)
    """How many requests are affected at most. None means all."""
    chance: float = Field(1.0, gt=0, le=1)
    """The probability for each request, determined by the plan's seed."""

    @field_validator("route")
    @classmethod
    def _known(cls, route: str) -> str:
        known = ROUTES | STORE_ROUTES | {LAKE, STORE}
        if route != ANY and route not in known:
            raise ValueError(f"unknown route '{route}'. Choose from: {', '.join(sorted(known))}, *")
        return route

    def matches(self, kind: RequestKind) -> bool:
        server = STORE if kind.route in STORE_ROUTES else LAKE
        return self.route in (ANY, server, kind.route) and self.effect in (
            None,
            "writes" if kind.mutating else "reads",
        )


class Latency(_Fault):
    """The answer is delayed."""

    kind: Literal["latency"]
    seconds: float = Field(ge=0)


class Status(_Fault):
    """The answer is an error."""

    kind: Literal["status"]
    status: int = Field(ge=400, le=599)
    retry_after: float | None = Field(None, ge=0)
    carried_out: bool = False
    """The request is carried out anyway."""


class Rate(_Fault):
    """429 for requests above a rate. The requests of one second may arrive at once."""

    kind: Literal["rate"]
    per_second: float = Field(gt=0)
    retry_after: float | None = Field(None, ge=0)
    times: int | None = Field(None, ge=1)


class Reset(_Fault):
    """The connection is reset, before or after the request is carried out."""

    kind: Literal["reset"]
    when: Literal["before", "after"] = "before"


class Cut(_Fault):
    """The request is carried out, and the connection is closed in the middle of the answer."""

    kind: Literal["cut"]


class NoJson(_Fault):
    """The request is carried out, and the answer is an HTML page with status 200."""

    kind: Literal["no_json"]


class WrongEtag(_Fault):
    """A part is corrupted in transit: the store keeps other bytes, which its ETag shows."""

    kind: Literal["wrong_etag"]
    route: Literal["put_part"] = "put_part"


class ExpiredUrl(_Fault):
    """A signed URL is rejected as expired."""

    kind: Literal["expired_url"]
    route: Literal["put_part", "get_object", "*"] = "put_part"

    def matches(self, kind: RequestKind) -> bool:
        return kind.route in STORE_ROUTES and super().matches(kind)


class Stall(_Fault):
    """The request is carried out, half of the answer is sent, and the connection is closed after `seconds`."""

    kind: Literal["stall"]
    seconds: float = Field(gt=0)


class Down(_Fault):
    """This request and all others in the following seconds are reset."""

    kind: Literal["down"]
    seconds: float = Field(gt=0)


class JobFails(_Fault):
    """The session's job fails, and none of its files appear."""

    kind: Literal["job_fails"]
    route: Literal["complete_upload"] = "complete_upload"


class JobNeverEnds(_Fault):
    """The session's job stays in progress, for `seconds` or forever."""

    kind: Literal["job_never_ends"]
    seconds: float | None = Field(None, gt=0)
    route: Literal["complete_upload"] = "complete_upload"


class DoesNothing(_Fault):
    """The answer is 200, but the request is not carried out."""

    kind: Literal["does_nothing"]
    route: str

    @field_validator("route")
    @classmethod
    def _can(cls, route: str) -> str:
        if route not in DOES_NOTHING:
            raise ValueError(f"'does_nothing' is possible only for: {', '.join(sorted(DOES_NOTHING))}")
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
    """Faults in order of precedence: the first one that matches a request is injected."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    seed: int = 0
    """Of random decisions."""
    faults: list[Annotated[Fault, Field(discriminator="kind")]] = []


def read_fault_plan(path: Path) -> FaultPlan:
    """Read a plan from YAML or JSON. Raises UsageError with the place of the error."""
    try:
        with open(path, "rb") as file:
            text = file.read(PLAN_LIMIT_BYTES + 1)
    except OSError as error:
        raise UsageError(f"the fault plan cannot be read ({error.strerror})", where=str(path)) from None
    if len(text) > PLAN_LIMIT_BYTES:
        raise UsageError("the fault plan is too large", where=str(path), remedy="Check that it is the right file.")
    try:
        document = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UsageError(f"the fault plan is not YAML ({error})", where=str(path)) from None
    try:
        return FaultPlan.model_validate(document)
    except ValidationError as error:
        fault = error.errors(include_input=False, include_url=False)[0]
        place = ".".join(map(str, fault["loc"])) or "the plan"
        raise UsageError(
            f"the fault plan is invalid at {place}: {fault['msg']}",
            where=str(path),
            remedy="See docs/reliability.md for a plan with every kind of fault.",
        ) from None


class Faults:
    """Applies a plan. `injected` counts faults by kind. `use` changes the plan at any time, from any thread."""

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
            # When the used capacity of each rate is free again: at most a second ahead.
            self._used_until = [0.0] * len(plan.faults)
            # Each fault has its own random numbers, so that another fault in the plan does not affect it.
            self._dice = [random.Random(f"{plan.seed}.{index}") for index in range(len(plan.faults))]  # noqa: S311

    @property
    def active(self) -> bool:
        """Whether the plan has any faults."""
        return bool(self._plan.faults)

    def pick(self, kind: RequestKind) -> Fault | None:
        """Return the fault of this request, or None."""
        if not self.active:
            return None
        with self._lock:
            if self._clock() < self._down_until:
                self.injected["down"] += 1
                return Reset(kind="reset", when="before")
            for index, fault in enumerate(self._plan.faults):
                if self._affects(index, fault, kind):
                    self.injected[fault.kind] += 1
                    if isinstance(fault, Down):
                        self._down_until = self._clock() + fault.seconds
                    return fault
        return None

    def _affects(self, index: int, fault: Fault, kind: RequestKind) -> bool:
        if not fault.matches(kind) or (fault.times is not None and self._done[index] >= fault.times):
            return False
        if isinstance(fault, Rate) and self._allows(index, fault):
            return False
        self._seen[index] += 1
        if self._seen[index] <= fault.after or self._dice[index].random() >= fault.chance:
            return False
        self._done[index] += 1
        return True

    def _allows(self, index: int, rate: Rate) -> bool:
        """Return whether a request is within the rate, and if so count it."""
        now = self._clock()
        ahead_s = max(0.0, self._used_until[index] - now)
        # Half a request of tolerance, because of rounding.
        if ahead_s > max(1.0, 1 / rate.per_second) - 0.5 / rate.per_second:
            return False
        self._used_until[index] = now + ahead_s + 1 / rate.per_second
        return True
