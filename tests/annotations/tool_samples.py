"""Sources of formats of labeling tools and data sets, for the tests that every format passes.

`CONFORMANCE` has the parts of a `Sample` in `test_format_conformance`: the file of image `b`, all files, the file with
a broken box of `b`, and what the report of that box names. `JUNK` has the extension and the content of one file with at
least one shape, for `test_junk`.
"""

from __future__ import annotations

from tests.annotations.formats.source_folders import mask_png

CONFORMANCE: dict[str, tuple[str, dict[str, str | bytes], str | bytes, str]] = {}
IMAGES = {"mot": ("000001", "000002")}
"""The images of a sample, where they are not `a` and `b`."""
JUNK: dict[str, tuple[str, bytes]] = {}


def _tf_csv(right: str) -> str:
    head = "filename,width,height,class,xmin,ymin,xmax,ymax\n"
    return f"{head}a.png,640,480,cell,10,20,40,60\nb.png,640,480,cell,1,2,{right},6\n"


CONFORMANCE["tf_csv"] = ("all.csv", {"all.csv": _tf_csv("4")}, _tf_csv("here"), "line 3")
JUNK["tf_csv"] = ("csv", b'filename,width,height,class,xmin,ymin,xmax,ymax\na.jpg,9,9,"x, y",1,2,3,4\n')


def _createml(x: str) -> str:
    box = '{"label": "cell", "coordinates": {"x": %s, "y": 40, "width": 20, "height": 40}}'
    images = [f'{{"image": "{name}.png", "annotations": [{box % one}]}}' for name, one in (("a", "20"), ("b", x))]
    return f"[{', '.join(images)}]"


CONFORMANCE["createml"] = (
    "all.json",
    {"all.json": _createml("30")},
    _createml('"here"'),
    "[1].annotations[0]",
)
JUNK["createml"] = (
    "json",
    b'[{"image": "a.jpg", "annotations": [{"label": "x", "coordinates": {"x": 5, "y": 5, "width": 4, "height": 4}}]}]',
)


def _kitti(right: str) -> str:
    return f"cell 0.00 1 -1.57 10 20 {right} 60 -1 -1 -1 -1000 -1000 -1000 -10\n"


CONFORMANCE["kitti"] = ("b.txt", {"a.txt": _kitti("40"), "b.txt": _kitti("40")}, _kitti("here"), "line 1")
JUNK["kitti"] = ("txt", b"x y 0.5 1 -1.57 1 2 3 4 1 1 1 1 1 1 -1.5 0.9\n")


def _dota(third: str) -> str:
    return f"10 20 30 20 {third} 40 10 40 cell 0\n"


CONFORMANCE["dota"] = ("b.txt", {"a.txt": _dota("30"), "b.txt": _dota("30")}, _dota("here"), "line 1")
JUNK["dota"] = ("txt", b"imagesource:x\n1 2 5 2 5 6 1 6 small vehicle 1\n")


def _mot(width: str) -> str:
    return f"# frame,track\n1,1,10,20,30,40,1,1,1\n2,1,10,20,{width},40,1,1,0.5\n"


CONFORMANCE["mot"] = ("gt.txt", {"gt.txt": _mot("30"), "labels.txt": "cell\n"}, _mot("here"), "line 3")
JUNK["mot"] = ("txt", b"1,1,10,20,30,40,1,1,1.0\n2,-1,1,2,3,4,0,3,0.5\n")


def _open_images(right: str) -> str:
    head = "ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax,IsOccluded\n"
    return f"{head}a,xclick,/m/1,1,0.1,0.2,0.1,0.2,0\nb,xclick,/m/1,1,0.1,{right},0.1,0.2,-1\n"


CONFORMANCE["open_images"] = (
    "boxes.csv",
    {"boxes.csv": _open_images("0.2"), "class-descriptions.csv": "/m/1,cell\n"},
    _open_images("here"),
    "line 3",
)
JUNK["open_images"] = ("csv", _open_images("0.2").encode())


def _via(x: str) -> str:
    shape = '{"shape_attributes": {"name": "rect", "x": %s, "y": 20, "width": 5, "height": 6}, "region_attributes": %s}'
    entry = '"%s.png7": {"filename": "%s.png", "size": 7, "file_attributes": {}, "regions": [%s]}'
    label = '{"label": "cell"}'
    return f"{{{entry % ('a', 'a', shape % ('10', label))}, {entry % ('b', 'b', shape % (x, label))}}}"


