"""`annotations preview`: shapes are drawn at their coordinates, and names are escaped on the page."""

from __future__ import annotations

from PIL import Image

from metalake_sync.annotations.drawing import label_colors
from tests.end_to_end.world import BIRDS, World, boxes

ANNOTATED = {**BIRDS, "annotations": [{"operation": "people", "kind": "human", "source": "people.json"}]}


def test_shapes_are_drawn_in_the_colour_of_their_label(world: World) -> None:
    world.images("crow.png", "gull.png")
    world.write("people.json", boxes(crow_png=[[10, 5, 20, 10]]))
    world.manifest(ANNOTATED)
    document = world.good("annotations", "preview", "manifest.yaml", "--to", "out", "--json").document
    (drawn,) = document["pictures"]
    assert (drawn["file"], drawn["labels"]) == ("crow.png", {"bird": 1})
    with Image.open(world.folder / drawn["path"]) as image:
        scale = image.width / 40
        colour = label_colors(["bird"])["bird"]
        assert image.getpixel((round(20 * scale), round(5 * scale))) == colour
        assert image.getpixel((round(10 * scale), round(10 * scale))) == colour
        assert image.getpixel((round(3 * scale), round(3 * scale))) == (0x7F, 0x7F, 0x7F)
        assert image.height > 20 * scale
    assert world.lake.requests.writes == 0


def test_names_on_the_page_are_escaped(world: World) -> None:
    world.images("<b>&.png")
    document = boxes()
    shape = {"type": "rectangle", "bbox": [1, 1, 5, 5], "label": "<script>x</script>"}
    document["images"] = [{"image": "<b>&.png", "annotations": [shape]}]
    world.write("people.json", document)
    world.manifest(ANNOTATED)
    world.good("annotations", "preview", "manifest.yaml", "--to", "out")
    page = (world.folder / "out/index.html").read_text()
    assert "<script>" not in page
    assert "<b>" not in page
    assert "&lt;b&gt;&amp;.png" in page


def test_a_file_that_is_not_an_image_is_reported_and_the_rest_is_drawn(world: World) -> None:
    world.images("crow.png")
    world.write("images/gull.png", b"no picture")
    world.write("people.json", boxes(crow_png=[[1, 1, 5, 5]], gull_png=[[1, 1, 5, 5]]))
    world.manifest(ANNOTATED)
    done = world.good("annotations", "preview", "manifest.yaml", "--to", "out")
    assert "gull.png: the image can't be read" in done.out
    assert "Drew 1 image;" in done.out


def test_nothing_to_draw_is_an_error_with_a_remedy(world: World) -> None:
    world.images("crow.png")
    world.manifest(BIRDS)
    done = world.run("annotations", "preview", "manifest.yaml", "--to", "out")
    assert (done.code, "no image has shapes to draw" in done.err) == (64, True)


def drawn_files(world: World) -> list[str]:
    return sorted(path.name for path in (world.folder / "out").iterdir() if not path.name.startswith("."))


def test_a_second_preview_removes_the_images_of_the_first_and_nothing_else(world: World) -> None:
    world.images("crow.png", "gull.png")
    world.write("people.json", boxes(crow_png=[[10, 5, 20, 10]], gull_png=[[1, 1, 5, 5]]))
    world.manifest(ANNOTATED)
    world.good("annotations", "preview", "manifest.yaml", "--to", "out")
    assert drawn_files(world) == ["0001-people-crow.png.png", "0002-people-gull.png.png", "index.html"]
    world.write("out/0003-people-owl.png.png", b"mine")
    world.write("out/notes.txt", "mine")
    world.write("people.json", boxes(gull_png=[[1, 1, 5, 5]]))
    world.good("annotations", "preview", "manifest.yaml", "--to", "out")
    assert drawn_files(world) == ["0001-people-gull.png.png", "0003-people-owl.png.png", "index.html", "notes.txt"]
    assert (world.folder / "out/0003-people-owl.png.png").read_bytes() == b"mine"


def test_an_image_that_was_edited_after_the_preview_stays(world: World) -> None:
    world.images("crow.png", "gull.png")
    world.write("people.json", boxes(crow_png=[[10, 5, 20, 10]], gull_png=[[1, 1, 5, 5]]))
    world.manifest(ANNOTATED)
    world.good("annotations", "preview", "manifest.yaml", "--to", "out")
    world.write("out/0002-people-gull.png.png", b"edited")
    world.write("people.json", boxes(crow_png=[[10, 5, 20, 10]]))
    world.good("annotations", "preview", "manifest.yaml", "--to", "out")
    assert (world.folder / "out/0002-people-gull.png.png").read_bytes() == b"edited"


def test_a_file_that_no_preview_wrote_is_not_overwritten(world: World) -> None:
    world.images("crow.png")
    world.write("people.json", boxes(crow_png=[[10, 5, 20, 10]]))
    world.manifest(ANNOTATED)
    world.write("out/index.html", "<h1>mine</h1>")
    done = world.run("annotations", "preview", "manifest.yaml", "--to", "out")
    assert done.code == 64
    assert "'out/index.html' exists, and no preview wrote it" in done.err
    assert drawn_files(world) == ["index.html"]
    assert (world.folder / "out/index.html").read_text() == "<h1>mine</h1>"


def test_a_forged_list_removes_nothing_outside_the_folder_and_follows_no_link(world: World) -> None:
    from blake3 import blake3

    world.images("crow.png")
    world.write("people.json", boxes(crow_png=[[10, 5, 20, 10]]))
    world.manifest(ANNOTATED)
    mine = world.write("mine.png", b"mine")
    digest = blake3(b"mine").hexdigest()
    names = ("../mine.png", "/mine.png", "mine.png", "0009-link.png")
    world.write("out/.metalake-sync-preview", "".join(f"{digest}  {name}\n" for name in names))
    (world.folder / "out/0009-link.png").symlink_to(mine)
    world.write("out/mine.png", b"mine")
    world.good("annotations", "preview", "manifest.yaml", "--to", "out")
    assert mine.read_bytes() == b"mine"
    assert drawn_files(world) == ["0001-people-crow.png.png", "0009-link.png", "index.html", "mine.png"]


def test_changed_draws_only_sets_that_differ_from_the_last_apply(world: World) -> None:
    world.images("crow.png", "gull.png")
    world.write("people.json", boxes(crow_png=[[10, 5, 20, 10]], gull_png=[[1, 1, 5, 5]]))
    world.manifest(ANNOTATED)
    world.good("apply", "manifest.yaml")
    world.good("annotations", "preview", "manifest.yaml", "--to", "out")
    world.write("people.json", boxes(crow_png=[[10, 5, 20, 10]], gull_png=[[2, 1, 5, 5]]))
    world.lake.requests.clear()
    document = world.good("annotations", "preview", "manifest.yaml", "--to", "out", "--changed", "--json").document
    assert [one["file"] for one in document["pictures"]] == ["gull.png"]
    assert not world.lake.requests.counts
    assert drawn_files(world) == ["0001-people-gull.png.png", "index.html"]
    world.good("apply", "manifest.yaml")
    done = world.good("annotations", "preview", "manifest.yaml", "--to", "out", "--changed")
    assert "no annotation set changes, as far as the state knows" in done.out
    assert drawn_files(world) == ["index.html"]
