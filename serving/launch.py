"""From settings to a running BentoML supervisor: checks that fail early, environment, command."""

from __future__ import annotations

import json
import os
import shutil
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from redshank.bundle import read_bundle
from redshank.errors import ConfigError, ConflictError, InputError
from redshank.files import to_json, write_atomic
from redshank.image_bytes import as_location
from redshank.records import as_dict
from redshank.registry import Registry
from redshank.remote import check_place
from redshank.settings import MirrorSettings, ServingSettings, Settings

from .access import load_access
from .dead_workers import lost_in
from .exchange import BODY_S
from .identity import SALT_FILE, load_salt
from .lifecycle import SETTINGS_FILE, SUPERVISOR
from .limits import checked_domain
from .refusal import Refusal

METRICS = "prometheus_multiproc_dir"
"""Where BentoML has the workers' metrics, below its home."""
SERVICE = "serving.service:RedshankService"
CHECKOUT = Path(__file__).resolve().parents[1]
KEEP_ALIVE_S = 75
"""Idle connections stay open so long; the usual 5 s end just when a slow camera asks again."""
LONGEST_SHUTDOWN_S = 30
_MAY_BE_ZERO = frozenset({"drain_s", "shadow_share"})


@dataclass(frozen=True)
class Launch:
    """What to execute."""

    command: tuple[str, ...]
    environment: dict[str, str]
    lost_events: int = 0
    """Events that died in the memory of the former server's workers."""


def check(settings: Settings) -> None:
    """Check everything that can be checked before the start; changes nothing.

    Raises:
        ConfigError: tokens, numbers or address are wrong.
        InputError: the model has no release.
        IntegrityError: its live bundle or the client salt is damaged.
        ConflictError: the port is taken.
    """
    check_settings(settings)
    serving, home = settings.serving, settings.home
    _check_port(_address(serving), serving.port)
    registry = Registry(home.path("models"), home.path("bundles"))
    release = registry.read(serving.model)
    if not registry.bundle_path(release.live).is_dir():
        raise InputError(
            f"the live bundle {release.live} of {serving.model} is not in {registry.bundles}",
            hint="Publish another: redshank models publish BUNDLE",
        )
    read_bundle(registry.bundle_path(release.live))


def check_settings(settings: Settings) -> None:
    """Check tokens, numbers and names.

    Raises:
        ConfigError: one of them can never work.
        IntegrityError: the client salt is damaged.
    """
    serving, home = settings.serving, settings.home
    load_access(serving.tokens_file, serving.host)
    if home.path(SALT_FILE).exists():
        load_salt(home.path("."))
    _check_numbers(serving)
    _check_domains(serving)
    _check_mirror(settings.mirror)
    if serving.engine == "tensorrt" and serving.precision == "int8":
        raise ConfigError(
            "serving.precision = int8 is a graph for CPUs, TensorRT refuses it",
            hint="Use fp32, fp16 or int8_tensorrt, or serving.engine = onnxruntime.",
        )


def check_places(settings: Settings) -> None:
    """Check that this user may write what a server writes; changes nothing.

    Not part of a start: a server whose disk fails goes on answering, also after a restart.

    Raises:
        ConfigError: one of the folders, or the nearest above it that exists, is read-only.
    """
    names = ["servers"]
    names += ["spool"] if settings.serving.record else []
    names += ["field"] if settings.serving.capture_domains else []
    for name in names:
        folder = settings.home.path(name)
        found = next(path for path in (folder, *folder.absolute().parents) if path.exists())
        if not os.access(found, os.W_OK | os.X_OK, effective_ids=True):
            raise ConfigError(
                f"{folder} cannot be written: no right to {found}, or it is read-only",
                hint="Give this user the right to it, or choose another: --set home.root=FOLDER.",
            )


def prepare(settings: Settings, environment: Mapping[str, str]) -> Launch:
    """Check, and lay the server's folder out.

    Each server has a BENTOML_HOME of its own: BentoML wipes the metrics folder in it at every
    start, which would silence another server that is running.

    Raises:
        RedshankError: as `check`.
    """
    check(settings)
    host, port = _address(settings.serving), settings.serving.port
    folder = (settings.home.path("servers") / f"{host.replace(':', '.')}-{port}").absolute()
    lost = lost_in(folder / "bentoml" / METRICS)
    shutil.rmtree(folder, ignore_errors=True)  # the address is free, so nobody uses it
    folder.mkdir(parents=True)
    settings_file = folder / "settings.json"
    write_atomic(settings_file, to_json(as_dict(_absolute(settings))), private=True)
    return Launch(
        command=_command(host, port),
        environment=_environment(settings, environment, folder, settings_file),
        lost_events=lost if settings.serving.record else 0,
    )


