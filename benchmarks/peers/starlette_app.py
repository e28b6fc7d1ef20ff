"""Starlette + uvicorn by hand, with our service's features: limits, ids, metrics and events.

The same decoding, fingerprint, model, recorder and metrics as serving/; a plain thread pool of one
in place of the micro-batcher, and Starlette's router, request and response in place of the edge.
`python -m benchmarks.peers.starlette_app PORT`.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import sys
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import orjson
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from redshank.events import OK, SCHEMA, Event, EventWriter
from redshank.fingerprint import fingerprint
from redshank.http_api import prediction_values
from redshank.infer import load_model, top_classes
from redshank.preprocess import ImageError, decode_image
from serving.identity import client_hash
from serving.limits import checked_domain, checked_label
from serving.metrics import Metrics
from serving.recorder import Recorder, event_text
from serving.refusal import Refusal

MOST_BYTES = 16 * 1024 * 1024


class Service:
    """One model behind one route."""

    def __init__(self, bundle: Path, spool: Path) -> None:
        self.model = load_model(bundle)
        self.metrics = Metrics()
        writer = EventWriter(spool, "peer")
        self.recorder = Recorder(writer, None, self.metrics, flush_s=1.0, flush_events=500)
        self.recorder.start()
        self.pool = ThreadPoolExecutor(1)

    async def predict(self, request: Request) -> Response:
        """One image as the body."""
        began = time.perf_counter()
        request_id = request.headers.get("x-request-id") or uuid.uuid4().hex
        try:
            status, body = 200, await self._answer(request, request_id, began)
        except (Refusal, ImageError) as error:
            refusal = error if isinstance(error, Refusal) else Refusal(error.code, error.message)
            status, body = refusal.status, refusal.body(request_id)
        self.metrics.requests.labels("/v1/predict", str(status)).inc()
        self.metrics.request_seconds.labels("/v1/predict").observe(time.perf_counter() - began)
        headers = {"x-request-id": request_id}
        return Response(body, status, media_type="application/json", headers=headers)

    async def _answer(self, request: Request, request_id: str, began: float) -> bytes:
        domain = checked_domain(request.headers.get("x-domain"))
        client = checked_label("x-client-id", request.headers.get("x-client-id"))
        data = await request.body()
        if len(data) > MOST_BYTES:
            raise Refusal("body_too_large")
        loop = asyncio.get_running_loop()
        work = partial(self._work, data, domain, client, request_id, began)
        return await asyncio.wait_for(loop.run_in_executor(self.pool, work), 10.0)

    def _work(self, data: bytes, domain: str, client: str, request_id: str, began: float) -> bytes:
        bundle = self.model.bundle
        pixels = decode_image(data, bundle.input.height, bundle.input.width)
        dhash, mean, spread = fingerprint(pixels)
        found = self.model.predict(pixels[np.newaxis])
        confidence, index = float(found.confidence_N[0]), int(found.class_N[0])
        latency_ms = round(1000 * (time.perf_counter() - began), 3)
        event = Event(
            schema=SCHEMA,
            event_id=f"{time.time():.6f}-{request_id}",
            received_at=time.time(),
            domain=domain,
            model=bundle.model,
            version=bundle.bundle_id,
            role="live",
            outcome=OK,
            class_index=index,
            confidence=confidence,
            margin=float(found.margin_N[0]),
            novelty=float(found.novelty_N[0]),
            dhash=dhash,
            brightness_mean=mean,
            brightness_spread=spread,
            sequence_id="",
            client=client_hash(b"salt", client),
            latency_ms=latency_ms,
            image_sha256=hashlib.sha256(data).hexdigest(),
            stored=False,
        )
        self.recorder.record([event_text(event)])
        labels = (bundle.model, bundle.bundle_id, domain, "live", OK)
        self.metrics.predictions.labels(*labels).inc()
        top = top_classes(found.probabilities_NC[0], bundle.classes)
        values = prediction_values(
            request_id=request_id,
            model=bundle.model,
            version=bundle.bundle_id,
            domain=domain,
            class_name=bundle.classes[index],
            confidence=confidence,
            abstain=confidence < bundle.abstain_below,
            top=[(c.class_name, c.confidence) for c in top],
            latency_ms=latency_ms,
        )
        return orjson.dumps(values)


def main() -> None:
    """Serve until the process is ended."""
    service = Service(
        Path(os.environ["REDSHANK_PEER_BUNDLE"]), Path(os.environ["REDSHANK_PEER_SPOOL"])
    )

    async def ready(_request: Request) -> Response:
        return Response("ready\n")

    app = Starlette(
        routes=[
            Route("/v1/predict", service.predict, methods=["POST"]),
            Route("/readyz", ready),
        ]
    )
    port = int(sys.argv[1])
    uvicorn.run(app, host="127.0.0.1", port=port, log_config=None, access_log=False)


if __name__ == "__main__":
    main()
