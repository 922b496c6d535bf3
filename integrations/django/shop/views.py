"""Three ways to capture: a log line, the middleware, a model; and three ways to authenticate."""

# Without "from __future__ import annotations": django-ninja 1.3 finds no names in annotations that are texts
# where another decorator, here transaction.atomic, stands between it and the view.
import logging
from typing import Any

from asgiref.sync import sync_to_async
from django.db import transaction
from django.http import HttpRequest, JsonResponse
from ninja import NinjaAPI
from ninja.errors import HttpError
from rest_framework.response import Response
from rest_framework.views import APIView

import auditbox
from shop.auth import Bearer, Claims, user_of
from shop.models import Cancellation, Order

log = logging.getLogger("shop")
api = NinjaAPI()


def change(number: str, status: str, *unless: str) -> bool:
    """Changes an order, which need not be there yet; False where it has one of these states."""
    Order.objects.bulk_create([Order(number=number)], ignore_conflicts=True)
    return bool(Order.objects.filter(number=number).exclude(status__in=unless).update(status=status))


@api.post("/orders/{order_id}/approve", auth=Claims())
@transaction.atomic
def approve(request: HttpRequest, order_id: str) -> dict[str, str]:
    """django-ninja, recorded by a log line: only if the transaction commits."""
    audit = {"event": "order.approved", "object": order_id, "documents": {"order": {"status": "Approved"}}}
    log.info("Order %s approved", order_id, extra={"audit": audit})
    if not change(order_id, "Approved", "Cancelled"):
        raise HttpError(409, "The order is cancelled.")  # rolls back, and so there is no record
    return {"id": order_id}


class Ship(APIView):
    """Django REST framework, recorded by the middleware, which knows the route."""

    authentication_classes = (Bearer,)
    permission_classes = ()

    def post(self, request: Any, order_id: str) -> Response:
        """Ships an order."""
        change(order_id, "Shipped")
        return Response({"id": order_id})


async def cancel(request: HttpRequest, order_id: str) -> JsonResponse:
    """A plain async view, which says itself who acts; recorded by the model that it creates."""
    user = user_of(request)
    if user is None or request.method != "POST":
        return JsonResponse({}, status=401 if user is None else 405)
    auditbox.bind(actor={"id": user})
    await sync_to_async(_cancel)(order_id)
    return JsonResponse({"id": order_id})


@transaction.atomic
def _cancel(order_id: str) -> None:
    change(order_id, "Cancelled")
    Cancellation.objects.create(order_number=order_id)


def health(request: HttpRequest) -> JsonResponse:
    """Not recorded."""
    return JsonResponse({"status": "ok"})