def execute(launch: Launch) -> int:
    """Become the supervisor: same process id, so signals reach it. Does not return."""
    sys.stdout.flush()
    sys.stderr.flush()
    environment = {**launch.environment, SUPERVISOR: str(os.getpid())}
    os.execve(launch.command[0], launch.command, environment)


def url(serving: ServingSettings) -> str:
    """Where the server answers."""
    host = f"[{serving.host}]" if ":" in serving.host else serving.host
    return f"http://{host}:{serving.port}"


def _address(serving: ServingSettings) -> str:
    return "127.0.0.1" if serving.host == "localhost" else serving.host


def _check_numbers(serving: ServingSettings) -> None:
    """Zero would hang, spin or refuse every request; only the drain may take no time."""
    for name, value in as_dict(serving).items():
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if is_number and not value > 0 and not (name in _MAY_BE_ZERO and value == 0):
            expected = "0 or more" if name in _MAY_BE_ZERO else "more than 0"
            raise ConfigError(f"serving.{name} is {value}, expected {expected}")
    if serving.port > 65_535:
        raise ConfigError(f"serving.port is {serving.port}, expected 1 to 65535")
    shares = {"shadow_share": serving.shadow_share}
    shares |= {f"abstain_below[{name}]": value for name, value in serving.abstain_below.items()}
    for name, value in shares.items():
        if not 0 <= value <= 1:
            raise ConfigError(f"serving.{name} is {value}, expected 0 to 1")


def _check_domains(serving: ServingSettings) -> None:
    """A name that no request can carry would keep no image and change no threshold, silently."""
    for key, names in (
        ("capture_domains", serving.capture_domains),
        ("abstain_below", tuple(serving.abstain_below)),
    ):
        for name in names:
            try:
                checked_domain(name)
            except Refusal as error:
                raise ConfigError(f"serving.{key}: {error.message}", hint=error.hint) from error


def _check_mirror(mirror: MirrorSettings) -> None:
    if not mirror.every_s > 0:
        raise ConfigError(f"mirror.every_s is {mirror.every_s}, expected more than 0")
    try:
        if isinstance(as_location(mirror.push_to), str):
            check_place(mirror.push_to)
    except InputError as error:
        raise ConfigError(f"mirror.push_to: {error.message}", hint=error.hint) from error


def _absolute(settings: Settings) -> Settings:
    """Workers run in another folder: paths must not depend on it."""
    home, serving, mirror = settings.home, settings.serving, settings.mirror
    tokens_file = str(Path(serving.tokens_file).absolute()) if serving.tokens_file else ""
    if mirror.push_to and isinstance(place := as_location(mirror.push_to), Path):
        mirror = replace(mirror, push_to=str(place.absolute()))
    return replace(
        settings,
        home=replace(home, root=str(Path(home.root).absolute())),
        serving=replace(serving, tokens_file=tokens_file),
        mirror=mirror,
    )


def _command(host: str, port: int) -> tuple[str, ...]:
    address = ("--host", host, "--port", str(port), "--working-dir", str(CHECKOUT))
    times = (
        *("--timeout-keep-alive", str(KEEP_ALIVE_S)),
        *("--timeout-graceful-shutdown", str(LONGEST_SHUTDOWN_S)),
    )
    return (sys.executable, "-m", "bentoml", "serve", SERVICE, *address, *times)


def _environment(
    settings: Settings, environment: Mapping[str, str], folder: Path, settings_file: Path
) -> dict[str, str]:
    serving = settings.serving
    # Our own limits come first. BentoML keeps a timer so long for each request, answered or not.
    give_up_s = 10 + int(BODY_S) + serving.deadline_ms // 1000
    service = {"workers": serving.workers, "traffic": {"timeout": give_up_s}}
    paths = [str(CHECKOUT), environment.get("PYTHONPATH", "")]
    return {
        **environment,
        SETTINGS_FILE: str(settings_file),
        "BENTOML_HOME": str(folder / "bentoml"),
        "BENTOML_DO_NOT_TRACK": "True",
        "BENTOML_CONFIG_OVERRIDES": json.dumps({"services": {"redshank": service}}),
        "PYTHONPATH": os.pathsep.join(path for path in paths if path),
    }


def _check_port(host: str, port: int) -> None:
    """Refuse a port that somebody listens on; BentoML would say so on every worker's start."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except socket.gaierror as error:
        raise ConfigError(f"serving.host {host!r} is no address of this machine") from error
    except OSError as error:
        raise ConflictError(
            f"cannot listen on {host}:{port}: {error}",
            hint="Stop what runs there, or choose another: --set serving.port=3001",
        ) from error
