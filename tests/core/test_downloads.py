"""Whether a file in a folder of downloads is right."""

from __future__ import annotations

from dataclasses import replace

import pytest

from metalake_sync.core.actions import Reason
from metalake_sync.core.downloads import DownloadedFile, Local, judge_local, judge_size
from metalake_sync.core.snapshots import Fingerprint

HERE = Fingerprint(size_bytes=10, mtime_ns=5, inode=1, ctime_ns=7)
RECORDED = DownloadedFile("id", "birds_a.png", "birds_a.png", HERE)


@pytest.mark.parametrize(
    ("recorded", "local", "judged"),
    [
        (None, None, Reason.NEW),
        (RECORDED, None, Reason.DRIFTED),
        (None, HERE, Local.ASK_SIZE),
        (RECORDED, HERE, Local.RIGHT),
        (RECORDED, Fingerprint(10, 5, 99, 99), Local.RIGHT),
        (replace(RECORDED, checked=False), HERE, Local.CHECK_SIZE),
        (replace(RECORDED, checked=False), Fingerprint(11, 5, 1, 7), Reason.DRIFTED),
        (RECORDED, Fingerprint(11, 5, 1, 7), Reason.DRIFTED),
        (RECORDED, Fingerprint(10, 6, 1, 7), Reason.DRIFTED),
    ],
)
def test_an_item_is_downloaded_unless_its_local_file_is_unchanged(
    recorded: DownloadedFile | None, local: Fingerprint | None, judged: Reason | Local
) -> None:
    assert judge_local("id", recorded, local) is judged


def test_another_id_means_other_bytes() -> None:
    assert judge_local("another id", RECORDED, HERE) is Reason.CONTENT_CHANGED


def test_the_size_of_an_unrecorded_file_can_refute_but_not_prove_equality() -> None:
    assert judge_size(10, HERE) is Local.ASK_STORE
    assert judge_size(11, HERE) is Reason.CONTENT_CHANGED
    assert judge_size(None, HERE) is Reason.CONTENT_CHANGED
