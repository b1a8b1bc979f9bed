"""Every size that a reader accepts, in one place, checked before anything is allocated (spec chapter 13)."""

from __future__ import annotations

from typing import Final

KIB: Final = 1 << 10
MIB: Final = 1 << 20
GIB: Final = 1 << 30

VERSION: Final = 1

# B-1, B-2: geometry
BLOCK_MIN: Final = 4 * KIB
BLOCK_MAX: Final = MIB
BLOCK_DEFAULT: Final = 64 * KIB
COLUMNS_MAX: Final = 128
PARITY_ROWS_MIN: Final = 2
PARITY_ROWS_MAX: Final = 128
# B-3
SEGMENT_STORED_MAX: Final = 288 * MIB
# G-5
SLICE_MAX: Final = 256 * MIB
SLICE_DEFAULT: Final = 64 * MIB
SLICE_LEAST: Final = 16 * MIB
# S-3
BURST_MIN: Final = MIB
# S-7
LIST_COMBINATIONS_MAX: Final = 64
# G-9
PATCHES_MAX: Final = 192 * MIB  # what both codes in turns keep of the members of a group
# S-14, S-15
CHUNK_MAX: Final = MIB
CHUNKS_MAX: Final = 65_536
SEGMENT_FILES_MAX: Final = 65_536
# G-6
GROUP_MAX: Final = 128
LOSE_MAX: Final = 63
# C-2
WINDOW_MAX: Final = MIB
# K-6
ENVELOPES_MAX: Final = 64
PREAMBLE_MAX: Final = 128 * KIB
# K-14, K-16
ARGON2_KIB_MAX: Final = 512 * KIB
ARGON2_ITERATIONS_MAX: Final = 16
ARGON2_LANES_MAX: Final = 16
PASSPHRASE_MIN: Final = 8  # bytes in NFC and UTF-8
# G: catalog
CATALOG_SMALL_BODY: Final = 16 * MIB
SEALED_PIECE: Final = MIB
# L-1, L-2, L-3, L-4
INDEX_MAX: Final = 32 * MIB
TABLE_MAX: Final = 64 * MIB
ROWS_MAX: Final = 262_144
MANIFEST_MAX: Final = 128 * MIB
FILES_MAX: Final = 524_288
FOLDERS_MAX: Final = 524_288
META_PAIRS_MAX: Final = 256
META_KEY_MAX: Final = 256
META_VALUE_MAX: Final = 4096
# T-5, L-5, R-2
SIGNATURES_MAX: Final = 10
VOLUMES_MAX: Final = 64
STATEMENT_PAYLOAD_MAX: Final = 16 * KIB
STATEMENT_MAX: Final = 95 * KIB
# L-6
VOLUME_ENTRIES_MAX: Final = 300_000
CLAIMANTS_MAX: Final = 64  # files under strange names that a reader takes a look at, for each segment
STRAY_RECORDS_MAX: Final = 16  # records under strange names that a reader takes a look at, on each volume
VOLUME_FILE_MAX: Final = 4 * GIB - 1  # V-1
# What a rescue remembers of what it finds on a drive whose file system is gone.
MAPFILE_MAX: Final = 64 * MIB
SEGMENTS_SEEN_MAX: Final = 4 * 262_144  # attempts to write a segment, told apart by their whole geometry
HEADERS_ONLY_MAX: Final = 64 * KIB  # of those such of which no sound block was found yet: a header costs nothing
BLOCKS_SEEN_MAX: Final = 256 * MIB  # 4 bytes each
RUNS_SEEN_MAX: Final = 16 * MIB  # stretches of neighbours, 34 bytes each
HASHED_AGAIN_MAX: Final = 4  # times the bytes of a stretch, for headers in it that claim blocks which overlap
RECORDS_SEEN_MAX: Final = 4096  # and as many that do not carry their digest
TEXTS_SEEN_MAX: Final = 64 * KIB  # statements as text that can be parsed
STATEMENTS_SEEN_MAX: Final = 16  # different ones for each bundle that nobody here vouches for
ROOTS_TRIED_MAX: Final = 64  # rows by which such statements are compared
STRAY_SHARE: Final = 64  # one in so many blocks of an attempt is there, or without a statement it is not written
CANDIDATES_MAX: Final = 4  # different contents for one place
COPIES_TRIED_MAX: Final = 2  # of one content, where it lies in several places
CROWD_MAX: Final = 64  # blocks that are looked at for each place of a segment, on average
NEIGHBOUR_SOURCES_MAX: Final = 8  # from whose blocks one without a header is guessed
RECORDS_DECODED_MAX: Final = 24  # records that go through the code; each may take 10 s
# E-1, E-4
INTEGER_MAX: Final = 2**53 - 1
JSON_DEPTH_MAX: Final = 8
PUBLIC_TEXT_MAX: Final = 256
# P-4
PATH_PART_MAX: Final = 255
PATH_MAX: Final = 1024
PATH_PARTS_MAX: Final = 64
# An identity file; the longest has four keys in base64.
IDENTITY_FILE_MAX: Final = 64 * KIB
# A salvage
CLAIMS_WITHIN_MAX: Final = 64  # headers that are looked at behind the front of a file, if none is sound
PREAMBLES_TRIED_MAX: Final = 16  # of one file: anyone can store more, and each costs an opening
# V-1: what lies beside the bundle
CUSTODY_EVENTS_MAX: Final = 1000
CUSTODY_EVENT_SIZE_MAX: Final = 64 * KIB
