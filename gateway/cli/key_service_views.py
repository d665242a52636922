"""What `hexagone status` says of who keeps the keys; the answer is that of
`gateway.admin.key_service`.
"""

from __future__ import annotations

from typing import Any

from rich.text import Text

from gateway.terminal.language import heard, say


def key_service_lines(held: dict[str, Any]) -> list[Text]:
    """A line of `hexagone status`."""
    if held["provider"] == "file":
        return [Text(say("keys of tenants: in this gateway's own process"), style="yellow")]
    if not held["answers"]:
        reason = heard(held["reason"])
        return [Text(say("key service: does not answer ({reason})", reason=reason), style="red")]
    mean_us = round(held["seconds"] / max(1, held["calls"]) * 1e6)
    line = say(
        "key service: answers; {calls} calls, {errors} errors, {mean} µs each",
        calls=held["calls"],
        errors=held["errors"],
        mean=mean_us,
    )
    return [Text(line, style="green")]
