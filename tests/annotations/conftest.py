"""Fixtures for all tests of annotations."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from metalake_sync.annotations.writing import LOSSES_BY_NAME, Fitting, stated_losses
from metalake_sync.core.shapes import ImageRecord
from tests.annotations.opened import close_all


@pytest.fixture(autouse=True)
def _losses_are_stated(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a writer counts in any test is one of the losses that `metalake-sync formats` and the docs state."""
    fit = Fitting.fit

    def checked(fitting: Fitting, record: ImageRecord) -> ImageRecord | None:
        fitted = fit(fitting, record)
        of_images = {what for what in fitting.report.losses if "images of unknown size" in what}
        assert fitting.report.losses.keys() <= stated_losses(fitting.output) | of_images | LOSSES_BY_NAME
        return fitted

    monkeypatch.setattr(Fitting, "fit", checked)


@pytest.fixture(autouse=True)
def _closed_afterwards() -> Iterator[None]:
    yield
    close_all()
