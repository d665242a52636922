"""Every bound on the node side, with its reason, asserted against each other.

Units are in the names. `gateway.limits` asserts the gateway's bounds against these.
"""

BLOCK_BYTES = (
    4096  # volumes are aligned to it: the unit that fallocate can free and a drive writes whole
)
SMALL_PAGE_BYTES = (
    4096  # CRC32C unit of shards below LARGE_SHARD_BYTES: a 4 KiB read checks 1–2 pages
)
LARGE_PAGE_BYTES = 64 * 1024  # CRC32C unit of larger shards: 16 calls per MiB instead of 256
LARGE_SHARD_BYTES = 256 * 1024

ATTRIBUTES_BYTES_MAX = 2048  # opaque gateway header and tags of one shard
CONTENT_BYTES_MAX = 4 * 1024 * 1024  # one cell

LIST_LIMIT_MAX = 1000  # shards in one answer of list
DELETE_BATCH_MAX = 1000  # shards in one delete

VOLUME_BYTES = 1 << 30  # a volume is closed and followed by the next one beyond this
RESERVE_BYTES = 64 * 1024 * 1024  # ballast: deletes still work on a full drive
PUT_QUEUE_BYTES_MAX = 256 * 1024 * 1024  # shards waiting for a drive; beyond: NodeBusy

assert LARGE_PAGE_BYTES % BLOCK_BYTES == 0 and SMALL_PAGE_BYTES % BLOCK_BYTES == 0
assert ATTRIBUTES_BYTES_MAX < BLOCK_BYTES // 2 + 1
assert CONTENT_BYTES_MAX < VOLUME_BYTES // 16

WIRE_FIELDS_BYTES_MAX = (
    4096  # small fields of one message: attributes and the arguments of one verb
)
WIRE_SLICE_BYTES = (
    256 * 1024
)  # content travels in slices: a small message waits for one at most (0.2 ms)
WIRE_WINDOW_BYTES = (
    16 * 1024 * 1024
)  # content one side may have sent and the other not yet released
WIRE_REQUESTS_MAX = 256  # requests under way on one connection
WIRE_ANSWER_BYTES_MAX = (
    64 * 1024 * 1024
)  # content being read and unsent on one connection of a server
WIRE_SCRATCH_BYTES = 64 * 1024  # receive buffer for headers, fields and small content
WIRE_DIRECT_BYTES = 16 * 1024  # a content rest above this is received straight into its own buffer
WIRE_OUTPUT_BYTES = (
    512 * 1024
)  # handed to the transport at once; above its high-water mark it pauses us
WIRE_ERROR_FIELDS_MAX = 8  # fields of one error
WIRE_ERROR_TEXT_BYTES_MAX = 200  # one field of one error; longer ones are cut
WIRE_DETAIL_BYTES_MAX = 1024  # NodeStatus.detail; longer ones are cut
WIRE_CORRUPT_SHARDS_MAX = 1000  # NodeStatus.corrupt_shards
CALLS_WAITING_MAX = 4096  # calls to one node that wait for a connection or a place on it
CONNECTIONS_MAX = 64  # gateways' connections to one node

HANDSHAKE_S = 5.0  # TCP, TLS and hello together
CALL_DEADLINE_S = 10.0  # put, get, delete, list, fence
SHORT_CALL_DEADLINE_S = 3.0  # stat and status
VERIFY_DEADLINE_S = 30.0  # reads a whole shard off a drive that is perhaps dying
DEADLINE_S_MAX = 600.0
PING_AFTER_S = 5.0  # nothing received for this long: ask
DEAD_AFTER_S = 12.0  # nothing received for this long although asked: the connection is dead
IDLE_CLIENT_S = 60.0  # a server drops a client that sends nothing, not even a ping, for this long
TCP_USER_TIMEOUT_MS = (
    10_000  # sent bytes unacknowledged for this long: the kernel gives the connection up
)
RECONNECT_FIRST_S = 0.05
RECONNECT_MAX_S = 5.0  # back-off doubles up to this
DRAIN_S = 20.0  # what is under way may take this long at shutdown

assert ATTRIBUTES_BYTES_MAX + 512 <= WIRE_FIELDS_BYTES_MAX <= WIRE_SCRATCH_BYTES // 2
assert CONTENT_BYTES_MAX <= WIRE_WINDOW_BYTES * 3 // 4  # credit is returned by quarters of a window
assert (
    LIST_LIMIT_MAX * (ATTRIBUTES_BYTES_MAX + 64) <= CONTENT_BYTES_MAX
)  # a page of list is one content
assert (
    DELETE_BATCH_MAX * WIRE_ERROR_FIELDS_MAX * (WIRE_ERROR_TEXT_BYTES_MAX + 64) <= CONTENT_BYTES_MAX
)
assert CONTENT_BYTES_MAX <= WIRE_ANSWER_BYTES_MAX
assert SHORT_CALL_DEADLINE_S < CALL_DEADLINE_S < DEAD_AFTER_S < IDLE_CLIENT_S
