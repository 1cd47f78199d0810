"""Who may come in, and what every answer says to a browser."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from designer_vision.designer.gates import HEADERS, PAGE_POLICY, Gates


async def _broken(*_: Any) -> None:
    raise ZeroDivisionError


def test_a_fault_of_ours_is_answered_with_the_headers_that_every_answer_has() -> None:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(b"host", b"localhost:1"), (b"cookie", b"designer_vision_1=secret")]
    scope = {"type": "http", "method": "GET", "path": "/api/palette", "query_string": b"", "headers": headers}
    with pytest.raises(ZeroDivisionError):
        asyncio.run(Gates(_broken, "secret", 1)(scope, None, send))  # type: ignore[arg-type]
    told = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    assert (sent[0]["status"], told["content-security-policy"]) == (500, PAGE_POLICY)
    assert {name.lower() for name in HEADERS} <= told.keys()
    assert b"fault of the designer" in sent[1]["body"]
