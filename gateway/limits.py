"""S3's bounds and the gateway's memory bounds, with their reasons, asserted against the node's.

Source: AWS, "Amazon S3 multipart upload limits", "Object key naming", "Bucket naming rules".
"""

from storaged.base import limits as node

KEY_BYTES_MAX = 1024
USER_METADATA_BYTES_MAX = 2048
BUCKETS_PER_ACCOUNT_MAX = 1000
LIST_KEYS_MAX = 1000
DELETE_OBJECTS_MAX = 1000
PART_NUMBER_MAX = 10_000
PART_BYTES_MIN = 5 * 1024 * 1024
PART_BYTES_MAX = 5 * 1024**3
OBJECT_BYTES_MAX = 50 * 1024**4
COPY_BYTES_MAX = 5 * 1024**3
ANNOTATIONS_MAX = 1000  # of one version
ANNOTATION_BYTES_MAX = 1024 * 1024
ANNOTATION_NAME_BYTES_MAX = 512

FRAME_BYTES = (
    64 * 1024
)  # plaintext of one AES-GCM call: 0.12 ms per MiB in Python, 16 KiB frames 1.4 ms
TAG_BYTES = 16
SEALED_FRAME_BYTES = FRAME_BYTES + TAG_BYTES
FRAMES_PER_CELL = (
    16  # a full cell is 16 sealed frames (1,048,832 bytes), so frames do not straddle cells
)
FULL_CELL_BYTES = FRAMES_PER_CELL * SEALED_FRAME_BYTES
TAG_UNIT_BYTES = 64 * 1024  # bytes of a cell under one keyed shard tag

SMALL_BODY_BYTES_MAX = 128 * 1024  # plaintext; bodies up to this ride in the commit stripe
GROUP_BYTES_MAX = 4 * 1024 * 1024  # a commit group closes here …
GROUP_BATCHES_MAX = 1024  # … or here
COMMIT_QUEUE_BYTES_MAX = 64 * 1024 * 1024  # batches waiting for the committer; beyond: SlowDown
COMMIT_QUEUE_BATCHES_MAX = 8192

STRIPE_BUFFERS_MAX = 56  # pooled stripe buffers: 6 MiB each for 4+2, so 336 MiB at the most
BODY_IDLE_S = 30.0  # a body that sends no byte for this long is cut
BODY_FLOOR_BYTES_PER_S = 512  # slower than this over a minute: cut
HEADERS_BYTES_MAX = 16 * 1024

NODE_PUT_S = 10.0  # deadline of one shard put
HAND_OFF_S = 2.0  # a put slower than this is handed to another node as well
HEDGE_MIN_S = 0.05  # a read slower than this and than the node's p95 is hedged
COMMIT_S = 20.0  # deadline of a commit: then the outcome is unknown to the caller

assert FULL_CELL_BYTES <= node.CONTENT_BYTES_MAX
assert SMALL_BODY_BYTES_MAX * 4 <= GROUP_BYTES_MAX
assert KEY_BYTES_MAX + 64 <= 1100
assert 16 * (GROUP_BYTES_MAX // TAG_UNIT_BYTES + 2) < node.ATTRIBUTES_BYTES_MAX