CONFORMANCE["via"] = ("all.json", {"all.json": _via("10")}, _via('"here"'), "'b.png7'.regions[0]")
JUNK["via"] = ("json", _via("10").encode())


def _vott(left: str) -> str:
    box = '{"type": "RECTANGLE", "tags": ["cell"], "boundingBox": {"left": %s, "top": 2, "width": 3, "height": 4}}'
    asset = '"%s1": {"asset": {"name": "%s.png", "path": "file:%s.png"}, "regions": [%s]}'
    assets = f"{asset % ('a', 'a', 'a', box % '1')}, {asset % ('b', 'b', 'b', box % left)}"
    return f'{{"name": "p", "videoSettings": {{}}, "assets": {{{assets}}}}}'


CONFORMANCE["vott"] = ("all.json", {"all.json": _vott("1")}, _vott('"here"'), "assets['b1'].regions[0]")
JUNK["vott"] = ("json", _vott("1").encode())


def _ground_truth(left: str) -> str:
    about = '"boxes-metadata": {"class-map": {"0": "cell"}, "objects": [{"confidence": 0.5}]}'
    box = '"boxes": {"annotations": [{"class_id": 0, "left": %s, "top": 2, "width": 3, "height": 4}]}'
    line = '{"source-ref": "s3://bucket/set/%s.png", %s, %s}\n'
    return line % ("a", box % "1", about) + line % ("b", box % left, about)


CONFORMANCE["ground_truth"] = (
    "all.manifest",
    {"all.manifest": _ground_truth("1")},
    _ground_truth('"here"'),
    "line 2, annotations[0]",
)
JUNK["ground_truth"] = ("manifest", _ground_truth("1").encode())


def _cityscapes(x: str) -> str:
    outline = f"[[{x}, 20], [40, 20], [40, 60]]"
    return f'{{"imgHeight": 480, "imgWidth": 640, "objects": [{{"label": "cell", "polygon": {outline}}}]}}'


CONFORMANCE["cityscapes"] = (
    "b.json",
    {"a.json": _cityscapes("10"), "b.json": _cityscapes("10")},
    _cityscapes('"here"'),
    "objects[0]",
)
JUNK["cityscapes"] = ("json", _cityscapes("10").encode())


def _bdd100k(left: str) -> str:
    label = '{"category": "cell", "box2d": {"x1": %s, "y1": 20, "x2": 40, "y2": 60}, "attributes": {}}'
    frame = '{"name": "%s.png", "labels": [%s]}'
    return f"[{frame % ('a', label % '10')}, {frame % ('b', label % left)}]"


CONFORMANCE["bdd100k"] = ("all.json", {"all.json": _bdd100k("10")}, _bdd100k('"here"'), "[1].labels[0]")
JUNK["bdd100k"] = (
    "json",
    b'[{"name": "a.jpg", "labels": [{"category": "x", "poly2d": [{"vertices": [[1, 2], [3, 2], [4, 5]]}]}'
    b', {"category": "y", "rle": {"size": [2, 2], "counts": [1, 2, 1]}, "graph": {"nodes": [{"location": [1, 2]}]}}]}]',
)


_BOX = [[1 if 10 <= x < 40 and 20 <= y < 60 else 0 for x in range(640)] for y in range(480)]
"""The pixels of a mask with one box, of the size of the images."""

CONFORMANCE["voc_masks"] = (
    "SegmentationClass/b.png",
    {
        **{f"SegmentationClass/{name}.png": mask_png(_BOX) for name in ("a", "b")},
        "labelmap.txt": "background:0,0,0::\ncell:9,9,9::\n",
    },
    mask_png(_BOX)[:60],
    "SegmentationClass/b.png",
)


def _coco_panoptic(segment_id: str) -> str:
    one = '{"image_id": %d, "file_name": "%s.png", "segments_info": [{"id": %s, "category_id": 1, "iscrowd": 0}]}'
    images = '[{"id": 1, "file_name": "a.jpg"}, {"id": 2, "file_name": "b.jpg"}]'
    both = f"{one % (1, 'a', '1')}, {one % (2, 'b', segment_id)}"
    return f'{{"annotations": [{both}], "images": {images}, "categories": [{{"id": 1, "name": "cell"}}]}}'


CONFORMANCE["coco_panoptic"] = (
    "all.json",
    {"all.json": _coco_panoptic("1"), **{f"{name}.png": mask_png(_BOX) for name in ("a", "b")}},
    _coco_panoptic('"here"'),
    "annotations[1].segments_info[0]",
)
