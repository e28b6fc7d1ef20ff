"""Addresses as templates: what metrics may name, however many addresses somebody tries."""

from __future__ import annotations

OTHER = "other"
_MODEL = "/v2/models/{model}"
_VERSION = "/v2/models/{model}/versions/{version}"
ROUTES = frozenset(
    {
        "/v1/predict",
        "/v1/predict/batch",
        "/v1/models",
        "/predict",
        "/admin/reload",
        "/openapi.json",
        "/docs.json",
        "/schema.json",
        "/metrics",
        "/healthz",
        "/livez",
        "/readyz",
        "/",
        "/v2",
        "/v2/health/live",
        "/v2/health/ready",
        "/v2/repository/index",
        "/v2/repository/models/{model}/load",
        "/v2/repository/models/{model}/unload",
        *(path + action for path in (_MODEL, _VERSION) for action in ("", "/ready", "/infer")),
    }
)
"""Route templates in metrics; every other path counts as `other`."""


def template_of(path: str) -> str:
    """The template of a path, `other` when it has none."""
    if path in ROUTES:
        return path
    if not path.startswith("/v2/"):
        return OTHER
    parts = path.split("/")
    if parts[2] == "models" and len(parts) >= 4:
        parts[3] = "{model}"
        if len(parts) >= 6 and parts[4] == "versions":
            parts[5] = "{version}"
    elif parts[2:4] == ["repository", "models"] and len(parts) == 6:
        parts[4] = "{model}"
    template = "/".join(parts)
    return template if template in ROUTES else OTHER
