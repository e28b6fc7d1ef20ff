"""The runbook as a page, so that an alert's link works where there is no network.

Reads as much Markdown as docs/runbook.md uses: headings, paragraphs, lists, `code`, **bold**, code
blocks, and links, whose text stays. Headings get the ids that links of alerts name.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from markupsafe import Markup, escape

FILE = Path(__file__).parents[2] / "docs" / "runbook.md"
_ITEM = re.compile(r"(?:\* |\d+\. )(.*)")


def body(file: Path = FILE) -> Markup:
    """The page's text as HTML; a sentence where the file is not in this image."""
    if not file.is_file():
        return Markup("<h1>Runbook</h1>\n<p>docs/runbook.md is not installed here.</p>")
    return Markup("\n").join(_blocks(file.read_text(encoding="utf-8").splitlines()))


def anchor(heading: str) -> str:
    """The id of a heading: `A domain is degraded` -> `a-domain-is-degraded`."""
    return re.sub(r"[^\w -]", "", heading.lower()).strip().replace(" ", "-")


def _blocks(lines: list[str]) -> Iterator[Markup]:
    at = 0
    while at < len(lines):
        line = lines[at]
        if not line.strip():
            at += 1
        elif line.startswith("```"):
            end = next((n for n in range(at + 1, len(lines)) if lines[n].startswith("```")), at)
            yield Markup("<pre>{}</pre>").format("\n".join(lines[at + 1 : end]))
            at = max(end, at) + 1
        elif line.startswith("#"):
            marks, _, heading = line.partition(" ")
            level = len(marks)
            yield Markup(f'<h{level} id="{{}}">{{}}</h{level}>').format(
                anchor(heading), _inline(heading)
            )
            at += 1
        else:
            end = next((n for n in range(at, len(lines)) if not lines[n].strip()), len(lines))
            yield _list(lines[at:end]) if _ITEM.match(line) else _paragraph(lines[at:end])
            at = end


def _paragraph(lines: list[str]) -> Markup:
    return Markup("<p>{}</p>").format(_inline(" ".join(line.strip() for line in lines)))


def _list(lines: list[str]) -> Markup:
    items: list[str] = []
    for line in lines:
        if found := _ITEM.match(line):
            items.append(found[1])
        elif items:
            items[-1] += f" {line.strip()}"
    kind = "ol" if lines[0][0].isdigit() else "ul"
    inner = Markup("").join(Markup("<li>{}</li>").format(_inline(item)) for item in items)
    return Markup(f"<{kind}>{{}}</{kind}>").format(inner)


def _inline(text: str) -> Markup:
    shown = str(escape(text))
    shown = re.sub(r"`([^`]+)`", r"<code>\1</code>", shown)
    shown = re.sub(r"\*\*([^*]+)\*\*", r"<strong>\1</strong>", shown)
    return Markup(re.sub(r"\[([^\]]+)\]\([^)]+\)", r"\1", shown))
