"""The addresses of the Open Inference Protocol v2: the model that is served, and its releases.

`infer` goes the way of every other image, so its answers are events, too. The repository part is a
second face of the release verbs: `load` publishes a bundle, `unload` ends its canary or shadow.
"""

from __future__ import annotations

import asyncio
import dataclasses
import time
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from redshank import __version__
from redshank.bundle import read_bundle
from redshank.errors import RedshankError
from redshank.http_api import DEADLINE_HEADER

from .limits import checked_deadline_s
from .protocol import EXTENSIONS, InferRequest, infer_response, model_metadata, parse_infer
from .raw_predict import granted_domain, identity_headers
from .raw_predict import sender_of as sender_in_scope
from .refusal import Refusal
from .swap import Served, Snapshot
from .worker import Slot, Worker

JSON_LENGTH = "inference-header-content-length"
SMALL_BODY = 64 * 1024
"""Longer bodies are parsed in a thread: numbers as JSON take a second for 16 MiB."""
TAKEN_OVER_S = 20.0
"""How long `load` waits until this worker answers with the bundle."""
ACTOR = "v2/repository"


def protocol_routes(slot: Slot) -> list[Route]:
    """Routes of the protocol; the probes are answered at the edge."""
    routes = ProtocolRoutes(slot)
    found = [
        Route("/v2", routes.server, methods=["GET"]),
        Route("/v2/repository/index", routes.index, methods=["POST"]),
        Route("/v2/repository/models/{model}/load", routes.load, methods=["POST"]),
        Route("/v2/repository/models/{model}/unload", routes.unload, methods=["POST"]),
    ]
    for path in ("/v2/models/{model}", "/v2/models/{model}/versions/{version}"):
        found += [
            Route(path, routes.metadata, methods=["GET"]),
            Route(f"{path}/ready", routes.ready, methods=["GET"]),
            Route(f"{path}/infer", routes.infer, methods=["POST"]),
        ]
    return found


class ProtocolRoutes:
    """Handlers over one worker."""

    def __init__(self, slot: Slot) -> None:
        self._slot = slot

    async def server(self, request: Request) -> Response:
        """Name, version and extensions of this server."""
        self._worker(request, "predict")
        values = {"name": "redshank", "version": __version__, "extensions": list(EXTENSIONS)}
        return _json(values)

    async def metadata(self, request: Request) -> Response:
        """Inputs and outputs of the model."""
        worker = self._worker(request, "predict")
        snapshot, version = _asked(request, worker)
        served = snapshot.answering(version) or snapshot.live
        return _json(model_metadata(request.path_params["model"], snapshot.answerers, served))

    async def ready(self, request: Request) -> Response:
        """Whether the model, or this version of it, answers."""
        worker = self._worker(request, "predict")
        _asked(request, worker)
        return _json({"name": request.path_params["model"], "ready": worker.ready})

    async def infer(self, request: Request) -> Response:
        """Classify images; one bad image fails the request, as the protocol has no parts of it."""
        worker = self._worker(request, "predict")
        snapshot, version = _asked(request, worker)
        body = await request.body()
        wanted = await _parsed(request, worker, snapshot, body)
        answers = await self._answers(request, worker, wanted, version)
        served = answers[0].served
        headers = {name.decode(): value.decode() for name, value in identity_headers(served)}
        body = infer_response(wanted, served, [answer.body for answer in answers])
        return Response(body, media_type="application/json", headers=headers)

    async def index(self, request: Request) -> Response:
        """Every bundle of the model, and whether it answers now."""
        worker = self._worker(request, "predict")
        body = await request.body()
        only_ready = body and _object(body).get("ready") is True
        entries = await asyncio.to_thread(_index, worker)
        return _json([e for e in entries if e["state"] == "READY" or not only_ready])

    async def load(self, request: Request) -> Response:
        """Publish the bundle named by `parameters.version`; without it, look at the pointer."""
        worker = self._admin(request)
        _check_name(request, worker)
        version = _version(await request.body())
        if version:
            await asyncio.to_thread(_publish, worker, version)
        worker.watcher.wake()
        await _taken_over(worker, version)
        return _json({})

    async def unload(self, request: Request) -> Response:
        """End the canary or shadow named by `parameters.version`; the live bundle stays."""
        worker = self._admin(request)
        _check_name(request, worker)
        version = _version(await request.body())
        await asyncio.to_thread(_end, worker, version)
        worker.watcher.wake()
        return _json({})

    async def _answers(
        self, request: Request, worker: Worker, wanted: InferRequest, version: str
    ) -> list[Any]:
        scope = request.scope
        grant = worker.access.grant(request.headers.get("authorization", ""), "predict")
        header = request.headers.get("x-domain", "")
        domain = granted_domain(grant, header or wanted.text("domain"))
        sender = sender_in_scope(worker, scope, dict(scope["headers"]), scope["redshank"], domain)
        deadline_s = checked_deadline_s(request.headers.get(DEADLINE_HEADER))
        senders = [sender]
        if len(wanted.images) > 1:
            senders = [
                dataclasses.replace(sender, request_id=f"{sender.request_id}/{number}")
                for number in range(len(wanted.images))
            ]
        futures = [
            worker.predict(image, one, deadline_s, version=version)
            for image, one in zip(wanted.images, senders, strict=True)
        ]
        answers = await asyncio.gather(*futures, return_exceptions=True)
        for number, answer in enumerate(answers):
            if isinstance(answer, Refusal) and len(answers) > 1:
                answer.message = f"image {number}: {answer.message}"
            if isinstance(answer, BaseException):
                raise answer
        return answers

    def _admin(self, request: Request) -> Worker:
        worker = self._slot.get()
        worker.access.grant_admin(request.headers)
        return worker

    def _worker(self, request: Request, role: str) -> Worker:
        worker = self._slot.get()
        worker.access.grant(request.headers.get("authorization", ""), role)
        return worker


