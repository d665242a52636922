"""Files that approvers hand to each other: keys, the text of a request, approvals of it.

Not for what is right in them (`gateway.approvals`, `gateway.cli.approver_keys`).
"""

from __future__ import annotations

from gateway.approvals.approvers import DOCUMENT_BYTES_MAX
from gateway.approvals.request import TEXT_BYTES_MAX
from gateway.cli.approver_keys import FILE_BYTES_MAX
from gateway.terminal.user_files import FileKind

PUBLIC_KEY = FileKind(
    bytes_max=DOCUMENT_BYTES_MAX,
    hint="it holds the line that `hexagone approver keygen` has printed",
)
PRIVATE_KEY = FileKind(
    bytes_max=FILE_BYTES_MAX,
    hint="`hexagone approver keygen` makes such a file, which only its owner may read (chmod 600)",
)
REQUEST = FileKind(
    bytes_max=TEXT_BYTES_MAX,
    hint="`hexagone approvals show ID --out FILE` writes what is signed, which is not what it shows"
    " on the screen",
)
APPROVAL = FileKind(
    bytes_max=DOCUMENT_BYTES_MAX, hint="`hexagone approvals sign … --out FILE` writes such a file"
)
