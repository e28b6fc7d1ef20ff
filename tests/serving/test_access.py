from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from redshank.errors import ConfigError
from redshank.fieldstore import FieldStore
from serving.access import is_loopback, load_access

StartClient = Callable[..., Any]
MakeImage = Callable[[int], bytes]
TOKENS = {
    "secret-a": {"roles": ["predict"], "domains": ["gate-1"]},
    "secret-b": {"roles": ["predict", "admin"]},
}


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def test_tokens_decide_roles_and_domains(
    start: StartClient, home: Any, image: MakeImage, tmp_path: Path
) -> None:
    file = tmp_path / "tokens.json"
    file.write_text(json.dumps(TOKENS))
    client, _ = start(home.with_serving(tokens_file=str(file), host="0.0.0.0"))

    def status(token: str, domain: str) -> int:
        headers = {**(bearer(token) if token else {}), "X-Domain": domain}
        return int(client.post("/v1/predict", content=image(0), headers=headers).status_code)

    assert status("", "gate-1") == status("wrong", "gate-1") == 401
    assert status("secret-a", "gate-1") == 200
    assert status("secret-a", "gate-2") == 401
    assert status("secret-b", "gate-2") == 200
    assert client.post("/admin/reload", headers=bearer("secret-a")).status_code == 401
    assert client.post("/admin/reload", headers=bearer("secret-b")).status_code == 202
    refused = client.get("/v1/models")
    assert refused.headers["www-authenticate"] == "Bearer"
    assert refused.json()["error"]["code"] == "unauthorized"
    assert client.get("/readyz").status_code == client.get("/metrics").status_code == 200


def test_metrics_ask_for_a_token_when_one_is_for_them(
    start: StartClient, home: Any, tmp_path: Path
) -> None:
    file = tmp_path / "tokens.json"
    file.write_text(json.dumps({**TOKENS, "scrapes": {"roles": ["metrics"]}}))
    client, _ = start(home.with_serving(tokens_file=str(file)))
    statuses = [
        client.get("/metrics", headers=headers).status_code
        for headers in ({}, bearer("secret-b"), bearer("scrapes"))
    ]
    assert statuses == [401, 401, 200]
    file.write_text(json.dumps(TOKENS))
    other, _ = start(home.with_serving(tokens_file=str(file)))
    assert other.get("/metrics").status_code == 200
    assert other.get("/readyz").status_code == 200


def test_an_open_server_is_for_the_loopback_only() -> None:
    with pytest.raises(ConfigError, match="anybody could ask"):
        load_access("", "0.0.0.0")
    assert "admin" in load_access("", "127.0.0.1").grant("", "admin").roles
    assert [is_loopback(h) for h in ("::1", "127.8.8.8", "localhost", "10.0.0.1", "host")] == [
        True, True, True, False, False,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not JSON"),
        ("[]", "no JSON object"),
        ('{"t": {"roles": ["predict"], "domain": []}}', "unknown field 'domain'"),
        ('{"t": {"roles": ["boss"]}}', "role 'boss' is none of predict, admin"),
        ('{"t": {}}', "field 'roles' is missing"),
        ('{" ": {"roles": ["predict"]}}', "token 1 is empty"),
    ],
)
def test_broken_token_files_are_named_without_the_token(
    tmp_path: Path, text: str, message: str
) -> None:
    file = tmp_path / "tokens.json"
    file.write_text(text.replace('"t"', '"secret"'))
    with pytest.raises(ConfigError, match=message) as error:
        load_access(str(file), "127.0.0.1")
    assert "secret" not in str(error.value)


@pytest.mark.parametrize(
    "path", ["/admin/reload", "/v2/repository/models/default/load"], ids=["reload", "load"]
)
def test_a_page_from_elsewhere_changes_no_release_of_an_open_server(
    start: StartClient, home: Any, path: str
) -> None:
    client, _ = start()
    before = home.registry.read("default")
    body = json.dumps({"parameters": {"version": home.two}})
    for origin in ("http://evil.example", "http://localhost.evil.example", "null", "http://[x"):
        headers = {"Origin": origin, "Host": "evil.example", "Content-Type": "text/plain"}
        response = client.post(path, content=body, headers=headers)
        assert response.status_code == 401, origin
        assert "must not change releases" in response.text
    assert home.registry.read("default") == before
    own = {"Origin": "http://127.0.0.1:3000"}
    assert client.post(path, content=body, headers=own).is_success


def test_with_a_token_the_origin_does_not_matter(
    start: StartClient, home: Any, tmp_path: Path
) -> None:
    file = tmp_path / "tokens.json"
    file.write_text(json.dumps(TOKENS))
    client, _ = start(home.with_serving(tokens_file=str(file)))
    page = {"Origin": "https://console.example"}
    assert client.post("/admin/reload", headers=page).status_code == 401
    assert client.post("/admin/reload", headers={**page, **bearer("secret-b")}).status_code == 202


def test_only_named_domains_are_captured(start: StartClient, home: Any, image: MakeImage) -> None:
    settings = home.with_serving(capture_domains=("gate-1",))
    client, worker = start(settings)
    for n in range(4):
        headers = {"X-Domain": f"gate-{n % 2}", "X-Client-Id": f"c{n}"}
        client.post("/v1/predict", content=image(n), headers=headers)
    client.post("/v1/predict", content=b"bad", headers={"X-Domain": "gate-1"})
    worker.stop()
    store = FieldStore(home.settings.home.path("field"))
    assert store.domains() == ("gate-1",)
    assert len(store.images("gate-1")) == 2
