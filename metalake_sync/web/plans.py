"""A plan that pages show: its entries, and the cards with images, which are made when a page needs them.

Owns: the open plan (its state and sources stay open, so that cards can be made) and its thumbnails. All methods that
read are called in the thread that made the plan. Must not: word an action.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

from metalake_sync.api.project_values import ProjectPlan, plan_of
from metalake_sync.core.diff_sets import Decisions
from metalake_sync.engine import Engine
from metalake_sync.lake_access import reach_lake
from metalake_sync.lazy_dataclass import dataclass
from metalake_sync.report.cards import Card, CardMaker, Palette, PartShot, Section, Shot
from metalake_sync.report.conflicts import Conflict, ConflictSides, conflicts_of, sides_of
from metalake_sync.report.model import ReportPlan
from metalake_sync.report.planned_images import OpenPlan, PlannedImages, SavedPlanImages
from metalake_sync.web.entry_lists import EntryList
from metalake_sync.web.image_cache import CachedImage, ImageCache
from metalake_sync.web.lake_reader import ImagesOfLake, LakeReader
from metalake_sync.web.words import Words

CARDS_KEPT = 300


@dataclass(frozen=True, slots=True)
class ShownPlan:
    """A plan and everything that pages show of it without reading anything."""

    id: str
    made_at: datetime
    plan: ProjectPlan
    report: ReportPlan
    entries: EntryList
    destroys: int
    """How many things it trashes, replaces, removes or overwrites. A user types this number to approve."""
    revert: str | None
    """The run that the plan reverts."""
    conflicts: tuple[Conflict, ...]
    """The sets that another client changed and that the plan changes too."""
    decisions: Decisions
    """The decisions about conflicts that the plan was made with."""
    records: bool
    """Whether the plan changes records without an action, such as for a set that is kept."""

    @property
    def can_apply(self) -> bool:
        """Whether there is something to apply, and nothing that blocks it."""
        keeps = self.records and any(one.on_drift == "keep" for one in self.decisions.values())
        return (not self.plan.empty or keeps) and not self.plan.blocked


@dataclass(frozen=True, slots=True)
class ShownConflict:
    """Both sides of a conflict."""

    card: Card
    can_merge: bool
    merge_conflicts: int
    """How many shapes both sides changed."""


class PlanDesk:
    """Makes plans, and the cards of the last one. All methods are called in one thread."""

    def __init__(self, words: Words, images: ImageCache, lake: LakeReader) -> None:
        self._words = words
        self._lake = lake
        self._images = images
        self._open = contextlib.ExitStack()
        self._shown: ShownPlan | None = None
        self._maker = CardMaker(Palette())
        self._cards: OrderedDict[int, Card] = OrderedDict()
        self._conflicts: OrderedDict[int, ShownConflict] = OrderedDict()
        self._sides: Callable[[Conflict], ConflictSides] | None = None
        """Reads both sides of a conflict of the open plan."""

    def make(self, engine: Engine, revert: str | None) -> ShownPlan:
        """Make a plan, and close the one before. `revert`: the run to revert."""
        self.close()
        with contextlib.ExitStack() as stack, contextlib.ExitStack() as lake_stack:
            reaching = engine
            if engine.manifest.model.remote.embedded and engine.options.refresh != "none":
                # An open embedded lake locks its folder. The plan stays open, so the lake is closed before.
                lake_stack.enter_context(self._lake.released(engine))
                reaching = replace(engine, reached=lake_stack.enter_context(reach_lake(engine.manifest)))
            observed = stack.enter_context(reaching.observe())
            plan = plan_of(observed.planned.plan, engine, revert)
            images: PlannedImages
            conflicts: tuple[Conflict, ...] = ()
            if revert is not None:
                images = SavedPlanImages(os.fspath(engine.manifest.base_dir), plan.document.actions, {})
            else:
                lake = ImagesOfLake(self._lake) if observed.client is not None else None
                opened = images = OpenPlan(engine, observed, lake)
                conflicts = tuple(conflicts_of(observed))
                self._sides = lambda one: sides_of(one, engine, observed, opened.ours([one.number]))
            report = self._words.report_plan(plan.document, images)
            entries = EntryList(report.entries)
            destroys = sum(one.items_counted for one in observed.planned.plan.actions() if one.needs_approval)
            palette = Palette()
            for label in entries.choices.labels:
                palette.number(label)
            self._maker = CardMaker(palette)
            self._open = stack.pop_all()
        now = datetime.now(UTC)
        self._shown = ShownPlan(
            secrets.token_hex(6),
            now,
            plan,
            report,
            entries,
            destroys,
            revert,
            conflicts,
            {} if revert is not None else engine.options.decisions,
            observed.planned.plan.bookkeeping,
        )
        return self._shown

    def card(self, plan_id: str, number: int) -> Card | None:
        """Return the card of an entry, whose images are URLs. None: the plan is not open any more, or does not have
        the entry."""
        shown = self._shown
        if shown is None or shown.id != plan_id or not 0 <= number < len(shown.entries.entries):
            return None
        if number not in self._cards:
            self._cards[number] = self._with_urls(
                self._maker.card(number, shown.entries.entries[number]), f"/plan/{plan_id}/entries/{number}/images/"
            )
            if len(self._cards) > CARDS_KEPT:
                self._cards.popitem(last=False)
        self._cards.move_to_end(number)
        return self._cards[number]

    def image(self, plan_id: str, number: int, name: str) -> CachedImage | None:
        """Return a thumbnail of a card, also if the cache lost it."""
        found = self._images.image(name)
        if found is None and self.card(plan_id, number) is not None:
            del self._cards[number]
            self.card(plan_id, number)
            found = self._images.image(name)
        return found

    def conflict(self, plan_id: str, number: int) -> ShownConflict | None:
        """Return a conflict, whose images are URLs. None: the plan is not open any more, or does not have it."""
        shown, read = self._shown, self._sides
        if shown is None or read is None or shown.id != plan_id or not 0 <= number < len(shown.conflicts):
            return None
        if number not in self._conflicts:
            sides = read(shown.conflicts[number])
            base = f"/plan/{plan_id}/conflicts/{number}/images/"
            card = self._with_urls(self._maker.card(number, sides.entry), base)
            merge = sides.merge
            self._conflicts[number] = ShownConflict(card, merge is not None, merge.conflicts if merge else 0)
            if len(self._conflicts) > CARDS_KEPT:
                self._conflicts.popitem(last=False)
        self._conflicts.move_to_end(number)
        return self._conflicts[number]

    def conflict_image(self, plan_id: str, number: int, name: str) -> CachedImage | None:
        """Return an image of a conflict, also if the cache lost it."""
        found = self._images.image(name)
        if found is None and self.conflict(plan_id, number) is not None:
            del self._conflicts[number]
            self.conflict(plan_id, number)
            found = self._images.image(name)
        return found

    def close(self) -> None:
        """Close the state and the sources of the plan. Its entries can still be listed, without images."""
        self._shown = None
        self._sides = None
        self._cards.clear()
        self._conflicts.clear()
        self._open.close()

    def _with_urls(self, card: Card, base: str) -> Card:
        """Store the images of a card, and return the card with their URLs."""

        def url(uri: str) -> str:
            return base + self._images.keep(uri)

        def of_shot(shot: Shot) -> Shot:
            return shot if shot.uri is None else replace(shot, uri=url(shot.uri))

        def of_part(part: PartShot) -> PartShot:
            return part if part.part is None else replace(part, part=replace(part.part, uri=url(part.part.uri)))

        def of_section(section: Section) -> Section:
            return replace(section, shots=tuple(map(of_shot, section.shots)), parts=tuple(map(of_part, section.parts)))

        return replace(card, sections=tuple(map(of_section, card.sections)))
