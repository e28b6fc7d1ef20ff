from __future__ import annotations

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route
from starlette.testclient import TestClient

from serving.swagger_page import POLICY, OwnScriptsOnly


async def page(_request: Request) -> Response:
    return HTMLResponse("<script>1</script>")


async def answer(_request: Request) -> Response:
    return JSONResponse({})


def test_pages_run_no_scripts_from_elsewhere() -> None:
    client = TestClient(OwnScriptsOnly(Starlette(routes=[Route("/", page), Route("/a", answer)])))
    assert client.get("/").headers["content-security-policy"] == POLICY
    assert "content-security-policy" not in client.get("/a").headers
    scripts = next(part for part in POLICY.split("; ") if part.startswith("script-src"))
    assert scripts == "script-src 'self'"  # neither inline nor of others
