from __future__ import annotations

import html
import re
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest
import yaml

from monitoring.console.runbook import FILE, anchor, body

RULES = Path(__file__).parents[3] / "deploy" / "prometheus" / "rules.yml"

TEXT = """# Top

A *plain* <b> paragraph with `a < b`,
**bold** and [a link](page.md).

1. first
   goes on
2. second

* one
* two

```
code <here>
```
"""


def test_markdown_becomes_html(tmp_path: Path) -> None:
    file = tmp_path / "r.md"
    file.write_text(TEXT)
    assert body(file) == (
        '<h1 id="top">Top</h1>\n'
        "<p>A *plain* &lt;b&gt; paragraph with <code>a &lt; b</code>, "
        "<strong>bold</strong> and a link.</p>\n"
        "<ol><li>first goes on</li><li>second</li></ol>\n"
        "<ul><li>one</li><li>two</li></ul>\n"
        "<pre>code &lt;here&gt;</pre>"
    )


def test_a_missing_file_is_said(tmp_path: Path) -> None:
    assert "not installed here" in body(tmp_path / "none.md")


def test_anchors_are_those_of_the_usual_renderers() -> None:
    assert anchor("Answers 429, 503 or 504") == "answers-429-503-or-504"


def test_the_whole_runbook_is_well_formed_and_leaves_no_markup() -> None:
    made = body()
    ET.fromstring(f"<div>{made}</div>")
    plain = re.sub(r"<(code|pre)>.*?</\1>", "", made, flags=re.DOTALL)
    assert not re.search(r"[`#]|\*\*|\]\(", html.unescape(plain))


def alerts() -> list[dict[str, Any]]:
    groups = yaml.safe_load(RULES.read_text())["groups"]
    return [rule for group in groups for rule in group["rules"] if "alert" in rule]


@pytest.mark.parametrize("rule", alerts(), ids=lambda rule: rule["alert"])
def test_every_alert_has_its_section_and_its_test(rule: dict[str, Any]) -> None:
    section = rule["annotations"]["runbook_url"].partition("/runbook#")[2]
    text = re.search(rf'<h2 id="{section}">.*?(?=<h2|$)', body(FILE), re.DOTALL)
    assert text is not None, section
    assert f"<code>{rule['alert']}</code>" in text[0]
    assert f"alertname: {rule['alert']}\n" in (RULES.parent / "rules_test.yml").read_text()
    assert rule["labels"]["severity"] in ("page", "warn", "info")
