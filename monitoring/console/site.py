"""Which page answers which address: the whole of the console, read from top to bottom."""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import Any

from monitoring.status import row_status
from redshank.errors import ConflictError, InputError, RedshankError
from redshank.field_files import check_digest

from . import alerts, runbook
from .access import SESSION_S, is_form_key
from .decide import decide
from .domain import domain_values, find_row
from .fleet import fleet_values
from .healings import healing_list_values, healing_values, release_values
from .labelling import give_label, label_values
from .messages import (
    Answer,
    Request,
    Visitor,
    every_minute,
    redirect,
    session_cookie,
    text,
    visitor_of,
)
from .render import FILES, Pages
from .sources import Sources

IMAGE_KINDS = {".jpg": "image/jpeg", ".png": "image/png"}


class Console:
    """Answers requests; safe from threads."""

    def __init__(self, sources: Sources) -> None:
        self.sources, self._pages = sources, Pages()

    def answer(self, request: Request) -> Answer:
        """The answer to any request; what the user did wrong becomes a page that says so."""
        visitor = visitor_of(request, self.sources.access)
        try:
            if request.method == "GET":
                return self._read(request, visitor)
            return self._write(request, visitor)
        except InputError as error:
            return self._refused(visitor, HTTPStatus.NOT_FOUND, error)
        except ConflictError as error:
            return self._refused(visitor, HTTPStatus.CONFLICT, error)
        except RedshankError as error:
            return self._refused(visitor, HTTPStatus.INTERNAL_SERVER_ERROR, error)

    def _read(self, request: Request, visitor: Visitor) -> Answer:
        sources, page = self.sources, self._pages.page
        match request.parts:
            case ():
                made = page("fleet", visitor, fleet_values(sources, request.query))
                return every_minute(made) if request.query.get("refresh") == "1" else made
            case ("domains", model, domain):
                may_look = visitor.may("look")
                values = domain_values(sources, model, domain, request.query, may_look=may_look)
                return page("domain", visitor, values)
            case ("domains", model, domain, "label"):
                return self._label_page(request, visitor, model, domain)
            case ("healings",):
                return page("healings", visitor, healing_list_values(sources))
            case ("healings", healing_id):
                return page("healing", visitor, healing_values(sources, healing_id))
            case ("releases",):
                return page("releases", visitor, release_values(sources))
            case ("login",):
                return page("login", visitor, {"wrong": False, "is_open": sources.access.is_open})
            case ("runbook",):
                return page("runbook", visitor, {"body": runbook.body()})
        return self._read_data(request, visitor)

    def _read_data(self, request: Request, visitor: Visitor) -> Answer:
        """What is no page: images, JSON, the style sheet."""
        match request.parts:
            case ("images", domain, sha256):
                return self._image(visitor, domain, sha256)
            case ("api", "domains"):
                body = json.dumps(self._domains(), ensure_ascii=False).encode()
                return Answer(HTTPStatus.OK, body, "application/json")
            case (name,) if name in FILES:
                return self._pages.file(name)
        raise InputError("there is no such page", hint="The fleet is at /.")

    def _write(self, request: Request, visitor: Visitor) -> Answer:
        if request.parts == ("alerts",):
            return alerts.receive(self.sources, visitor, request.body)
        if request.is_from_elsewhere:
            return text(HTTPStatus.FORBIDDEN, "another site sent this form\n")
        if request.parts == ("login",):
            return self._sign_in(request, visitor)
        if visitor.session is not None and not is_form_key(
            visitor.session, request.form.get("form_key", "")
        ):
            return text(HTTPStatus.FORBIDDEN, "the form is not from this session: load it again\n")
        if request.parts == ("logout",):
            self.sources.access.end(request.cookie)
            return redirect("/", session_cookie("", 0))
        is_label = request.parts[:1] == ("domains",) and request.parts[3:] == ("label",)
        role = "label" if is_label else "decide"
        if not visitor.may(role):
            status = HTTPStatus.FORBIDDEN if visitor.holder else HTTPStatus.UNAUTHORIZED
            return text(status, f"this needs a token with the role `{role}`\n")
        if is_label:
            key = find_row(self.sources, *request.parts[1:3]).key
            return redirect(give_label(self.sources, visitor.name, key, request.form))
        then = decide(self.sources, visitor.name, request.parts, request.form)
        if then is None:
            return text(HTTPStatus.NOT_FOUND, "there is no such decision\n")
        return redirect(then)

    def _label_page(self, request: Request, visitor: Visitor, model: str, domain: str) -> Answer:
        if not visitor.may("label"):
            status = HTTPStatus.FORBIDDEN if visitor.holder else HTTPStatus.UNAUTHORIZED
            return text(status, "this needs a token with the role `label`: sign in at /login\n")
        version = find_row(self.sources, model, domain).key.version
        values = label_values(self.sources, model, domain, version, request.query)
        return self._pages.page("label", visitor, values)

    def _sign_in(self, request: Request, visitor: Visitor) -> Answer:
        holder = self.sources.access.holder(request.form.get("token", ""))
        if holder is None:
            values = {"wrong": True, "is_open": self.sources.access.is_open}
            return self._pages.page("login", visitor, values, HTTPStatus.UNAUTHORIZED)
        cookie = self.sources.access.begin(holder)
        return redirect("/", session_cookie(cookie, SESSION_S, is_secure=request.is_secure))

    def _image(self, visitor: Visitor, domain: str, sha256: str) -> Answer:
        """A field image, to those who may look; never cached by anything in between."""
        if not visitor.may("look"):
            return text(HTTPStatus.UNAUTHORIZED, "this needs a token with the role `look`\n")
        check_digest(sha256)
        for image in self.sources.field.images(domain):
            if image.sha256 == sha256:
                kept = ("Cache-Control", "private, no-store")
                kind = IMAGE_KINDS[image.path.suffix]
                return Answer(HTTPStatus.OK, image.path.read_bytes(), kind, (kept,))
        raise InputError(f"no image {sha256[:12]} of {domain!r} is kept")

    def _domains(self) -> list[dict[str, Any]]:
        board, now_s = self.sources.board, self.sources.clock()
        return [row_status(row, self.sources.settings, now_s) for row in board.picture.rows]

    def _refused(self, visitor: Visitor, status: HTTPStatus, error: RedshankError) -> Answer:
        values = {"status": status, "message": error.message, "hint": error.hint}
        return self._pages.page("refused", visitor, values, status)
