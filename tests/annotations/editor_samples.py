"""Sources of formats of annotation editors, for the tests that every format passes. See `tool_samples`."""

from __future__ import annotations

CONFORMANCE: dict[str, tuple[str, dict[str, str], str, str]] = {}
JUNK: dict[str, tuple[str, bytes]] = {}


def _cvat(x: str) -> str:
    images = "".join(
        f'<image name="{name}.png"><box label="cell" xtl="{left}" ytl="20" xbr="40" ybr="60"/></image>'
        for name, left in (("a", "10"), ("b", x))
    )
    return f"<annotations><version>1.1</version>{images}</annotations>"


CONFORMANCE["cvat"] = ("all.xml", {"all.xml": _cvat("1")}, _cvat("here"), "image 2, shape 1")
JUNK["cvat"] = (
    "xml",
    b"<annotations><version>1.1</version><meta><task><labels><label><name>x</name><attributes><attribute><"
    b"name>n</name><input_type>number</input_type></attribute></attributes></label></labels></task></meta>"
    b'<image name="a.jpg"><box label="x" xtl="1" ytl="2" xbr="3" ybr="4" rotation="5"><attribute name="n">'
    b'7</attribute></box><mask label="x" rle="0, 2" left="1" top="1" width="2" height="1"/></image></annot'
    b"ations>",
)


def _labelme(image: str, right: str) -> str:
    shape = f'{{"label": "cell", "points": [[10, 20], [{right}, 60]], "shape_type": "rectangle", "flags": {{}}}}'
    return f'{{"version": "5.4.1", "flags": {{}}, "shapes": [{shape}], "imagePath": "{image}.png", "imageData": null}}'


CONFORMANCE["labelme"] = (
    "b.json",
    {"a.json": _labelme("a", "40"), "b.json": _labelme("b", "40")},
    _labelme("b", '"here"'),
    "shapes[0]",
)
JUNK["labelme"] = (
    "json",
    b'{"version": "5", "flags": {"night": true}, "shapes": [{"label": "x", "points": [[1, 2], [3, 4], [5, '
    b'9]], "flags": {"a": true}, "group_id": 3, "shape_type": "polygon"}, {"label": "x", "points": [[1, 2]'
    b', [3, 4]], "shape_type": "circle"}, {"label": "m", "points": [[1, 1], [2, 2]], "shape_type": "mask",'
    b' "mask": "iVBORw0KGgo="}], "imagePath": "a.jpg", "imageData": null, "imageHeight": 480, "imageWidth"'
    b": 640}",
)


def _label_studio(x: str) -> str:
    def task(number: int, name: str, left: str) -> str:
        value = f'{{"x": {left}, "y": 20, "width": 5, "height": 5, "rotation": 0, "rectanglelabels": ["cell"]}}'
        size = '"original_width": 640, "original_height": 480'
        one = f'{{"id": "r", "type": "rectanglelabels", {size}, "value": {value}}}'
        return f'{{"id": {number}, "data": {{"image": "/upload/{name}.png"}}, "predictions": [{{"result": [{one}]}}]}}'

    return f"[{task(1, 'a', '10')}, {task(2, 'b', x)}]"


CONFORMANCE["label_studio"] = (
    "all.json",
    {"all.json": _label_studio("1")},
    _label_studio('"here"'),
    "tasks[1].result[0]",
)
JUNK["label_studio"] = (
    "json",
    b'[{"id": 1, "data": {"image": "a.jpg"}, "annotations": [{"id": 2, "was_cancelled": false, "updated_at'
    b'": "2024", "result": [{"id": "r", "type": "rectanglelabels", "from_name": "l", "to_name": "image", "'
    b'original_width": 640, "original_height": 480, "score": 0.5, "value": {"x": 1, "y": 2, "width": 3, "h'
    b'eight": 4, "rotation": 5, "rectanglelabels": ["x"]}}, {"id": "r", "from_name": "c", "value": {"choic'
    b'es": ["a"]}}, {"id": "b", "value": {"rle": [0, 0, 0, 8, 57, 27, 255], "brushlabels": ["x"]}, "origin'
    b'al_width": 2, "original_height": 1}]}], "predictions": [{"result": [], "score": 0.1}]}]',
)


def _datumaro(box: str) -> str:
    def item(name: str, numbers: str) -> str:
        one = f'{{"id": 0, "type": "bbox", "attributes": {{}}, "group": 0, "label_id": 0, "bbox": {numbers}}}'
        return f'{{"id": "{name}", "annotations": [{one}], "image": {{"path": "{name}.png", "size": [480, 640]}}}}'

    labels = '{"label": {"labels": [{"name": "cell"}]}}'
    return f'{{"infos": {{}}, "categories": {labels}, "items": [{item("a", "[10, 20, 30, 40]")}, {item("b", box)}]}}'


CONFORMANCE["datumaro"] = (
    "all.json",
    {"all.json": _datumaro("[1, 2, 3, 4]")},
    _datumaro('"here"'),
    "items[1].annotations[0]",
)
JUNK["datumaro"] = (
    "json",
    b'{"dm_format_version": "1.0", "categories": {"label": {"labels": [{"name": "x"}]}, "points": {"items"'
    b': [{"label_id": 0, "labels": ["p", "q"]}]}}, "items": [{"id": "a", "annotations": [{"type": "bbox", '
    b'"label_id": 0, "bbox": [1, 2, 3, 4], "attributes": {"score": 0.5, "c": "red"}, "group": 2}, {"type":'
    b' "points", "label_id": 0, "points": [1, 2, 3, 4], "visibility": [2, 1]}, {"type": "mask", "label_id"'
    b': 0, "rle": {"counts": [1, 2, 1], "size": [2, 2]}}, {"type": "ellipse", "label_id": 0, "points": [1,'
    b' 2, 9, 8]}], "image": {"path": "a.jpg", "size": [480, 640]}}]}',
)


