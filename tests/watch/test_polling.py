"""Which file systems are polled, and which mounts disappeared."""

from __future__ import annotations

from pathlib import Path

import pytest

from metalake_sync.watch.polling import Mounts, silent_filesystem

LINE = "{number} 25 0:{number} / {place} rw,relatime shared:1 - {kind} {source} rw\n"


def mounts(tmp_path: Path, **kinds: str) -> Path:
    """Write a mountinfo with an ext4 root and a folder for each file system type."""
    text = LINE.format(number=1, place="/", kind="ext4", source="/dev/sda1")
    for number, (name, kind) in enumerate(kinds.items(), start=2):
        place = f"{tmp_path}/{name}".replace(" ", "\\040")
        text += LINE.format(number=number, place=place, kind=kind, source="server:/export")
    file = tmp_path / "mountinfo"
    file.write_text(text)
    return file


@pytest.mark.parametrize("kind", ["nfs", "nfs4", "cifs", "smb3", "9p", "ceph", "fuse.sshfs", "fuse.s3fs", "fuseblk"])
def test_network_file_systems_send_no_notifications(tmp_path: Path, kind: str) -> None:
    (tmp_path / "camera" / "deep").mkdir(parents=True)
    assert silent_filesystem(str(tmp_path / "camera" / "deep"), mounts(tmp_path, camera=kind)) == kind
    assert silent_filesystem(str(tmp_path), mounts(tmp_path, camera=kind)) is None


@pytest.mark.parametrize("kind", ["ext4", "xfs", "btrfs", "tmpfs", "overlay", "zfs"])
def test_local_file_systems_send_notifications(tmp_path: Path, kind: str) -> None:
    (tmp_path / "camera").mkdir()
    assert silent_filesystem(str(tmp_path / "camera"), mounts(tmp_path, camera=kind)) is None


def test_the_innermost_mount_and_the_last_of_two_on_one_path_decide(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    assert silent_filesystem(str(tmp_path / "a" / "b"), mounts(tmp_path, a="nfs4", **{"a/b": "ext4"})) is None
    twice = mounts(tmp_path, a="ext4")
    twice.write_text(twice.read_text() + LINE.format(number=9, place=tmp_path / "a", kind="nfs4", source="s:/"))
    assert silent_filesystem(str(tmp_path / "a"), twice) == "nfs4"


def test_mounts_with_a_space_in_their_name_or_behind_a_link_are_found(tmp_path: Path) -> None:
    (tmp_path / "my camera").mkdir()
    (tmp_path / "link").symlink_to("my camera")
    assert silent_filesystem(str(tmp_path / "link"), mounts(tmp_path, **{"my camera": "nfs4"})) == "nfs4"


def test_without_a_mount_table_no_file_system_is_polled(tmp_path: Path) -> None:
    assert silent_filesystem(str(tmp_path), tmp_path / "none") is None


def test_mounts_that_disappeared_below_the_roots_are_remembered(tmp_path: Path) -> None:
    (tmp_path / "camera" / "left").mkdir(parents=True)
    table = mounts(tmp_path, camera="nfs4", cameras="nfs4", **{"camera/left": "nfs4"})
    known = Mounts([str(tmp_path / "camera")], table)
    assert known.gone() == []
    mounts(tmp_path, camera="nfs4")
    assert known.gone() == [f"{tmp_path}/camera/left"]
    mounts(tmp_path)
    assert known.gone() == [f"{tmp_path}/camera", f"{tmp_path}/camera/left"]
    mounts(tmp_path, camera="nfs4", **{"camera/left": "nfs4"})
    assert known.gone() == []
