"""The CSV of TensorFlow's tutorials: rows, their places, and tables that are none."""

from __future__ import annotations

from pathlib import Path

from tests.annotations.formats.source_folders import drawn, errors_of, read_source
from tests.annotations.opened import notes

HEAD = "filename,width,height,class,xmin,ymin,xmax,ymax\n"


def test_rows_of_one_image_need_not_follow_each_other(tmp_path: Path) -> None:
    rows = 'a.png,200,100,"cup, red",1,2,11,22\r\nb.png,200,100,plate,0,0,5,5\r\na.png,200,100,plate,3,3,9,9\r\n'
    index = read_source(tmp_path, {"all.csv": HEAD + rows})
    assert drawn(index) == {
        "a.png": [("rectangle", "cup, red", [1, 2, 10, 20]), ("rectangle", "plate", [3, 3, 6, 6])],
        "b.png": [("rectangle", "plate", [0, 0, 5, 5])],
    }
    assert not notes(index)


def test_columns_may_have_another_order_and_letter_case(tmp_path: Path) -> None:
    table = "Class,Filename,XMin,YMin,XMax,YMax\ncat,a.png,1,2,3,5\n"
    assert drawn(read_source(tmp_path, {"all.csv": table})) == {"a.png": [("rectangle", "cat", [1, 2, 2, 3])]}


def test_an_image_without_a_box_has_no_shapes(tmp_path: Path) -> None:
    assert drawn(read_source(tmp_path, {"all.csv": f"{HEAD}a.png,200,100,,,,,\n"})) == {"a.png": []}


def test_what_cannot_be_read_is_told_with_its_line(tmp_path: Path) -> None:
    rows = "a.png,200,100,cat,1,2,x,4\n,200,100,cat,1,2,3,4\na.png,200,100,cat,1,2\nb.png,200,100,,1,2,3,4\n"
    index = read_source(tmp_path, {"all.csv": f"{HEAD}{rows}b.png,200,100,cat,1,2,3,4\n"})
    assert drawn(index)["b.png"] == [("rectangle", "cat", [1, 2, 2, 2])]
    told = notes(index)
    assert "rows can't be read: 'x' is not a number; left out (once: line 2)" in told
    assert "rows name no image; left out (once: line 3)" in told
    assert "rows end before 'xmax', so images without an entry keep their sets; left out (once: line 4)" in told
    assert "line 5" in told


def test_a_row_of_a_file_name_alone_has_no_shapes_and_a_row_that_was_cut_off_is_no_entry(tmp_path: Path) -> None:
    """A file may end anywhere: what is lost is not known, so other images keep their sets."""
    alone = read_source(tmp_path, {"all.csv": f"{HEAD}a.png\nb.png,200,100,,,,,\n"})
    assert drawn(alone) == {"a.png": [], "b.png": []}
    assert alone.mode == "replace"
    rows = f"{HEAD}a.png,200,100,cat,1,2,3,4\nb.png,200,100,cat,1,2,3,4\n"
    for cut in range(len(HEAD) + len("a.png,200,100,cat,1,2,3,4\nb.png,"), len(rows) - 3):
        index = read_source(tmp_path, {"all.csv": rows[:cut]}, "all.csv", "tf_csv")
        assert list(drawn(index)) == ["a.png"], rows[:cut]
        assert index.mode == "append"
        assert "all.csv: rows end before" in notes(index)


def test_a_quote_that_is_not_closed_is_one_error_with_its_line(tmp_path: Path) -> None:
    found = errors_of(tmp_path, {"all.csv": f'{HEAD}a.png,1,1,cat,1,2,3,4\nb.png,1,1,"cat,1,2,3,4\n'}, "all.csv")
    assert "all.csv:3: broken CSV" in found


def test_another_table_of_the_folder_is_no_error(tmp_path: Path) -> None:
    files = {"all.csv": f"{HEAD}a.png,1,1,cat,1,2,3,4\n", "sizes.csv": "file,bytes\na.png,7\n"}
    for format in (None, "tf_csv"):
        index = read_source(tmp_path, files, format=format)
        assert list(drawn(index)) == ["a.png"]
        assert "1 file holds no annotations and is left out" in notes(index)


def test_tables_do_not_make_a_folder_of_labels_one_of_tables(tmp_path: Path) -> None:
    files = {"a.txt": "0 0.5 0.5 0.1 0.1\n", "classes.txt": "cat\n", "metadata.csv": "file,weather\na.png,rain\n"}
    index = read_source(tmp_path, files)
    assert list(drawn(index)) == ["a"]
    assert not notes(index)


def test_a_table_without_the_columns_is_refused(tmp_path: Path) -> None:
    found = errors_of(tmp_path, {"all.csv": "filename,class\na.png,cat\n"}, format="tf_csv")
    assert "all.csv: the table has no column 'xmin'" in found


def test_a_table_of_a_split_means_the_images_beside_it(tmp_path: Path) -> None:
    files = {f"set/{split}/_annotations.csv": f"{HEAD}a.png,200,100,{split},1,2,3,4\n" for split in ("train", "valid")}
    local = ("set/train/a.png", "set/valid/a.png")
    index = read_source(tmp_path, files, "set", local=local)
    assert {image: found[0][1] for image, found in drawn(index).items()} == {local[0]: "train", local[1]: "valid"}
    index = read_source(tmp_path, {"elsewhere.csv": f"{HEAD}a.png,200,100,cat,1,2,3,4\n"}, "elsewhere.csv", local=local)
    assert index.without_file == [f"a.png (ambiguous: '{local[0]}' or '{local[1]}')"]
