"""A power loss at any instant, simulated: does what a program acknowledged survive on disk?

    record(["-c", program], root, journal)                  # runs it; it calls powerloss.ack(message) when it promises
    for cut, image, acked in cuts(journal, count=200):      # the disk as a cut may leave it, and the promises before
        check(image, acked)                                 # the image may be opened, repaired and written

shim.c records, journal.py reads, replay.py says what a disk may hold and by which rules, disk.py keeps the books.
"""

from .disk import MODES, Mode
from .journal import Kind, Record, read_journal, sync_counts
from .replay import Cut, Replayer, Unsupported, cuts, replay, tree, verify
from .shim import ack, record, unavailable

__all__ = [
    "MODES",
    "Cut",
    "Kind",
    "Mode",
    "Record",
    "Replayer",
    "Unsupported",
    "ack",
    "cuts",
    "read_journal",
    "record",
    "replay",
    "sync_counts",
    "tree",
    "unavailable",
    "verify",
]
