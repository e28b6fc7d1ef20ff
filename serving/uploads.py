"""Images out of multipart forms."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException
from starlette.requests import Request

from .limits import Limits
from .refusal import Refusal

MULTIPART = "multipart/form-data"


@dataclass(frozen=True)
class Upload:
    """One image of a form."""

    filename: str
    data: bytes


def is_multipart(request: Request) -> bool:
    """Whether the body is a form with files."""
    return request.headers.get("content-type", "").lower().startswith(MULTIPART)


async def read_form(request: Request, limits: Limits) -> tuple[list[Upload], str]:
    """Files of a form in order, and its field `domain` (empty when there is none).

    Raises:
        Refusal: the form is broken, too large, has too many parts or no file.
    """
    if not is_multipart(request):
        raise Refusal("bad_request", f"expected a body of type {MULTIPART}")
    try:
        form = await request.form(max_files=limits.max_files, max_fields=8, max_part_size=64 * 1024)
    except (MultiPartException, HTTPException, KeyError, ValueError) as error:
        detail = getattr(error, "detail", None) or getattr(error, "message", None) or str(error)
        raise Refusal("bad_request", f"the form cannot be read: {detail}") from error
    try:
        uploads = [
            Upload(_printable(part.filename or ""), await part.read())
            for _, part in form.multi_items()
            if isinstance(part, UploadFile)
        ]
    finally:
        await form.close()
    if not uploads:
        raise Refusal("bad_request", "the form has no file", hint="Send the image as field image.")
    return uploads, _domain_of(form)


def _printable(name: str) -> str:
    """A file name that JSON can carry: a form may name a charset that gives lone surrogates."""
    return name.encode("utf-8", "replace").decode()


def _domain_of(form: FormData) -> str:
    value = form.get("domain", "")
    return value if isinstance(value, str) else ""
