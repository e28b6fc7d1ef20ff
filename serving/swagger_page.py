"""BentoML's Swagger page without what it loads from elsewhere: it carries Google's tag manager.

A browser that obeys the policy runs only the scripts of this server.
"""

from __future__ import annotations

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; connect-src 'self'; form-action 'self'; "
    "frame-ancestors 'none'; base-uri 'none'"
)


class OwnScriptsOnly:
    """ASGI middleware: pages carry a policy, other answers pass unchanged."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                if headers.get("content-type", "").startswith("text/html"):
                    headers["content-security-policy"] = POLICY
                    headers["referrer-policy"] = "no-referrer"
            await send(message)

        await self._app(scope, receive, send_guarded if scope["type"] == "http" else send)
