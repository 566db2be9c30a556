"""Sources of formats of labeling tools and data sets, for the tests that every format passes.

`CONFORMANCE` has the parts of a `Sample` in `test_format_conformance`: the file of image `b`, all files, the file with
a broken box of `b`, and what the report of that box names. `JUNK` has the extension and the content of one file with at
least one shape, for `test_junk`.
"""

from __future__ import annotations

CONFORMANCE: dict[str, tuple[str, dict[str, str], str, str]] = {}
JUNK: dict[str, tuple[str, bytes]] = {}


def _tf_csv(right: str) -> str:
    head = "filename,width,height,class,xmin,ymin,xmax,ymax\n"
    return f"{head}a.png,640,480,cell,10,20,40,60\nb.png,640,480,cell,1,2,{right},6\n"


CONFORMANCE["tf_csv"] = ("all.csv", {"all.csv": _tf_csv("4")}, _tf_csv("here"), "line 3")
JUNK["tf_csv"] = ("csv", b'filename,width,height,class,xmin,ymin,xmax,ymax\na.jpg,9,9,"x, y",1,2,3,4\n')
