"""Files replaced whole, failures told with the path, failpoints that act when and only when they should."""

from __future__ import annotations

import errno
import itertools
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from storage_crash import in_fresh_process, kill_everywhere

from vsearch.errors import Corruption, DurabilityError, InvalidArgument
from vsearch.storage import failpoints, files


@pytest.fixture(autouse=True)
def disarmed() -> Iterator[None]:
    yield
    failpoints.arm("")


def test_written_files_hold_what_was_written(tmp_path: Path) -> None:
    files.write_atomic(tmp_path / "a", b"one")
    files.write_atomic(tmp_path / "a", b"two")
    assert (tmp_path / "a").read_bytes() == b"two"
    with files.WritableFile(tmp_path / "b") as file:
        file.write(b"....")
        file.write(memoryview(bytearray(2 << 20)))  # more than the buffer
        file.write(b"end")
        assert file.position == 4 + (2 << 20) + 3
        file.write_at(1, b"ab")
        file.write(b"!")
    assert (tmp_path / "b").read_bytes() == b".ab." + bytes(2 << 20) + b"end!"
    assert sorted(os.listdir(tmp_path)) == ["a", "b"]


def test_an_existing_file_is_not_overwritten_by_accident(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"precious")
    with pytest.raises(FileExistsError):
        files.WritableFile(tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == b"precious"


def test_a_block_that_raises_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), files.WritableFile(tmp_path / "a") as file:
        file.write(b"%d" % (1 // file.position))
    assert not os.listdir(tmp_path)


def test_folders_are_made_with_their_parents_and_removed_without_following_links(tmp_path: Path) -> None:
    files.make_directory(tmp_path / "a" / "b" / "c")
    files.make_directory(tmp_path / "a" / "b" / "c")
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "x").touch()
    (tmp_path / "a" / "b" / "link").symlink_to(tmp_path / "kept")
    files.remove_tree(tmp_path / "a")
    files.remove_tree(tmp_path / "a")
    files.remove_file(tmp_path / "absent")
    assert os.listdir(tmp_path) == ["kept"]
    assert os.listdir(tmp_path / "kept") == ["x"]


def syncs(action: Callable[[], object], monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the points that an action reaches, in order."""
    reached: list[str] = []
    monkeypatch.setattr(failpoints, "reach", reached.append)
    action()
    monkeypatch.undo()
    return reached


@pytest.mark.skipif(sys.platform != "linux", reason="descriptors are named by /proc, and macOS syncs by fcntl")
def test_content_is_synced_before_the_name_and_the_folder_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    descriptors: list[str] = []
    fsync, rename = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda fd: (descriptors.append(os.readlink(f"/proc/self/fd/{fd}")), fsync(fd)))
    monkeypatch.setattr(os, "replace", lambda a, b: (descriptors.append("rename"), rename(a, b)))
    files.write_atomic(tmp_path / "a", b"one")
    assert descriptors == [str(tmp_path / ".tmp-a"), "rename", str(tmp_path)]


def test_every_step_has_a_point_before_and_after(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert syncs(lambda: files.write_atomic(tmp_path / "a", b"one"), monkeypatch) == [
        "file.write",
        *("file.sync.before", "file.sync.after"),
        *("rename.before", "rename.after"),
        *("directory.sync.before", "directory.sync.after"),
    ]


@pytest.mark.parametrize("action", ["error", "enospc"])
def test_a_refused_write_names_the_path_and_keeps_the_old_content(tmp_path: Path, action: str) -> None:
    path = tmp_path / "a"
    files.write_atomic(path, b"old")
    for point in ("file.write", "file.sync.before", "file.sync.after", "rename.before"):
        failpoints.arm(f"{point}={action}")
        with pytest.raises(DurabilityError, match=str(path.parent)) as caught:
            files.write_atomic(path, b"new")
        assert caught.value.hint
        assert path.read_bytes() == b"old"
    failpoints.arm("")
    files.write_atomic(path, b"new")
    assert path.read_bytes() == b"new"


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EACCES])
def test_every_kind_of_refusal_is_a_durability_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def refuse(*arguments: object, **options: object) -> None:
        raise OSError(code, os.strerror(code))

    def expect(action: Callable[[], object]) -> None:
        with pytest.raises(DurabilityError, match=f"{tmp_path}.*{os.strerror(code)}") as caught:
            action()
        assert caught.value.hint
        assert caught.value.retryable

    (tmp_path / "a").touch()
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", refuse)
        expect(lambda: files.sync_directory(tmp_path))
        expect(lambda: files.make_directory(tmp_path / "folder"))
        expect(lambda: files.write_atomic(tmp_path / "b", b""))
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", refuse)
        expect(lambda: files.replace(tmp_path / "a", tmp_path / "b"))
    with monkeypatch.context() as patch:
        patch.setattr(os, "open", refuse)
        expect(lambda: files.open_descriptor(tmp_path / "c"))
    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", refuse)
        expect(lambda: files.remove_file(tmp_path / "a"))
    with monkeypatch.context() as patch:
        patch.setattr(files.shutil, "rmtree", refuse)
        expect(lambda: files.remove_tree(tmp_path))


def test_a_missing_file_is_corruption_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(Corruption, match=f"{tmp_path / 'a'} is missing"):
        files.map_file(tmp_path / "a")
    with pytest.raises(Corruption, match=str(tmp_path)):
        files.map_file(tmp_path)


def test_the_digest_is_that_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    data = os.urandom(1000)
    whole = files.digest(data)
    assert files.digest(data[:-1]) != whole
    monkeypatch.setattr(files, "_HASH_CHUNK_BYTES", 7)
    assert files.digest(data) == whole


# What a kill leaves behind.


def replace_content(folder: Path) -> None:
    files.write_atomic(folder / "a", b"new" * 1000)
    files.make_directory(folder / "x" / "y")
    files.remove_file(folder / "b")


def check_content(folder: Path, point: str) -> None:
    content = (folder / "a").read_bytes()
    assert content in (b"old", b"new" * 1000), point
    assert content == b"new" * 1000 or (not (folder / "x").exists() and (folder / "b").exists()), point
    replace_content(folder)  # what was left behind is no obstacle
    assert (folder / "a").read_bytes() == b"new" * 1000, point


def kill_writers(folder: Path) -> None:
    folder.mkdir()
    (folder / "a").write_bytes(b"old")
    (folder / "b").touch()
    assert kill_everywhere(folder, replace_content, check_content) == 1 + 2 + 2 + 2 * 4 + 2


def test_a_killed_writer_leaves_the_old_content_or_the_new(tmp_path: Path) -> None:
    in_fresh_process(kill_writers, tmp_path / "case")


# Failpoints.


def test_unarmed_points_do_nothing() -> None:
    for name in failpoints.names():
        failpoints.reach(name)


def test_the_names_are_those_of_the_constants() -> None:
    constants = {value for key, value in vars(failpoints).items() if key.isupper() and key != "VARIABLE"}
    assert set(failpoints.names()) == {name for name in constants if isinstance(name, str)}
    assert "rename.before" in failpoints.names()
    assert failpoints.VARIABLE not in failpoints.names()


@pytest.mark.parametrize(
    ("specification", "failing"),
    [("rename.before=error", {1, 2, 3, 4}), ("rename.before=error:3", {3}), (" rename.after=error,", set())],
)
def test_a_point_acts_at_the_visit_that_was_asked_for(specification: str, failing: set[int]) -> None:
    failpoints.arm(specification)
    failed = set()
    for visit in range(1, 5):
        try:
            failpoints.reach("rename.before")
        except OSError as error:
            failed.add((visit, error.errno))
    assert failed == {(visit, errno.EIO) for visit in failing}


@pytest.mark.parametrize("text", ["rename=error", "rename.before", "rename.before=burn", "rename.before=kill:x"])
def test_what_cannot_be_read_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgument):
        failpoints.arm(text)


def test_the_environment_arms_points_at_the_start_of_the_process() -> None:
    code = "from vsearch.storage import failpoints\nfor _ in range(2): failpoints.reach('commit.before')"

    def run(specification: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, failpoints.VARIABLE: specification}
        command = [sys.executable, "-c", code]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    assert run("").returncode == 0
    assert run("commit.before=kill:2,file.write=error").returncode == -9
    assert run("commit.before=kill:3").returncode == 0
    failed = run("commit.before=enospc")
    assert failed.returncode == 1
    assert os.strerror(errno.ENOSPC) in failed.stderr
    assert "unknown failpoint" in run("commit=kill").stderr


def test_every_name_is_reached_somewhere() -> None:
    folders = Path(files.__file__).parent, Path(files.__file__).parents[1]
    paths = [path for folder in folders for path in folder.glob("*.py") if path.stem != "failpoints"]
    sources = [path.read_text() for path in paths]
    constants = [key for key, value in vars(failpoints).items() if key.isupper() and value in failpoints.names()]
    unused = [key for key in constants if not any(f"failpoints.{key}" in source for source in sources)]
    assert not unused
    assert len(constants) == len(list(itertools.chain(failpoints.names())))
