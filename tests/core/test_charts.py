import math
import re
from itertools import pairwise
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenry.core.charts import describe, svg
from tokenry.core.report import Figure

SVG = "{http://www.w3.org/2000/svg}"
value = st.floats(-1e12, 1e12) | st.sampled_from([math.nan, math.inf, 0.0, 1e-300])
label = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=8)
points = st.lists(st.tuples(value | label, value) | st.tuples(value, value, value, value), max_size=6)
figures = st.builds(
    Figure,
    st.sampled_from(["line", "bar", "interval", "histogram"]),
    label,
    label,
    label,
    st.dictionaries(label, points, max_size=4),
    label,
    st.booleans(),
)


def _texts(drawing: str) -> list[str]:
    return [element.text or "" for element in ElementTree.fromstring(drawing).iter(f"{SVG}text")]


@settings(max_examples=100)
@given(figures, st.sampled_from([240, 330, 480, 1000]))
def test_every_figure_is_drawn_as_sound_xml_with_finite_places(figure, width):
    root = ElementTree.fromstring(svg(figure, width=width))
    assert [child.tag for child in root][:2] == [f"{SVG}title", f"{SVG}desc"]
    for element in root.iter():
        for key, content in element.attrib.items():
            if key not in ("aria-labelledby", "style"):
                assert "nan" not in content
                assert "inf" not in content
        for key in ("width", "height", "r"):
            assert float(element.get(key, 0)) >= 0


@given(st.lists(st.tuples(st.floats(0, 1e6), st.floats(-1e6, 1e6)), min_size=2, max_size=30))
def test_every_point_of_a_line_lies_inside_the_drawing(points):
    root = ElementTree.fromstring(svg(Figure("line", "t", "x", "y", {"a": sorted(points)}), width=480))
    _, _, width, height = map(float, root.get("viewBox").split())
    path = next(p.get("d") for p in root.iter(f"{SVG}path") if "stroke-width:2;" in p.get("style"))
    for x, y in re.findall(r"[ML](\S+) ([\d.-]+)", path):
        assert -0.1 <= float(x) <= width + 0.1
        assert -0.1 <= float(y) <= height + 0.1


def test_bar_lengths_are_in_proportion_and_start_at_zero():
    figure = Figure("bar", "t", "script", "tokens", {"n": [("Latin", 40), ("Han", 10), ("none", 0), ("less", -20)]})
    bars = list(ElementTree.fromstring(svg(figure, width=480)).iter(f"{SVG}rect"))
    lengths = [float(bar.get("width")) for bar in bars]
    assert lengths[0] == pytest.approx(4 * lengths[1], abs=0.2)
    assert lengths[0] == pytest.approx(2 * lengths[3], abs=0.2)
    start = float(bars[0].get("x"))
    assert float(bars[1].get("x")) == start
    assert float(bars[3].get("x")) + lengths[3] == pytest.approx(start, abs=0.2)


def test_bars_over_numbers_take_equal_steps_and_name_each():
    figure = Figure("bar", "t", "batch", "speed", {"a": [(1, 4), (2, 7), (16, 12)], "b": [(1, 5), (2, 9), (16, 20)]})
    drawing = svg(figure, width=480)
    assert {"1", "2", "16", "batch", "speed", "a", "b"} <= set(_texts(drawing))
    bars = [r for r in ElementTree.fromstring(drawing).iter(f"{SVG}rect") if float(r.get("height")) != 10]
    first = [float(bar.get("x")) for bar in bars[:3]]
    assert first[1] - first[0] == pytest.approx(first[2] - first[1], abs=0.2)


def test_histogram_bars_touch_and_the_axis_covers_all_bins():
    figure = Figure("histogram", "t", "bytes", "count", {"a": [(0, 3), (2, 5), (4, 1)]})
    bars = list(ElementTree.fromstring(svg(figure, width=480)).iter(f"{SVG}rect"))
    for left, right in pairwise(bars):
        assert float(left.get("x")) + float(left.get("width")) == pytest.approx(float(right.get("x")) - 1, abs=0.2)
    assert "6" in _texts(svg(figure, width=480))


