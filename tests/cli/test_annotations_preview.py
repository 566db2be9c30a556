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
