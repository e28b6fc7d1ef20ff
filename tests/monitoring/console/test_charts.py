from __future__ import annotations

import re
import xml.etree.ElementTree as ET

from monitoring.console.charts import (
    BOTTOM,
    HEIGHT,
    LEFT,
    MOST_POINTS,
    RIGHT,
    TOP,
    WIDTH,
    Line,
    Mark,
    chart,
    sparkline,
)


def points(markup: str, style: str = "main") -> list[tuple[float, float]]:
    found = re.search(rf'<path class="{style}" d="([^"]*)"', markup)
    assert found is not None
    return [(float(x), float(y)) for x, y in re.findall(r"([\d.]+) ([\d.]+)", found[1])]


def test_a_sparkline_spans_its_box_and_says_what_it_is() -> None:
    made = sparkline([1.0, 3.0, 2.0], 'fog "<script>"')
    assert points(made) == [(0.0, 22.0), (50.0, 2.0), (100.0, 12.0)]
    root = ET.fromstring(made)
    assert root.attrib["aria-label"] == 'fog "<script>"'
    assert root.attrib["role"] == "img"


def test_a_level_widens_the_range() -> None:
    made = sparkline([0.0, 1.0], "x", level=2.0)
    assert points(made)[-1] == (100.0, 12.0)
    assert 'd="M0 2.0H100"' in made


def test_a_gap_lifts_the_pen() -> None:
    made = sparkline([1.0, None, 2.0, 3.0], "x")
    assert re.search(r'd="M0\.0 22\.0M66\.7 12\.0L100\.0 2\.0"', made)


def test_nothing_is_drawn_of_one_value() -> None:
    assert sparkline([None, 1.0], "x") == ""
    assert chart("x", [1.0], [Line("a", [1.0], "main")]) == ""


def test_a_constant_line_has_a_range() -> None:
    assert {y for _, y in points(sparkline([5.0, 5.0], "x"))} == {12.0}


def test_a_chart_maps_values_and_times_onto_its_frame() -> None:
    made = chart("t", [0.0, 10.0], [Line("a", [1.0, 2.0], "main")], marks=[Mark("m", 5.0, "onset")])
    assert points(made) == [(LEFT, HEIGHT - BOTTOM), (WIDTH - RIGHT, TOP)]
    middle = (LEFT + WIDTH - RIGHT) / 2
    assert f'd="M{middle:.1f} {TOP}V{HEIGHT - BOTTOM}"' in made
    assert "a from 1 to 2, at most 2" in made
    ET.fromstring(f"<div>{made}</div>")


def test_a_mark_outside_the_span_stands_at_its_edge() -> None:
    made = chart("t", [5.0, 6.0], [Line("a", [0.0, 1.0], "main")], marks=[Mark("m", 0.0, "onset")])
    assert f'd="M{LEFT:.1f} {TOP}V' in made


def test_names_are_escaped() -> None:
    made = chart("<t>", [0.0, 1.0], [Line("<a>", [0.0, 1.0], "main")], marks=[Mark("<m>", 0, "o")])
    assert "<t>" not in made
    assert "<a>" not in made
    assert "<m>" not in made


def test_many_points_are_thinned_and_the_telling_ones_stay() -> None:
    n = 10 * MOST_POINTS
    values = [0.0] * n
    values[1234], values[4321 % n] = 7.0, -3.0
    times_s = [float(t) for t in range(n)]
    high = chart("t", times_s, [Line("a", values, "main")])
    assert len(points(high)) <= MOST_POINTS
    assert "at most 7" in high
    low = chart("t", times_s, [Line("a", values, "main")], telling=min)
    assert "at least -3" in low


def test_percent_axes() -> None:
    made = chart("t", [0.0, 1.0], [Line("a", [0.5, 0.9], "main")], percent=True)
    assert re.findall(r">([^<]*%)<", made) == ["50%", "70%", "90%"]
