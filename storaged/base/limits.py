"""Every bound on the node side, with its reason, asserted against each other.

Units are in the names. `gateway.limits` asserts the gateway's bounds against these.
"""

BLOCK_BYTES = 4096  # volumes are aligned to it: the unit that fallocate can free and a drive writes whole
SMALL_PAGE_BYTES = 4096  # CRC32C unit of shards below LARGE_SHARD_BYTES: a 4 KiB read checks 1–2 pages
LARGE_PAGE_BYTES = 64 * 1024  # CRC32C unit of larger shards: 16 calls per MiB instead of 256
LARGE_SHARD_BYTES = 256 * 1024

ATTRIBUTES_BYTES_MAX = 2048  # opaque gateway header and tags of one shard
CONTENT_BYTES_MAX = 4 * 1024 * 1024  # one cell

LIST_LIMIT_MAX = 1000  # shards in one answer of list
DELETE_BATCH_MAX = 1000  # shards in one delete
SHARDS_PER_STRIPE_MAX = 32

VOLUME_BYTES = 1 << 30  # a volume is closed and followed by the next one beyond this
RESERVE_BYTES = 64 * 1024 * 1024  # ballast: deletes still work on a full drive
PUT_QUEUE_BYTES_MAX = 256 * 1024 * 1024  # shards waiting for a drive; beyond: NodeBusy

assert LARGE_PAGE_BYTES % BLOCK_BYTES == 0 and SMALL_PAGE_BYTES % BLOCK_BYTES == 0
assert ATTRIBUTES_BYTES_MAX < BLOCK_BYTES // 2 + 1
assert CONTENT_BYTES_MAX < VOLUME_BYTES // 16
