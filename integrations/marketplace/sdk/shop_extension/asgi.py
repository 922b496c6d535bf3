"""The application that the SDK makes, with middleware: ``uvicorn shop_extension.asgi:app``."""

from mpt_extension_sdk.runtime.app import create_runtime_app
from mpt_extension_sdk.settings.runtime import get_runtime_settings

from auditbox import AuditMiddleware

app = AuditMiddleware(
    create_runtime_app(get_runtime_settings()),
    routes={"POST /orders/{order_id}/ship": {"event": "order.shipped", "object": "{order_id}"}},
)
