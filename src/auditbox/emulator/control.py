"""The emulator's own pages under ``/_emulator``: health, what arrived, and the scripted faults."""

from __future__ import annotations

import json
from collections import deque
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, Response

from auditbox.emulator.faults import Plan, plan_of
from auditbox.emulator.fields import RECORDS
from auditbox.emulator.service import Service
from auditbox.emulator.traffic import Traffic
from auditbox.errors import ConfigurationError


def control_routes(service: Service, traffic: Traffic) -> APIRouter:
    """The routes; they need no token and no fault ever strikes them."""
    router = APIRouter(prefix="/_emulator", include_in_schema=False)

    @router.get("/health")
    async def health() -> dict[str, Any]:
        count = service.store.last_seq(RECORDS)
        return {"status": "ok", "records": count, "strict": service.directory.strict}

    @router.get("/requests")
    async def requests(after: int = 0, limit: int = 1000) -> Response:
        newer = (seen for seen in traffic.seen if seen.number > after)
        # The latest: who looks wants to know what has just happened.
        shown = [seen.describe() for seen in deque(newer, maxlen=max(limit, 0))]
        # ASCII, because a body that was refused may hold what is no Unicode
        text = json.dumps({"count": traffic.count, "requests": shown})
        return Response(text, media_type="application/json")

    @router.delete("/requests")
    async def forget() -> Response:
        traffic.forget()
        return Response(status_code=204)

    @router.get("/faults")
    async def faults() -> dict[str, Any]:
        return traffic.plan.describe()

    @router.put("/faults")
    async def script(request: Request) -> Response:
        try:
            traffic.plan = plan_of(json.loads(await request.body()))
        except ConfigurationError as exc:
            return JSONResponse({"message": str(exc)}, 400)
        except (ValueError, RecursionError):
            return JSONResponse({"message": "the body is not JSON"}, 400)
        return JSONResponse(traffic.plan.describe())

    @router.delete("/faults")
    async def clear() -> Response:
        traffic.plan = Plan()
        return Response(status_code=204)

    return router
