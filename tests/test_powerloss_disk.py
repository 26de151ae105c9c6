"""What the simulated disk lets survive, on files, folders and journals made by hand."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.powerloss import Kind, Mode, Record, Replayer, Unsupported, cuts, replay, tree
from tests.powerloss.disk import SECTOR_BYTES, Change, Edit, File, Folder, survivors

edits = st.lists(
    st.builds(lambda at, data: Edit(at, data or None), st.integers(0, 1500), st.binary(max_size=1200)), max_size=8
)


@given(edits, edits, st.integers())
def test_each_sector_shows_the_file_as_it_was_at_some_instant(synced, unsynced, seed):
    file = File(unsynced=list(synced))
    file.sync()
    history = [bytes(file.durable)]
    for edit in unsynced:
        file.unsynced.append(edit)
        history.append(bytes(file.content("most", Random())))
    assert file.content("least", Random()) == history[0]
    content = bytes(file.content("random", Random(seed)))
    assert len(content) in map(len, history) or len(content) % SECTOR_BYTES == 0
    for start in range(0, len(content), SECTOR_BYTES):
        sector = content[start : start + SECTOR_BYTES]
        states = [state[start : start + SECTOR_BYTES].ljust(SECTOR_BYTES, b"\0") for state in history]
        # Cut where the file ended then; zeros where the size arrived, but not the bytes.
        assert any(sector == state[: len(sector)] for state in [*states, bytes(SECTOR_BYTES)])


def test_sectors_survive_apart_and_writes_are_torn():
    file = File(unsynced=[Edit(0, b"a" * 5 * SECTOR_BYTES), Edit(5 * SECTOR_BYTES, b"b" * 5 * SECTOR_BYTES)])
    contents = {bytes(file.content("random", Random(seed))) for seed in range(200)}
    shapes = {"".join(chr(c[i]) if c[i] else "0" for i in range(0, len(c), SECTOR_BYTES)) for c in contents}
    assert {"", "aaaaa", "aaaaabbbbb", "aaa", "aaaaabb"} <= shapes
    assert any("0b" in shape for shape in shapes), "a later sector without an earlier one"
    assert any(shape.endswith("0") for shape in shapes), "the size without the bytes"


def test_what_a_file_lost_by_a_smaller_size_does_not_return_when_it_grows():
    file = File(bytearray(b"x" * 2000), [Edit(0, None), Edit(3000, None)])
    contents = {bytes(file.content("random", Random(seed))) for seed in range(50)}
    assert {len(content) for content in contents} == {0, 2000, 3000}
    assert bytes(3000) in contents
    assert not [content for content in contents if len(content) == 3000 and b"x" in content]


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(("", "a", "b", "c"))), max_size=10), st.integers())
def test_of_the_changes_in_a_folder_a_prefix_survives(moves, seed):
    folder = Folder()
    changes, names, history = [], {}, [{}]
    for name, to in moves:  # "" creates the name, or removes it; any other renames
        if name not in names:
            names[name] = File()
            changes.append(Change(names[name], None, (folder, name)))
        elif name != to:
            node = names.pop(name)
            changes.append(Change(node, (folder, name), (folder, to) if to else None))
            if to:
                names[to] = node
        else:
            continue
        history.append(dict(names))
    entries: dict[str, File | Folder] = {}
    mode: Mode
    for mode, allowed in (("least", history[:1]), ("random", history), ("most", history[-1:])):
        entries.clear()
        for change in survivors(changes, mode, Random(seed)):
            change.apply(lambda _: entries)
        assert entries in allowed


def journal_of(path: Path, *records: Record) -> Path:
    """A journal made by hand; node 1 is the root."""
    path.write_bytes(b"".join(r.pack() for r in (Record(Kind.ROOT, 1), Record(Kind.START), *records)))
    return path


@pytest.mark.parametrize("created_durably", [True, False])
def test_a_rename_between_folders_is_one_change_of_the_folder_it_went_to(tmp_path, created_durably):
    journal = journal_of(
        tmp_path / "journal",
        Record(Kind.MKDIR, 2, "from", 1),
        Record(Kind.MKDIR, 3, "to", 1),
        Record(Kind.SYNC, 1),
        Record(Kind.CREATE, 4, "from/f", 2),
        Record(Kind.RENAME, 4, "from/f", 2, "to/f", 3),
        Record(Kind.SYNC, 2 if created_durably else 1, "from"),  # makes the creation durable, not the rename
        Record(Kind.SYNC, 3, "to"),
        Record(Kind.SYNC, 2, "from"),  # must not bring the old name back
    )
    files = {}
    for cut, image, _ in cuts(journal):
        files[cut.position, cut.mode] = {name for name in tree(image) if "/" in name}
        assert len(files[cut.position, cut.mode]) <= 1, cut
    before = {"from/f"} if created_durably else set()
    assert [files[position, "least"] for position in range(7, 11)] == [set(), before, {"to/f"}, {"to/f"}]
    assert [files[position, "most"] for position in range(5, 8)] == [set(), {"from/f"}, {"to/f"}]


def test_a_rename_made_durable_late_leaves_the_successor_of_the_old_name_alone(tmp_path):
    journal = journal_of(
        tmp_path / "journal",
        Record(Kind.MKDIR, 2, "to", 1),
        Record(Kind.CREATE, 3, "f", 1),
        Record(Kind.RENAME, 3, "f", 1, "to/f", 2),
        Record(Kind.CREATE, 4, "f", 1),
        Record(Kind.SYNC, 1),
        Record(Kind.SYNC, 2, "to"),
    )
    replay(journal, 8, tmp_path / "image")
    assert tree(tmp_path / "image") == {"to": None, "f": b"", "to/f": b""}


def test_hard_links_inode_reuse_and_a_journal_cut_short(tmp_path):
    journal = journal_of(
        tmp_path / "journal",
        Record(Kind.CREATE, 2, "first", 1),
        Record(Kind.LINK, 2, "second", 1),
        Record(Kind.SYNC, 1),
        Record(Kind.WRITE, 2, "first", data=b"x" * 10),
        Record(Kind.TRUNCATE, 2, "first", offset=4),
        Record(Kind.SYNC, 2, "first", data_only=True),
        Record(Kind.UNLINK, 2, "first", 1),
        Record(Kind.UNLINK, 2, "second", 1),
        Record(Kind.CREATE, 2, "third", 1),
        Record(Kind.ACK, data="ünïcode".encode()),
        Record(Kind.WRITE, 2, "third", data=b"lost"),
    )
    journal.write_bytes(journal.read_bytes()[:-1])
    replay(journal, 12, tmp_path / "least")
    assert tree(tmp_path / "least") == {"first": b"xxxx", "second": b"xxxx"}
    assert (tmp_path / "least" / "first").samefile(tmp_path / "least" / "second")
    replay(journal, 12, tmp_path / "most", "most")
    assert tree(tmp_path / "most") == {"third": b""}
    replayer = Replayer(journal)
    replayer.advance(len(replayer.records))
    assert len(replayer.records) == 12
    assert replayer.acked == ["ünïcode"]
    with pytest.raises(ValueError, match="cannot move"):
        replayer.advance(3)
    with pytest.raises(Unsupported, match="made unseen"):
        replay(journal_of(tmp_path / "other", Record(Kind.WRITE, 9, "f")), 3, tmp_path / "none")
