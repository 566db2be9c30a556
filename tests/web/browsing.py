"""A browser that uses the pages: opens their first address, and looks for faults of accessibility."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.chromium import launched
from tests.web.site import Site

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

Opened = Callable[..., "Page"]

EXPECTED = ("/nothing", "/apply", "/lake?collection=nothing")
"""The ends of addresses whose pages are errors on purpose."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with launched() as started:
        yield started


@pytest.fixture
def opened(browser: Browser) -> Iterator[Opened]:
    """Open a server's first address. A request to elsewhere, a dialog and each error of a page fail the test."""
    bad: list[str] = []
    contexts = []

    def open_it(site: Site, width: int = 1440, **settings: Any) -> Page:
        context = browser.new_context(viewport={"width": width, "height": 900}, **settings)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(60_000)
        page.on("pageerror", lambda error: bad.append(str(error)))

        def listen(message: Any) -> None:
            # Pages of errors are expected at these addresses.
            is_expected = message.location["url"].endswith(EXPECTED)
            # A page that is still open when the test stops the server loses its connection.
            is_expected |= site.server.workspace.changes.closed
            # Images that were still loading when the user applied or replaced their plan are gone.
            shown = site.server.workspace.shown
            of_plan = message.location["url"].partition("/plan/")[2].partition("/")[0]
            is_expected |= bool(of_plan) and (shown is None or shown.id != of_plan)
            if message.type in ("error", "warning") and not is_expected:
                bad.append(message.text)

        page.on("console", listen)

        def dismiss(dialog: Any) -> None:
            bad.append(dialog.message)
            dialog.dismiss()

        page.on("dialog", dismiss)
        page.on("request", lambda asked: None if asked.url.startswith(site.origin) else bad.append(asked.url))
        page.goto(site.server.address)
        page.get_by_role("heading", name="Overview").wait_for()
        cookie = next(one for one in context.cookies() if one["name"].startswith("metalake-sync-ui-"))
        site.cookie = f"{cookie['name']}={cookie['value']}"
        return page

    yield open_it
    for context in contexts:
        context.close()
    assert bad == []


def violations(page: Page) -> list[str]:
    """Return what axe finds on a page, with the first element of each. Serious and critical findings only."""
    package = pytest.importorskip("axe_playwright_python", reason="axe-playwright-python is not installed")
    script = (Path(package.__file__).parent / "axe.min.js").read_text("utf-8")
    # `evaluate` uses the debugger, which the page's policy does not concern.
    page.evaluate(script)
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']}).then((all) => all.violations)")
    return [f"{one['id']}: {one['nodes'][0]['html']}" for one in found if one["impact"] in ("serious", "critical")]
