"""The pages of checks and of doctor: findings with remedies, filters, and errors."""

from __future__ import annotations

from typing import Any

from tests.end_to_end.world import BIRDS, World
from tests.report.test_commands import image
from tests.web.site import Site, served


def checked(site: Site, address: str = "/checks") -> Any:
    assert site.post("/checks").status == 303
    site.wait("/checks", lambda one: one["work"]["state"] != "working")
    return site.json(address)


def test_sources_without_a_finding(site: Site, annotated: World) -> None:
    assert site.json("/checks")["work"]["state"] == "none"
    assert "Check the sources" in site.page("/checks")
    found = checked(site)
    assert (found["files"], found["errors"], found["warnings"], found["findings"]) == (2, 0, 0, [])
    assert "No check found anything." in site.page("/checks")


def test_damaged_files_and_equal_bytes_are_listed_with_remedies(world: World) -> None:
    image(world, "a.png", (1, 2, 3))
    image(world, "b.png", (1, 2, 3))
    whole = image(world, "c <b>.png", (9, 9, 9)).read_bytes()
    world.write("images/c <b>.png", whole[:40])
    world.manifest(BIRDS)
    with served(world, read_only=True) as site:
        site.enter()
        found = checked(site)
        assert found["errors"] == 1
        assert {one["check"] for one in found["findings"]} == {"truncated", "duplicate"}
        page = site.page("/checks")
        assert "c &lt;b&gt;.png" in page
        assert "<b>.png" not in page
        assert all(one["remedy"] in page.replace("&#39;", "'") for one in found["findings"])
        only = site.json("/checks?level=error")
        assert [one["file"] for one in only["findings"]] == ["c <b>.png"]
        assert site.json("/checks?check=duplicate")["matching"] == found["warnings"]
        assert "0 of" in site.page("/checks?check=zeros")
        assert world.lake.requests.writes == 0


def test_many_findings_are_paged(world: World) -> None:
    for number in range(60):
        world.write(f"images/{number:02}.png", b"")
    world.manifest(BIRDS)
    with served(world) as site:
        site.enter()
        found = checked(site)
        assert (found["errors"], found["pages"], len(found["findings"])) == (60, 2, 50)
        assert len(site.json("/checks?page=2")["findings"]) == 10
        assert "/checks?page=2" in site.page("/checks")


def test_a_broken_manifest_is_explained(world: World) -> None:
    world.images("a.png")
    world.manifest(BIRDS)
    with served(world) as site:
        site.enter()
        world.write("manifest.yaml", b"version: 1\nname: birds\ncolections: []\n")
        found = checked(site)
        assert found["work"]["state"] == "failed"
        assert "colections" in site.page("/checks")


def test_doctor_tells_what_a_run_needs(annotated: World) -> None:
    with served(annotated) as site:
        site.enter()
        assert site.json("/doctor")["findings"] == []
        assert site.post("/doctor").status == 303
        found = site.wait("/doctor", lambda one: one["work"]["state"] != "working")
        assert found["work"]["state"] == "done"
        verdicts = {one["subject"]: one["verdict"] for one in found["findings"]}
        assert verdicts["versions"] == verdicts["credentials"] == verdicts["folder images"] == "ok"
        page = site.page("/doctor")
        assert "credentials" in page
        assert annotated.lake.requests.of("list_items") >= 1
        (annotated.folder / "images").rename(annotated.folder / "elsewhere")
        assert site.post("/doctor").status == 303
        found = site.wait("/doctor", lambda one: one["work"]["state"] != "working")
        wrong = next(one for one in found["findings"] if one["subject"] == "folder images")
        assert (wrong["verdict"], wrong["remedy"]) == ("wrong", "Create or mount it, or make it readable.")
        assert "Create or mount it, or make it readable." in site.page("/doctor")
        assert "secret_of_tests" not in site.page("/doctor")
