"""The families of the engine and how RocksDB is set up for each: every option set here has its reason beside it."""

from __future__ import annotations

from typing import Final

from rocksdict import BlockBasedOptions, Cache, DBCompressionType, DBRecoveryMode, Options

IDS: Final = "ids"  # collection, id -> pid
POINTS: Final = "points"  # collection, pid -> id, payload, expiry
UNSEALED: Final = "unsealed"  # collection, pid -> vectors, until a sealed segment has them
TOMBSTONES: Final = "tombstones"  # collection, pid of a deleted or replaced point, until compaction drops its row
MANIFEST: Final = "manifest"  # schemas, live segments, counters
CACHE_ENTRIES: Final = "cache_entries"  # cache, entry -> what a lookup needs of it, with its vector
CACHE_ANSWERS: Final = "cache_answers"  # cache, entry -> prompt and response
CACHE_LEARNED: Final = "cache_learned"  # cache, entry -> observations of it
CACHE_SOURCES: Final = "cache_sources"  # collection, id, cache, entry: the entry was made from the point
CACHE_FAMILIES: Final = (CACHE_ENTRIES, CACHE_ANSWERS, CACHE_LEARNED, CACHE_SOURCES)
FAMILIES: Final = (IDS, POINTS, UNSEALED, TOMBSTONES, MANIFEST, *CACHE_FAMILIES)
LATER_FAMILIES: Final = CACHE_FAMILIES  # which a database lacks until this release or a newer one writes to it
EMPTY: Final = "default"  # a family that every RocksDB has and nothing is put into: readers see it for an absent one

WAL_BYTES: Final = 128 << 20  # the log is replayed at open; this much takes about a second
WRITE_BUFFERS_BYTES: Final = 64 << 20  # memory of all families together before one is flushed
READER_OPEN_FILES: Final = -1  # a reader keeps every table open: the writer may delete one that it still uses
WRITER_OPEN_FILES: Final = 256


def database_options(read_only: bool) -> Options:
    """Options of the whole database."""
    options = Options(raw_mode=True)
    options.create_if_missing(not read_only)
    options.create_missing_column_families(not read_only)
    options.set_paranoid_checks(True)  # stop at the first sign of damage
    # A torn tail after a power loss ends the log there; no record behind a hole is used.
    options.set_wal_recovery_mode(DBRecoveryMode.point_in_time())
    options.set_max_total_wal_size(WAL_BYTES)
    options.set_db_write_buffer_size(WRITE_BUFFERS_BYTES)
    options.set_max_background_jobs(2)  # flushes and compactions leave the other cores to searches
    options.set_bytes_per_sync(1 << 20)  # spreads the writing of table files, so that no commit waits behind it
    options.set_max_open_files(READER_OPEN_FILES if read_only else WRITER_OPEN_FILES)
    options.set_skip_stats_update_on_db_open(True)  # opening need not read every table
    options.set_stats_dump_period_sec(0)
    options.set_stats_persist_period_sec(0)
    options.set_keep_log_file_num(2)  # RocksDB's own diary, of use only to look into a failure
    options.set_max_log_file_size(4 << 20)
    options.set_manifest_preallocation_size(64 << 10)  # the default of 4 MiB is most of a small database
    return options


def family_options(family: str, cache: Cache) -> Options:
    """Options of one family; `cache` is shared by all.

    ids: point lookups, often of ids that do not exist, so a bloom filter. points: lookups of pids that do exist, one
    for every hit of a search, so a filter only where it helps a hit, and LZ4, which costs less than the reading it
    saves. unsealed: vectors, which do not compress and are soon deleted by range; in a large buffer most die in memory.
    tombstones and manifest: small and scanned whole. cache_answers: looked up for every hit, like points; the other
    families of caches are scanned whole when a cache is opened.
    """
    table = BlockBasedOptions()
    table.set_block_cache(cache)
    table.set_cache_index_and_filter_blocks(True)  # so that the cache's size bounds them too
    table.set_pin_l0_filter_and_index_blocks_in_cache(True)
    options = Options(raw_mode=True)
    options.set_write_buffer_size(16 << 20)
    options.set_compression_type(DBCompressionType.lz4())
    # Slowing a writer down happens inside a call that holds Python's global lock: start late, as flushes catch up.
    options.set_level_zero_slowdown_writes_trigger(40)
    options.set_level_zero_stop_writes_trigger(64)
    if family in (IDS, POINTS, CACHE_ANSWERS):
        table.set_bloom_filter(10, False)  # 10 bits a key: 1 % false positives
    if family in (POINTS, CACHE_ANSWERS):
        table.set_block_size(8 << 10)  # some tens of payloads, read and unpacked together
        options.set_optimize_filters_for_hits(True)
    if family == UNSEALED:
        options.set_write_buffer_size(48 << 20)
        options.set_max_write_buffer_number(3)
        options.set_compression_type(DBCompressionType.none())
    options.set_block_based_table_factory(table)
    return options
