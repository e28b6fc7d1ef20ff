"""A batch request: every image has its own answer or error, in the order of the form."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Sequence
from typing import Any

import orjson

from redshank.http_api import ErrorBody, error_json

from .refusal import Refusal
from .uploads import Upload
from .worker import Sender, Worker


async def predict_many(
    worker: Worker, uploads: Sequence[Upload], sender: Sender, deadline_s: float | None
) -> bytes:
    """JSON of all results; good images are answered whatever happens to the others.

    Each image is one event; its request id is that of the request with `/<index>` behind it.
    """
    worker.snapshot()  # without a model the whole request is refused
    results = await asyncio.gather(
        *(_one(worker, upload, sender, index, deadline_s) for index, upload in enumerate(uploads))
    )
    failed = sum("error" in result for result in results)
    return orjson.dumps(
        {
            "request_id": sender.request_id,
            "answered": len(results) - failed,
            "failed": failed,
            "results": results,
        }
    )


async def _one(
    worker: Worker, upload: Upload, sender: Sender, index: int, deadline_s: float | None
) -> dict[str, Any]:
    request_id = f"{sender.request_id}/{index}"
    place = {"index": index, "filename": upload.filename}
    try:
        answer = await worker.predict(
            upload.data, dataclasses.replace(sender, request_id=request_id), deadline_s
        )
    except Refusal as error:
        body = ErrorBody(error.code, error.message, error.hint, request_id, error.details)
        return {**place, "status": error.status, **error_json(body)}
    return {**place, "status": 200, "prediction": orjson.Fragment(answer.body)}
