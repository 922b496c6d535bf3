"""The status matrix, code by code and failure by failure, against a server in a process of its own."""

from __future__ import annotations

from collections import Counter
from typing import Any, NamedTuple

import pytest

from .figures import report
from .house import House
from .sizes import PATIENCE
from .work import lane_of

DEADLINE = 6.0


class Case(NamedTuple):
    """A fault that strikes an object's first record once, and what must come of it."""

    name: str
    fault: dict[str, Any]
    posts: int
    looked_up: bool = False
    dead: bool = False


def status(code: int, **more: Any) -> dict[str, Any]:
    return {"action": "status", "status": code, **more}


def page(code: int) -> dict[str, Any]:
    return {"action": "html", "status": code}


def rejected(code: int) -> Case:
    return Case(f"{code}, a problem", status(code), posts=1, dead=True)


def repeated(name: str, fault: dict[str, Any]) -> Case:
    return Case(name, fault, posts=2)


def ambiguous(name: str, fault: dict[str, Any]) -> list[Case]:
    """The same answer twice: the server has stored the record, or it has not."""
    return [
        Case(f"{name}, stored", {**fault, "commit": True}, posts=1, looked_up=True),
        Case(f"{name}, not stored", {**fault, "commit": False}, posts=2, looked_up=True),
    ]


GATEWAY = {"statusCode": 404, "message": "Resource not found"}
ELSEWHERE = {"Location": "http://127.0.0.1:9/elsewhere"}
REJECTED = (
    400,
    402,
    406,
    409,
    410,
    411,
    412,
    413,
    414,
    415,
    416,
    417,
    418,
    421,
    422,
    423,
    424,
    425,
    426,
    428,
    431,
    451,
)
NO_RECORD = ("", "null", "[]", '"yes"', "oops", "{")
AMBIGUOUS = (202, 203, 204, 205, 206, 226, 408, 500, 501, 502, 503, 504, 505, 507, 508, 511, 599)
REDIRECTS = (300, 301, 302, 303, 304, 307, 308)
CASES = [
    *map(rejected, REJECTED),
    *(repeated(f"{code}, a problem", status(code)) for code in (403, 404)),
    *(case for code in REDIRECTS for case in ambiguous(str(code), status(code, headers=ELSEWHERE))),
    *(repeated(f"{code}, a problem", status(code)) for code in (405, 407)),
    *(repeated(f"{code}, a page", page(code)) for code in (400, 403, 404, 409, 422)),
    repeated("404 of a gateway", status(404, body=GATEWAY)),
    repeated("429", status(429)),
    repeated("429, Retry-After", status(429, retryAfter=1)),
    *(case for code in AMBIGUOUS for case in ambiguous(str(code), status(code))),
    *(case for code in (200, 201, 502, 503) for case in ambiguous(f"{code}, a page", page(code))),
    *(case for body in NO_RECORD for case in ambiguous(f"201 {body!r}", status(201, body=body))),
    *ambiguous("reset", {"action": "reset"}),
    *ambiguous("hang", {"action": "hang"}),
    Case("stored, then cut in half", {"action": "truncated"}, posts=1, looked_up=True),
    Case("stored, then no body", {"action": "empty"}, posts=1, looked_up=True),
    Case("stored, the answer trickles", {"action": "slow", "delay": 3 * DEADLINE}, posts=1, looked_up=True),
    Case("stored after the deadline", {"action": "delay", "delay": DEADLINE + 1.5}, posts=1, looked_up=True),
]  # fmt: skip


@pytest.mark.timeout(PATIENCE * 2)
@pytest.mark.parametrize("transport", ["httpx", "fast"])
def test_every_answer_comes_to_what_the_design_says_and_leaves_one_copy(house: House, transport: str) -> None:
    """Each code and each way of failing, an object each: as designed, and never twice in the trail."""
    faults = [
        {**case.fault, "method": "POST", "object": lane_of(house.id, lane), "count": 1}
        for lane, case in enumerate(CASES)
    ]
    house.server.faults(*faults)
    house.run(
        "answers",
        lanes=len(CASES),
        deadline=DEADLINE,
        verify_after=DEADLINE,
        writer="answers",
        transport=transport,
    )
    posts, looked_up = asked(house)
    dead = house.dead()
    first = {ack.lane: ack.id for ack in house.told() if ack.number % 2}
    wrong = [
        (case.name, posts[about], looked_up[about], first[about] in dead)
        for about, case in ((lane_of(house.id, lane), case) for lane, case in enumerate(CASES))
        if (posts[about] - 1, looked_up[about] > 0, first[about] in dead)
        != (case.posts, case.looked_up, case.dead)
    ]
    assert wrong == [], f"{wrong}\n{house.logs()}"
    verdict = house.assert_flawless(dead)
    assert dead.isdisjoint(one.id for one in house.arrived())
    report(
        f"2. answers and ways of failing, {transport}", cases=len(CASES), wrong=len(wrong), **verdict.figures
    )


def asked(house: House) -> tuple[Counter[str], Counter[str]]:
    """How often each object was posted about, and looked up."""
    posts: Counter[str] = Counter()
    looked_up: Counter[str] = Counter()
    for request in house.server.requests():
        if request["method"] == "POST":
            posts[request["body"]["object"]["id"]] += 1
        else:
            looked_up.update(
                about
                for about in (lane_of(house.id, lane) for lane in range(len(CASES)))
                if about in request["query"]
            )
    return posts, looked_up