def _asked(request: Request, worker: Worker) -> tuple[Snapshot, str]:
    """What answers now, and the version that the address names (empty: none)."""
    _check_name(request, worker)
    snapshot, version = worker.snapshot(), request.path_params.get("version", "")
    if version and snapshot.answering(version) is None:
        raise Refusal("not_found", f"version {version[:80]!r} does not answer now")
    return snapshot, version


def _check_name(request: Request, worker: Worker) -> None:
    name = request.path_params["model"]
    if name != worker.model:
        raise Refusal("not_found", f"model {name[:80]!r} is not served here, {worker.model!r} is")


async def _parsed(
    request: Request, worker: Worker, snapshot: Snapshot, body: bytes
) -> InferRequest:
    text = request.headers.get(JSON_LENGTH, "0")
    if not (text.isascii() and text.isdigit() and len(text) < 10) or int(text) > len(body):
        raise Refusal("bad_request", f"{JSON_LENGTH} {text[:80]!r} does not fit the body")
    spec, most = snapshot.live.model.bundle.input, worker.limits.max_files
    if len(body) <= SMALL_BODY:
        return parse_infer(body, int(text), spec, most=most)
    return await asyncio.to_thread(parse_infer, body, int(text), spec, most=most)


def _object(body: bytes) -> dict[str, Any]:
    try:
        values = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Refusal("bad_request", f"the body is not JSON: {error}") from error
    if not isinstance(values, dict):
        raise Refusal("bad_request", "the body is no object")
    return values


def _version(body: bytes) -> str:
    parameters = _object(body or b"{}").get("parameters", {})
    version = parameters.get("version", "") if isinstance(parameters, dict) else None
    if not isinstance(version, str):
        raise Refusal("bad_request", "parameters.version is no string")
    return version


def _index(worker: Worker) -> list[dict[str, str]]:
    """Bundles of the model, the newest first."""
    snapshot = worker.watcher.snapshot
    loaded: dict[str, Served] = {s.version: s for s in snapshot.served} if snapshot else {}
    entries = []
    for folder in sorted(worker.registry.bundles.glob("[!.]*"), reverse=True):
        try:
            model = read_bundle(folder, verify=False).model
        except RedshankError as error:
            model, state, reason = worker.model, "UNAVAILABLE", error.message
        else:
            state = "READY" if folder.name in loaded else "UNAVAILABLE"
            reason = loaded[folder.name].role if folder.name in loaded else "not released"
        if model == worker.model:
            entries.append(
                {"name": model, "version": folder.name, "state": state, "reason": reason}
            )
    return entries


def _publish(worker: Worker, version: str) -> None:
    known = {path.name for path in worker.registry.bundles.glob("[!.]*")}
    if version not in known:
        raise Refusal("not_found", f"there is no bundle {version[:80]!r}")
    try:
        if read_bundle(worker.registry.bundle_path(version), verify=False).model != worker.model:
            raise Refusal("bad_request", f"bundle {version} is not of the model {worker.model!r}")
        worker.registry.publish(version, actor=ACTOR, reason="load", at_s=worker.clock())
    except RedshankError as error:
        raise Refusal("bad_request", error.message, hint=error.hint) from error


async def _taken_over(worker: Worker, version: str) -> None:
    end_s = time.monotonic() + TAKEN_OVER_S
    while version and time.monotonic() < end_s:
        snapshot = worker.watcher.snapshot
        if snapshot is not None and snapshot.live.version == version:
            return
        if worker.watcher.problem:
            break
        await asyncio.sleep(0.02)
    if version:
        why = worker.watcher.problem or f"it is not loaded after {TAKEN_OVER_S:.0f} s"
        raise Refusal("not_ready", f"{version} is released, but not served: {why}")


def _end(worker: Worker, version: str) -> None:
    registry, model = worker.registry, worker.model
    stamp = {"actor": ACTOR, "reason": "unload"}
    try:
        release = registry.read(model)
        if release.canary is not None and release.canary.bundle == version:
            registry.set_canary(model, None, **stamp, at_s=worker.clock())
        elif release.shadow == version:
            registry.set_shadow(model, None, **stamp, at_s=worker.clock())
        else:
            loaded = (
                "live: load another" if release.live == version else "neither canary nor shadow"
            )
            raise Refusal("bad_request", f"version {version[:80]!r} is {loaded}")
    except RedshankError as error:
        raise Refusal("bad_request", error.message, hint=error.hint) from error


def _json(values: Any) -> Response:
    return Response(orjson.dumps(values), media_type="application/json")
