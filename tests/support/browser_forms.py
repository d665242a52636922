"""Forms as browsers send them, over a bare socket: fields, a file, and what may come after it.

Not for policies and signatures, which are what each test is about.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from tests.support.raw_s3 import Answer
from tests.support.s3_gateway import S3Gateway

BOUNDARY = "----FormBoundaryOfATest"
CLOSED = b"--\r\n"


def form_body(
    fields: Iterable[tuple[str, str]],
    content: bytes = b"content",
    *,
    file_name: str = "photo.jpg",
    ending: bytes = CLOSED,
) -> bytes:
    """The body of a form.

    Args:
        ending: what follows the boundary after the file.
    """
    line = f"--{BOUNDARY}\r\nContent-Disposition: form-data; name="
    parts = [f'{line}"{name}"\r\n\r\n{value}\r\n' for name, value in fields]
    parts.append(f'{line}"file"; filename="{file_name}"\r\nContent-Type: image/jpeg\r\n\r\n')
    return "".join(parts).encode() + content + f"\r\n--{BOUNDARY}".encode() + ending


def post_form(
    gateway: S3Gateway, target: str, body: bytes, headers: Mapping[str, str] | None = None
) -> Answer:
    """Send a form; nobody signs its head."""
    with gateway.raw() as client:
        head = {
            "host": client.authority,
            "content-type": f"multipart/form-data; boundary={BOUNDARY}",
            "content-length": str(len(body)),
            **(headers or {}),
        }
        client.send_head("POST", target, head)
        client.send(body)
        return client.read_answer()