def _darwin(image: str, x: str) -> str:
    box = f'{{"id": "1", "name": "cell", "slot_names": ["0"], "bounding_box": {{"x": {x}, "y": 2, "w": 3, "h": 4}}}}'
    slot = '{"type": "image", "slot_name": "0", "width": 640, "height": 480}'
    item = f'{{"name": "{image}.png", "path": "/", "slots": [{slot}]}}'
    return f'{{"version": "2.0", "item": {item}, "annotations": [{box}]}}'


CONFORMANCE["darwin"] = (
    "b.json",
    {"a.json": _darwin("a", "1"), "b.json": _darwin("b", "1")},
    _darwin("b", '"here"'),
    "annotations[0]",
)
JUNK["darwin"] = (
    "json",
    b'{"version": "2.0", "item": {"name": "a.jpg", "path": "/", "slots": [{"type": "image", "slot_name": "'
    b'0", "width": 2, "height": 2, "source_files": [{"file_name": "a.jpg"}]}]}, "annotations": [{"id": "1"'
    b', "name": "x", "slot_names": ["0"], "polygon": {"paths": [[{"x": 1, "y": 2}, {"x": 9, "y": 2}, {"x":'
    b' 9, "y": 8}]]}, "properties": [{"name": "p", "value": "1"}], "inference": {"confidence": 0.5}}, {"id'
    b'": "2", "name": "m", "mask": {}}, {"id": "3", "name": "__raster_layer__", "raster_layer": {"dense_rl'
    b'e": [0, 1, 1, 3], "mask_annotation_ids_mapping": {"2": 1}}}]}',
)


def _labelbox(left: str) -> str:
    def row(name: str, x: str) -> str:
        box = f'{{"name": "cell", "bounding_box": {{"top": 2, "left": {x}, "height": 4, "width": 3}}}}'
        label = f'{{"annotations": {{"objects": [{box}], "classifications": []}}}}'
        return f'{{"data_row": {{"external_id": "{name}.png"}}, "projects": {{"p": {{"labels": [{label}]}}}}}}\n'

    return row("a", "1") + row("b", left)


CONFORMANCE["labelbox"] = ("all.ndjson", {"all.ndjson": _labelbox("1")}, _labelbox('"here"'), "line 2, objects[0]")
JUNK["labelbox"] = (
    "ndjson",
    b'{"data_row": {"external_id": "a.jpg", "row_data": "https://x/a.jpg"}, "media_attributes": {"width": '
    b'640, "height": 480}, "projects": {"p": {"labels": [{"annotations": {"objects": [{"name": "x", "polyg'
    b'on": [{"x": 1, "y": 2}, {"x": 9, "y": 2}, {"x": 9, "y": 8}], "classifications": [{"name": "q", "radi'
    b'o_answer": {"name": "r"}}, {"name": "t", "text_answer": {"content": "u"}}]}], "classifications": []}'
    b"}]}}}\n",
)


def _supervisely(right: str) -> str:
    points = f'{{"exterior": [[10, 20], [{right}, 60]], "interior": []}}'
    box = f'{{"classTitle": "cell", "tags": [], "points": {points}, "geometryType": "rectangle"}}'
    return f'{{"description": "", "size": {{"height": 480, "width": 640}}, "tags": [], "objects": [{box}]}}'


CONFORMANCE["supervisely"] = (
    "b.png.json",
    {"a.png.json": _supervisely("40"), "b.png.json": _supervisely("40")},
    _supervisely('"here"'),
    "objects[0]",
)
JUNK["supervisely"] = (
    "json",
    b'{"description": "", "size": {"height": 480, "width": 640}, "tags": [], "objects": [{"classTitle": "x'
    b'", "tags": [{"name": "t", "value": "v"}, {"name": "n"}], "points": {"exterior": [[1, 2], [9, 2], [9,'
    b' 8]], "interior": []}, "geometryType": "polygon"}, {"classTitle": "b", "bitmap": {"origin": [1, 2], '
    b'"data": "eJzrDPBz5+WS4mJgYA=="}, "geometryType": "bitmap"}, {"classTitle": "g", "nodes": {"i": {"loc'
    b'": [1, 2]}}, "geometryType": "graph"}]}',
)


def _labelme_xml(image: str, x: str) -> str:
    corners = "".join(f"<pt><x>{one}</x><y>{y}</y></pt>" for one, y in ((x, 20), (40, 20), (40, 60)))
    one = f"<object><name>cell</name><deleted>0</deleted><polygon>{corners}</polygon></object>"
    return f"<annotation><filename>{image}.png</filename><folder></folder>{one}</annotation>"


CONFORMANCE["labelme_xml"] = (
    "b.xml",
    {"a.xml": _labelme_xml("a", "10"), "b.xml": _labelme_xml("b", "10")},
    _labelme_xml("b", "here"),
    "object 1",
)
JUNK["labelme_xml"] = (
    "xml",
    b"<annotation><filename>a.jpg</filename><folder>f</folder><object><name>x</name><deleted>0</deleted><o"
    b"ccluded>yes</occluded><attributes>red</attributes><polygon><pt><x>1</x><y>2</y></pt><pt><x>9</x><y>2"
    b"</y></pt><pt><x>9</x><y>8</y></pt></polygon></object><object><name>m</name><segm><box><xmin>1</xmin>"
    b"<ymin>1</ymin><xmax>3</xmax><ymax>4</ymax></box><mask>m.png</mask></segm></object><imagesize><nrows>"
    b"480</nrows><ncols>640</ncols></imagesize></annotation>",
)