def test_an_interval_chart_writes_every_category_and_value():
    series = {"domain": [("before", 1.5, 1.4, 1.6), ("after", 1.25, 1.2, 1.3)], "general": [("before", 1.0, 0.9, 1.1)]}
    for width in (330, 480):
        texts = _texts(svg(Figure("interval", "t", "model", "bits per byte", series, "bits/byte"), width=width))
        assert {"before", "after", "1.50", "1.25", "1.00", "domain", "general", "bits per byte"} <= set(texts)


def test_a_band_is_drawn_where_points_have_ends():
    with_band = Figure("line", "t", "x", "y", {"a": [(0, 1, 0.5, 1.5), (1, 2, 1.5, 2.5)]})
    assert "opacity:.16" in svg(with_band)
    assert "opacity:.16" not in svg(Figure("line", "t", "x", "y", {"a": [(0, 1), (1, 2)]}))


def test_names_stand_at_line_ends_when_wide_and_above_when_narrow():
    figure = Figure("line", "t", "x", "y", {"first": [(0, 1), (1, 2)], "second": [(0, 1), (1, 2)]})
    places = {}
    for width in (330, 480):
        for element in ElementTree.fromstring(svg(figure, width=width)).iter(f"{SVG}text"):
            places[width, element.text] = float(element.get("x")), float(element.get("y"))
    assert places[480, "first"][0] == places[480, "second"][0] > 300
    assert abs(places[480, "first"][1] - places[480, "second"][1]) >= 14
    assert places[330, "first"][1] == places[330, "second"][1] < 50


def test_a_gap_breaks_the_line_and_is_counted():
    drawing = svg(Figure("line", "t", "x", "y", {"a": [(0, 1), (1, math.nan), (2, 3), (3, 2)]}))
    path = next(p.get("d") for p in ElementTree.fromstring(drawing).iter(f"{SVG}path") if "fill:none" in p.get("style"))
    assert path.count("M") == 2
    assert "1 points cannot be drawn here" in _texts(drawing)


def test_a_logarithmic_axis_leaves_out_what_is_not_above_zero():
    texts = _texts(svg(Figure("line", "t", "rank", "n", {"a": [(0, 5), (1, 4), (1000, 3), (100_000, 1)]}, log_x=True)))
    assert "1 points cannot be drawn here" in texts
    assert {"1", "10", "1000", "100k"} <= set(texts)


def test_a_long_line_is_thinned_without_losing_its_peak_at_any_scale():
    line = [(i, 1e6 if i == 31_337 else i % 7) for i in range(1, 50_000)]
    for log_x in (False, True):
        figure = Figure("line", "t", "x", "y", {"a": line}, log_x=log_x)
        drawing = svg(figure, width=480)
        assert len(drawing) < 20_000
        path = next(
            p.get("d") for p in ElementTree.fromstring(drawing).iter(f"{SVG}path") if "fill:none" in p.get("style")
        )
        heights = [float(y) for _, y in re.findall(r"[ML](\S+) ([\d.-]+)", path)]
        assert min(heights) < max(heights) - 150


def test_many_categories_are_cut_and_counted():
    figure = Figure("bar", "t", "x", "y", {"a": [(f"c{i}", i) for i in range(100)]})
    assert "40 more rows in the data" in _texts(svg(figure))


def test_untrusted_labels_are_escaped_and_an_empty_figure_says_so():
    nasty = '<script>alert(1)</script>"&'
    drawing = svg(Figure("bar", nasty, nasty, nasty, {nasty: [(nasty, 1)]}, nasty), name='a"b')
    assert "<script" not in drawing
    ElementTree.fromstring(drawing)
    assert "no data" in _texts(svg(Figure("line", "t", "x", "y", {})))
    with pytest.raises(ValueError, match="at least 240"):
        svg(Figure("line", "t", "x", "y", {}), width=100)


def test_the_description_tells_axes_and_ends_of_each_series():
    figure = Figure("line", "t", "step", "bits per byte", {"adapted": [(0, 2.5), (500, 1.125)]}, "bits/byte")
    assert describe(figure) == "Line chart of bits per byte by step. adapted: 2.5 at 0, 1.125 at 500."
