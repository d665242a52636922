"""What a call of boto3 is refused with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

DENIED = (403, "AccessDenied")


def refused(caught: pytest.ExceptionInfo[ClientError]) -> tuple[int, str]:
    """(status, code) of an error that was caught."""
    response = caught.value.response
    return response["ResponseMetadata"]["HTTPStatusCode"], response["Error"]["Code"]


def refusal(call: Callable[..., Any], *positional: Any, **arguments: Any) -> tuple[int, str]:
    """(status, code) that a call is refused with."""
    with pytest.raises(ClientError) as caught:
        call(*positional, **arguments)
    return refused(caught)


def refusal_code(call: Callable[..., Any], *positional: Any, **arguments: Any) -> str:
    """The code that a call is refused with."""
    return refusal(call, *positional, **arguments)[1]
