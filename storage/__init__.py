"""Bytes that survive: the RocksDB engine, segment files, the manifest, the lock, Arrow in and out.

The promise: when a write returns it has been fsynced (durability "sync"); a batch is atomic; a crash at any instant
leaves the state before or after an operation, never between.
"""

if __name__ != "vsearch.storage":  # a second copy under another name would have classes of its own
    raise ImportError("import vsearch.storage, not storage: the folder is part of the package vsearch")
