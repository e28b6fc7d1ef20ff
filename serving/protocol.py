"""The Open Inference Protocol v2 as data: requests into images, answers into tensors, metadata.

https://github.com/kserve/open-inference-protocol (REST), with the binary extension for inputs. One
input `image`: either BYTES [N], whole files (in JSON as base64 text), or UINT8 [N, H, W, 3], pixels
of the model's own size. Errors are `{"error": "..."}`, as the protocol wants them.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import orjson

from redshank.bundle import InputSpec
from redshank.preprocess import ImageArray

from .refusal import Refusal
from .swap import Served

INPUT = "image"
OUTPUTS = {
    "class": "BYTES",
    "confidence": "FP64",
    "abstain": "BOOL",
    "top_classes": "BYTES",
    "top_confidences": "FP64",
}
"""Output name -> datatype; the first three are [N], the others [N, k]."""
EXTENSIONS = ("model_repository",)
_LENGTH_BYTES = 4
"""Before each element of a binary BYTES tensor, little-endian."""
Image = bytes | ImageArray


@dataclass(frozen=True)
class InferRequest:
    """A checked request."""

    images: tuple[Image, ...]
    request_id: str
    outputs: tuple[str, ...]
    parameters: Mapping[str, Any]

    def text(self, name: str) -> str:
        """A parameter, empty when it is missing.

        Raises:
            Refusal: it is no text.
        """
        value = self.parameters.get(name, "")
        if not isinstance(value, str):
            raise _bad(f"parameter {name!r} is {value!r}, expected a string")
        return value


def parse_infer(body: bytes, json_length: int, spec: InputSpec, *, most: int) -> InferRequest:
    """A request of `infer`.

    Args:
        body: JSON, and binary data of inputs behind it.
        json_length: bytes of JSON; 0: all of them.
        spec: size of the model's input.
        most: images in one request.

    Raises:
        Refusal: the request is not what the protocol and the model expect.
    """
    try:
        values = orjson.loads(body[:json_length] if json_length else body)
    except orjson.JSONDecodeError as error:
        raise _bad(f"the body is not JSON: {error}") from error
    values = _typed(values, dict, "the request")
    inputs = _typed(values.get("inputs"), list, "inputs")
    if len(inputs) != 1:
        raise _bad(f"the request has {len(inputs)} inputs, expected one, {INPUT!r}")
    tensor = _typed(inputs[0], dict, "the input")
    if tensor.get("name") != INPUT:
        raise _bad(f"unknown input {tensor.get('name')!r}, expected {INPUT!r}")
    binary = body[json_length:] if json_length else b""
    parameters = _typed(values.get("parameters", {}), dict, "parameters")
    request_id = values.get("id", "")
    if not isinstance(request_id, str) or len(request_id) > 128:
        raise _bad("id is no string of at most 128 characters")
    return InferRequest(
        images=_images(tensor, binary, spec, most),
        request_id=request_id,
        outputs=_outputs(values.get("outputs", [])),
        parameters=parameters,
    )


def infer_response(request: InferRequest, served: Served, answers: Sequence[bytes]) -> bytes:
    """JSON of the outputs that were asked for, of answers in `redshank.http_api.Prediction`."""
    found = [orjson.loads(answer) for answer in answers]
    tops = [answer["top"] for answer in found]
    columns: dict[str, list[Any]] = {
        "class": [answer["class"] for answer in found],
        "confidence": [answer["confidence"] for answer in found],
        "abstain": [answer["abstain"] for answer in found],
        "top_classes": [entry["class"] for top in tops for entry in top],
        "top_confidences": [entry["confidence"] for top in tops for entry in top],
    }
    shape = {name: [len(found)] for name in OUTPUTS}
    shape |= {name: [len(found), len(tops[0])] for name in ("top_classes", "top_confidences")}
    return orjson.dumps(
        {
            "model_name": served.model.bundle.model,
            "model_version": served.version,
            "id": request.request_id or found[0]["request_id"],
            "parameters": {"domain": found[0]["domain"]},
            "outputs": [
                {
                    "name": name,
                    "shape": shape[name],
                    "datatype": OUTPUTS[name],
                    "data": columns[name],
                }
                for name in request.outputs
            ],
        }
    )


def model_metadata(name: str, loaded: Sequence[Served], served: Served) -> dict[str, Any]:
    """What the protocol calls metadata of a model; -1 is an axis of any length."""
    spec = served.model.bundle.input
    top = min(3, len(served.model.bundle.classes))
    return {
        "name": name,
        "versions": [one.version for one in loaded],
        "platform": "onnxruntime_onnx",
        "inputs": [
            {"name": INPUT, "datatype": "BYTES", "shape": [-1]},
            {
                "name": INPUT,
                "datatype": "UINT8",
                "shape": [-1, spec.height, spec.width, spec.channels],
            },
        ],
        "outputs": [
            {
                "name": output,
                "datatype": datatype,
                "shape": [-1, top] if output.startswith("top_") else [-1],
            }
            for output, datatype in OUTPUTS.items()
        ],
    }


def error_body(refusal: Refusal, _request_id: str) -> bytes:
    """`{"error": "..."}`: the message, and the next step where there is one."""
    text = f"{refusal.message} {refusal.hint}" if refusal.hint else refusal.message
    return orjson.dumps({"error": text})


def _images(
    tensor: Mapping[str, Any], binary: bytes, spec: InputSpec, most: int
) -> tuple[Image, ...]:
    shape = _typed(tensor.get("shape"), list, "shape")
    if not shape or not all(type(side) is int and side >= 0 for side in shape):
        raise _bad(f"shape {str(shape)[:80]} is no list of whole numbers")
    if not 1 <= shape[0] <= most:
        raise _bad(f"the request has {shape[0]} images, expected 1 to {most}")
    size = _typed(tensor.get("parameters", {}), dict, "parameters").get("binary_data_size")
    if size is not None and size != len(binary):
        raise _bad(f"binary_data_size is {size!r}, {len(binary)} bytes follow the JSON")
    data = binary if size is not None else tensor.get("data")
    if tensor.get("datatype") == "BYTES":
        if len(shape) != 1:
            raise _bad(f"shape of BYTES is {shape}, expected [N]")
        return _files(data, shape[0])
    if tensor.get("datatype") == "UINT8":
        expected = [spec.height, spec.width, spec.channels]
        if shape[1:] != expected:
            raise _bad(f"shape of UINT8 is {shape}, expected [N, {', '.join(map(str, expected))}]")
        return tuple(_pixels(data, shape))
    raise _bad(f"datatype {str(tensor.get('datatype'))[:20]!r} is neither BYTES nor UINT8")


def _files(data: Any, count: int) -> tuple[bytes, ...]:
    if isinstance(data, bytes):
        files = _elements(data, count)
    else:
        try:
            files = [base64.b64decode(text, validate=True) for text in _typed(data, list, "data")]
        except (ValueError, TypeError) as error:
            raise _bad(f"an element of data is no base64 text: {error}") from error
    if len(files) != count:
        raise _bad(f"data has {len(files)} elements, shape says {count}")
    if not all(files):
        raise _bad("an element of data is empty", hint="Send the bytes of an image.")
    return tuple(files)


def _elements(data: bytes, count: int) -> list[bytes]:
    """Elements of a binary tensor; ends after `count`, however many a body claims to hold."""
    files: list[bytes] = []
    start = 0
    while start < len(data):
        if len(files) == count:
            raise _bad(f"data has more elements than the {count} of shape")
        begin = start + _LENGTH_BYTES
        end = begin + int.from_bytes(data[start:begin], "little")
        if len(data) < end:
            raise _bad("the binary data end in the middle of an element")
        files.append(data[begin:end])
        start = end
    return files


def _flat(data: Any) -> bytes:
    """Numbers of nested lists. NumPy would give each the width of the longest text among them."""
    level = _typed(data, list, "data")
    while (kinds := set(map(type, level))) == {list}:
        if len(set(map(len, level))) > 1:
            raise _bad("data of UINT8 is no regular array: its rows differ in length")
        level = list(chain.from_iterable(level))
    if level and (kinds != {int} or min(level) < 0 or max(level) > 255):
        raise _bad("data of UINT8 holds other than whole numbers from 0 to 255")
    return bytes(level)


def _pixels(data: Any, shape: Sequence[int]) -> ImageArray:
    values = np.frombuffer(data if isinstance(data, bytes) else _flat(data), np.uint8)
    if values.size != math.prod(shape):
        raise _bad(f"data has {values.size} elements, shape says {math.prod(shape)}")
    return values.reshape(shape)


def _outputs(wanted: Any) -> tuple[str, ...]:
    names = [
        _typed(output, dict, "an output").get("name") for output in _typed(wanted, list, "outputs")
    ]
    unknown = [name for name in names if not isinstance(name, str) or name not in OUTPUTS]
    if unknown:
        raise _bad(f"unknown output {str(unknown[0])[:80]!r}, there are {', '.join(OUTPUTS)}")
    if len(set(names)) < len(names):
        raise _bad("an output is asked for more than once")
    return tuple(names) or tuple(OUTPUTS)


def _typed(value: Any, kind: type[Any], name: str) -> Any:
    if not isinstance(value, kind):
        raise _bad(f"{name} is no {'object' if kind is dict else 'array'}")
    return value


def _bad(message: str, hint: str = "") -> Refusal:
    return Refusal("bad_request", message, hint=hint)
