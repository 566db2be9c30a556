"""The documentation site: it builds without a warning, has every page, and refers to no other host for its parts."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

ROOT = Path(__file__).parents[2]


class Links(HTMLParser):
    """Collects the addresses that a page loads and those that it links to."""

    def __init__(self) -> None:
        super().__init__()
        self.loaded: set[str] = set()
        self.linked: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        if tag in ("script", "img") and found.get("src"):
            self.loaded.add(str(found["src"]))
        if tag == "link" and found.get("rel") in ("stylesheet", "icon", "preload"):
            self.loaded.add(str(found["href"]))
        if tag == "a" and found.get("href"):
            self.linked.add(str(found["href"]))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    return folder


def links_of(page: Path) -> Links:
    links = Links()
    links.feed(page.read_text())
    return links


@pytest.mark.long
def test_every_page_is_built_and_every_link_within_the_site_leads_somewhere(site: Path) -> None:
    sources = {path.relative_to(ROOT / "docs") for path in (ROOT / "docs").rglob("*.md")}
    assert {path.with_suffix(".html") for path in sources} <= {path.relative_to(site) for path in site.rglob("*.html")}
    broken = [
        f"{page.relative_to(site)}: {link}"
        for page in site.rglob("*.html")
        if page.name != "404.html"
        for link in links_of(page).linked | links_of(page).loaded
        if not urlsplit(link).scheme and urlsplit(link).path
        if not (page.parent / unquote(urlsplit(link).path)).exists()
    ]
    assert broken == []


@pytest.mark.long
def test_no_page_loads_anything_from_another_host(site: Path) -> None:
    others = {link for page in site.rglob("*.html") for link in links_of(page).loaded if urlsplit(link).netloc}
    assert others == set()


@pytest.mark.long
def test_the_reference_has_every_command_and_every_public_name(site: Path) -> None:
    from metalake_sync import api
    from metalake_sync.cli.main import COMMANDS

    commands = re.sub(r"<[^>]*>", "", (site / "reference/commands.html").read_text())
    assert [name for name in COMMANDS if f"metalake-sync {name}" not in commands] == []
    python = (site / "reference/python.html").read_text()
    methods = [name for name in dir(api.MetaLake) if not name.startswith("_")]
    assert [name for name in methods if f".{name}" not in python] == []
    assert [name for name in ("Project", "ProjectPlan", "ApplyResult", "SomeFailed") if name not in python] == []
