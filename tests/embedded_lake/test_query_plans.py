"""Every database query for one file uses an index, so a lake of a million files is as fast as an empty one."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from tests.embedded_lake.talk import box, image_set, lake_at, png

LARGE = ("items", "uploads", "parts", "annotation_sets", "annotation_labels")


def test_no_call_about_one_file_scans_a_whole_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: set[str] = set()
    connect = sqlite3.connect

    def listening(*args: object, **options: object) -> sqlite3.Connection:
        connection: sqlite3.Connection = connect(*args, **options)  # type: ignore[call-overload]
        connection.set_trace_callback(asked.add)
        return connection

    monkeypatch.setattr(sqlite3, "connect", listening)
    with lake_at(tmp_path) as talk:
        session = talk.upload({f"{number}.png": png(salt=b"%d" % number) for number in range(3)}, "birds")
        talk.upload({"9.png": png(salt=b"again")}, "birds")
        talk.annotate("op", [image_set("birds_1.png", box("bird", 1, 1, 2, 2))])
        talk.details("birds_1.png", "Tags")
        talk.items(session.collection_id)
        talk.annotations(session.collection_id)
        metadata = [{"file": "1.png", "metadata": {"City": "Rome"}}]
        talk.asked(
            "/api/client/metadata/uploadMetadataByJson", {"metadata": metadata, "collectionId": session.collection_id}
        )
        talk.trash(objectIdList=[talk.items(session.collection_id)[0]["id"]], contentType=2)
    monkeypatch.undo()
    assert any("FROM items" in text for text in asked)
    scans = []
    with sqlite3.connect(tmp_path / "lake.db") as db:
        db.create_function("new_id", 0, str)
        for text in asked:
            if text.lstrip().upper().startswith(("SELECT", "UPDATE", "DELETE", "INSERT", "WITH")):
                for *_, step in db.execute(f"EXPLAIN QUERY PLAN {text}"):
                    if step.startswith("SCAN") and step.split()[1] in LARGE and "USING" not in step:
                        scans.append((step, " ".join(text.split())))
    assert scans == []
