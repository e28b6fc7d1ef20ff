"""Container files against the code: what they name must exist, as no daemon is here to tell."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from redshank.cli import build_parser
from redshank.config import load_settings
from redshank.settings import Settings
from serving.openapi import openapi_document

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
OBJECTS: list[dict[str, Any]] = [
    value
    for path in sorted((DEPLOY / "kubernetes").glob("*.yaml"))
    for value in yaml.safe_load_all(path.read_text())
]
PAGE = (ROOT / "docs" / "deploy.md").read_text()
CONTAINERFILE = (DEPLOY / "Containerfile").read_text()
SETTINGS = Settings()
PORTS = {"serve": SETTINGS.serving.port, "watch": SETTINGS.monitoring.port}
PROBES = {"serve": set(openapi_document()["paths"]), "watch": {"/healthz"}}


def pods() -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    """(kind, specification of the pod, its only container) of everything that runs pods."""
    for value in OBJECTS:
        spec = value["spec"]
        if value["kind"] == "CronJob":
            spec = spec["jobTemplate"]["spec"]
        if "template" in spec:
            (container,) = spec["template"]["spec"]["containers"]
            yield value["kind"], spec["template"]["spec"], container


def environments() -> list[tuple[str, dict[str, str]]]:
    """Of every redshank container, in compose and Kubernetes."""
    own = ("serve", "watch", "retrain")
    found = [(f"compose-{name}", COMPOSE["services"][name]["environment"]) for name in own]
    for _, _, container in pods():
        values = {entry["name"]: entry["value"] for entry in container["env"]}
        found.append((f"kubernetes-{container['name']}", values))
    return found


def commands() -> list[list[str]]:
    """Arguments of `redshank`."""
    found = [COMPOSE["services"][name]["command"] for name in ("watch", "retrain")]
    return found + [container["args"] for _, _, container in pods() if container["name"] != "serve"]


@pytest.mark.parametrize(("name", "values"), environments(), ids=lambda value: str(value)[:24])
def test_settings_exist_and_ports_are_the_defaults(name: str, values: dict[str, str]) -> None:
    assert all(isinstance(value, str) for value in values.values())
    settings = load_settings(environment=values)
    assert settings.home.root == "/data"
    assert settings.serving.port == PORTS["serve"]
    assert settings.monitoring.port == PORTS["watch"]
    if name.startswith("kubernetes"):  # beyond the loopback only with tokens
        assert settings.monitoring.host == "127.0.0.1" or settings.monitoring.tokens_file


def test_servers_listen_beyond_the_loopback_only_with_tokens() -> None:
    serve = COMPOSE["services"]["serve"]
    (pod,) = (c for _, _, c in pods() if c["name"] == "serve")
    tokens = {value["name"] for value in pod["env"]} & {"REDSHANK_SERVING__TOKENS_FILE"}
    for words, guarded in ((serve["command"], False), (pod["args"], bool(tokens))):
        assert words[0] == "serve"
        values = dict(zip(words[1::2], words[2::2], strict=True))
        assert values["--port"] == str(PORTS["serve"])
        assert guarded or values["--host"] == "127.0.0.1"


def test_an_unknown_setting_would_be_noticed() -> None:
    with pytest.raises(Exception, match="unknown key"):
        load_settings(environment={"REDSHANK_SERVING__PRT": "3000"})


@pytest.mark.parametrize("arguments", commands(), ids=" ".join)
def test_commands_are_verbs(arguments: list[str]) -> None:
    assert build_parser().parse_args(arguments).verb == arguments[0]


def test_mounted_and_copied_paths_exist() -> None:
    for service in COMPOSE["services"].values():
        for mount in service["volumes"]:
            source = re.sub(r"\$\{\w+:-([^}]+)\}", r"\1", mount).split(":")[0]
            if source.startswith("."):
                assert (DEPLOY / source).exists(), mount
            else:
                assert source in COMPOSE["volumes"] or source == "${REDSHANK_IMAGES", mount
    copied = re.findall(r"^COPY (.+) \S+$", CONTAINERFILE, flags=re.MULTILINE)
    names = [name for line in copied for name in line.split()]
    kept = (DEPLOY / "Containerfile.dockerignore").read_text().split()
    assert all((ROOT / name).exists() and f"!{name}" in kept for name in names), names
    build = COMPOSE["services"]["watch"]["build"]
    assert (DEPLOY / build["context"] / build["dockerfile"]).is_file()


def test_images_are_built_by_the_page_or_pinned() -> None:
    built = set(re.findall(r"-t (\S+)", PAGE))
    services = COMPOSE["services"]
    images = {service["image"] for service in services.values()}
    images |= {container["image"] for _, _, container in pods()}
    assert built <= images
    for image in images - built:
        assert re.fullmatch(r"docker\.io/\S+:v?\d+\.\d+\.\d+", image)
    extras = set(
        tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    )
    wanted = [services[name]["build"]["args"]["EXTRAS"] for name in ("watch", "retrain")]
    assert wanted == ["watch", "watch,train,export,cpu"]
    for line in wanted:
        assert set(line.split(",")) <= extras
        assert f"EXTRAS={line} " in PAGE


def test_probes_ask_routes_on_the_named_port() -> None:
    for _, _, container in pods():
        probes = [value["httpGet"] for name, value in container.items() if name.endswith("Probe")]
        if container["name"] == "retrain":
            assert probes == []
            continue
        ports = {port["name"]: port["containerPort"] for port in container["ports"]}
        assert ports == {"http": PORTS[container["name"]]}
        assert len(probes) >= 2
        for probe in probes:
            assert probe["port"] in ports
            assert probe["path"] in PROBES[container["name"]]
    for name in ("serve", "watch"):
        asked = str(COMPOSE["services"][name]["healthcheck"]["test"])
        (url,) = re.findall(r"http://127\.0\.0\.1:(\d+)(/\w+)", asked)
        assert int(url[0]) == PORTS[name]
        assert url[1] in PROBES[name]


def test_services_volumes_and_secrets_fit_together() -> None:
    made = {(value["kind"], value["metadata"]["name"]) for value in OBJECTS}
    labels = [
        v["spec"]["template"]["metadata"]["labels"] for v in OBJECTS if v["kind"] == "Deployment"
    ]
    for value in OBJECTS:
        if value["kind"] == "Service":
            assert value["spec"]["selector"] in labels
            assert value["spec"]["ports"][0]["port"] in PORTS.values()
    for _, pod, container in pods():
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        assert {mount["name"] for mount in container["volumeMounts"]} == set(volumes)
        claim = volumes["home"]["persistentVolumeClaim"]["claimName"]
        assert ("PersistentVolumeClaim", claim) in made
        if "tokens" in volumes:
            assert f"secret generic {volumes['tokens']['secret']['secretName']} " in PAGE
            files = [e["value"] for e in container["env"] if e["name"].endswith("TOKENS_FILE")]
            assert [f"--from-file={Path(file).name}" in PAGE for file in files] == [True]
        assert pod["securityContext"]["runAsUser"] == 1034
        assert pod["nodeSelector"] == {"redshank/home": "true"}


def test_one_evaluator_and_one_retraining() -> None:
    by_name = {value["metadata"]["name"]: value["spec"] for value in OBJECTS if "spec" in value}
    found = [
        v["spec"] for v in OBJECTS if v["kind"] == "Deployment" and "watch" in str(v["metadata"])
    ]
    assert [(spec["replicas"], spec["strategy"]["type"]) for spec in found] == [(1, "Recreate")]
    cron = by_name["redshank-retrain"]
    assert cron["concurrencyPolicy"] == "Forbid"
    assert cron["startingDeadlineSeconds"] > 0


def test_scraped_and_shown_addresses_are_those_of_compose() -> None:
    prometheus = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())
    targets = {
        target
        for job in prometheus["scrape_configs"]
        for group in job["static_configs"]
        for target in group["targets"]
    }
    assert targets == {f"127.0.0.1:{port}" for port in PORTS.values()}
    services = COMPOSE["services"]
    (manager,) = prometheus["alerting"]["alertmanagers"][0]["static_configs"][0]["targets"]
    assert f"--web.listen-address={manager}" in services["alertmanager"]["command"]
    sources = DEPLOY / "grafana" / "provisioning" / "datasources" / "redshank.yaml"
    url = yaml.safe_load(sources.read_text())["datasources"][0]["url"]
    assert (
        f"--web.listen-address={url.removeprefix('http://')}" in services["prometheus"]["command"]
    )
    boards = DEPLOY / "grafana" / "provisioning" / "dashboards" / "redshank.yaml"
    folder = yaml.safe_load(boards.read_text())["providers"][0]["options"]["path"]
    assert f"./grafana/dashboards:{folder}:ro" in services["grafana"]["volumes"]
    assert services["grafana"]["environment"]["GF_SERVER_HTTP_PORT"] not in map(str, PORTS.values())


@pytest.mark.parametrize("arguments", [["watch", "--once"], ["retrain", "loop", "--once"]])
def test_what_the_image_copies_is_enough_to_run(tmp_path: Path, arguments: list[str]) -> None:
    for line in re.findall(r"^COPY (.+) \S+$", CONTAINERFILE, flags=re.MULTILINE):
        for name in line.split():
            target = tmp_path / "app" / name
            target.parent.mkdir(parents=True, exist_ok=True)
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, target, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(ROOT / name, target)
    code = (
        f"import sys; sys.path[:] = [p for p in sys.path if p != {str(ROOT)!r}]\n"
        "import redshank.cli\n"
        "print(redshank.cli.__file__)\n"
        f"sys.exit(redshank.cli.main({arguments!r}))"
    )
    own = {"PYTHONPATH": str(tmp_path / "app"), "REDSHANK_HOME__ROOT": str(tmp_path / "data")}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path / "app",
        env={**os.environ, **own, "REDSHANK_MONITORING__PORT": "0"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(str(tmp_path / "app"))
    assert any((tmp_path / "data").iterdir())
