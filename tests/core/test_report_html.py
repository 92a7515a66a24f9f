import re
from html.parser import HTMLParser
from importlib.resources import files

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenry.core.chart_marks import PALETTE
from tokenry.core.intervals import Interval
from tokenry.core.report import Figure, Headline, Report, TokenSample
from tokenry.core.report_html import MAX_BYTES, to_html

NASTY = "<script>alert('x')</script><img src=x onerror=\"a()\"> & ]]> </style> \u202e\x1b"
VOID = {"meta", "link", "br"}


class _Reader(HTMLParser):
    """Collects tags, attributes and text, and holds that every tag is closed in order."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open, self.tags, self.attributes, self.text = [], [], [], []
        self.feed(page)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.text.append(data)


def _full(text: str = "x") -> Report:
    return Report(
        kind=text,
        title=text,
        facts={text: 1, "i": Interval(1.0, 0.9, 1.1, 5, text), "s": text, "none": None},
        tables={text: pa.table({text: [text, "b"], "token": [" a", text], "n": [1.5, 22.25]})},
        figures=[
            Figure("line", text, text, text, {text: [(0, 1.0), (1, 2.0)], "b": [(0, 1.0)]}, text),
            Figure("bar", text, text, text, {text: [(text, 3.0)]}),
        ],
        verdict=text,
        warnings=[text],
        notes=[text],
        command=text,
        samples=[TokenSample(text, [(text, [text, " a", "\n"]), ("b", [text])])],
        headline=[
            Headline(text, Interval(1, 0.9, 1.1, 5), Interval(2, 1.9, 2.1, 5), text, "higher"),
            Headline("worse", 1.0, 2.0, "", "lower"),
            Headline("unclear", Interval(1, 0.9, 1.1, 5), Interval(1, 0.9, 1.1, 5)),
        ],
    )


@settings(max_examples=40)
@given(st.text(st.sampled_from("<>&\"'`/= abs\n\t") | st.characters(), max_size=20))
def test_no_text_can_become_markup(text):
    plain, page = _Reader(to_html(_full("x"))), _Reader(to_html(_full(text)))
    allowed = set(plain.tags) | {"i", "p"}
    assert set(page.tags) <= allowed
    assert {name for name, _ in page.attributes} <= {name for name, _ in plain.attributes}


def test_an_attack_is_shown_and_not_run():
    page = to_html(_full(NASTY))
    assert "<script" not in page
    assert "<img" not in page
    assert "\u202e" not in page
    assert "\x1b" not in page
    assert page.count("</style>") == 1
    assert "alert('x')" in "".join(_Reader(page).text)


def test_the_page_asks_the_network_for_nothing():
    page = to_html(_full())
    assert "default-src 'none'" in page
    without_names = page.replace("http://www.w3.org/2000/svg", "")
    assert not re.search(r"https?:|//[a-z]|@import|url\(", without_names)
    assert "<script" not in page


def test_better_and_worse_are_headed_alike_and_come_before_all_else():
    page = to_html(_full())
    for name, heading in (("better", "Got better"), ("worse", "Got worse"), ("unclear", "No clear change")):
        assert f'id="{name}"><h2>{heading} <span class="count">1</span>' in page
    assert page.index("Got better") < page.index("Got worse") < page.index("<h2>Charts") < page.index("<h2>Tokens")
    css = files("tokenry.core").joinpath("report.css").read_text(encoding="utf-8")
    loud = [set(re.findall(rf"^\.{name} \.sign \{{(.*)\}}", css, re.M)) for name in ("better", "worse")]
    assert {rule.replace("better", "worse") for rule in loud[0]} == loud[1] != set()


def test_a_command_of_several_lines_keeps_them():
    page = to_html(Report("k", "t", command="tokenry adapt x \\\n  --out y"))
    assert "<code>tokenry adapt x \\\n  --out y</code>" in page


def test_nothing_worse_is_said_in_words():
    report = Report("k", "t", headline=[Headline("x", 1.0, 2.0)])
    assert "Nothing measured got worse." in to_html(report)
    assert "Nothing measured got better." not in to_html(report)


def test_a_tile_shows_both_values_intervals_and_the_sign():
    text = "".join(_Reader(to_html(_full())).text)
    for part in ("+100 %", "[0.90, 1.10] → [1.90, 2.10] · higher is better", "2.00"):
        assert part in text


def test_without_a_headline_the_first_screen_has_the_first_numbers_with_pairs_together():
    facts = {
        "bytes_per_token.before": Interval(2.0, 1.9, 2.1, 5, "bytes/token"),
        "bytes_per_token.after": 3.0,
        "n_tokens": 1234,
        "name": "x",
        "ok": True,
    }
    page = to_html(Report("audit", "t", facts))
    keys = page[page.index('class="keys"') : page.index("<details")]
    assert keys.count('class="tile"') == 2
    assert "Bytes per token" in keys
    assert "+50.0 %" in keys
    assert ">Tokens</span>" in keys
    assert "1,234" in keys


def test_numbers_are_aligned_and_tokens_drawn():
    page = to_html(_full())
    assert '<td class="num">1.50</td>' in page
    assert '<td class="num">22.25</td>' in page
    assert '<td class="mono">·a</td>' in page
    assert '<span class="t t1"><i>·</i>a</span>' in page
    assert '<span class="t t2"><i>↵</i></span><br>' in page


def test_bytes_per_token_are_told_only_where_token_texts_are_whole():
    def page(tokens):
        return to_html(Report("k", "t", samples=[TokenSample("s", [("l", tokens)])]))

    assert "2 tokens · 2.50 bytes/token" in page(["ab", " é"])
    for broken in ("\\xe3", "<0xE3>", "\ufffd", "\ud83d"):
        assert "bytes/token" not in page(["ab", broken])


@pytest.mark.parametrize("width", ["wide", "narrow"])
def test_every_chart_is_drawn_for_wide_and_narrow_screens_with_ids_of_its_own(width):
    page = to_html(_full())
    assert page.count(f'class="{width}"') == 2
    ids = re.findall(r' id="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    for names in re.findall(r'aria-labelledby="([^"]+)"', page):
        assert set(names.split()) <= set(ids)


def test_a_huge_report_stays_under_a_megabyte_and_says_what_is_missing():
    report = Report(
        "k",
        "t",
        tables={f"t{i}": pa.table({"text": ["w" * 280] * 400, "n": range(400)}) for i in range(12)},
        samples=[TokenSample(f"s{i}", [("l", ["token"] * 1000)]) for i in range(30)],
        figures=[Figure("line", f"f{i}", "x", "y", {"a": [(k, k % 9) for k in range(5000)]}) for i in range(3)],
    )
    page = to_html(report)
    assert len(page.encode()) < MAX_BYTES
    assert re.search(r"[\d,]+ more rows in report.json", page)
    assert re.search(r"[\d,]+ more tokens in report.json", page)


def test_what_cannot_fit_is_refused():
    facts = {f"fact_{i}": "x" * 200 for i in range(20_000)}
    with pytest.raises(ValueError, match="20,000 facts"):
        to_html(Report("k", "t", facts))


def _contrast(a: str, b: str) -> float:
    """Contrast ratio of two #rrggbb colours (WCAG 2.2)."""

    def luminance(colour):
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    high, low = sorted((luminance(a), luminance(b)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_the_palette_stands_out_from_white():
    assert len(set(PALETTE)) == 8
    assert all(_contrast(colour, "#ffffff") >= 3 for colour in PALETTE)


def _colours(block: str) -> dict[str, str]:
    found = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{3,6})\b", block))
    return {k: v if len(v) == 7 else "#" + "".join(2 * c for c in v[1:]) for k, v in found.items()}


@pytest.mark.parametrize("theme", ["light", "dark", "print"])
def test_every_text_colour_has_contrast_aa_on_its_ground(theme):
    css = files("tokenry.core").joinpath("report.css").read_text(encoding="utf-8")
    light, dark, paper = (_colours(block) for block in re.findall(r":root \{(.*?)\}", css, re.S))
    colours = {"light": light, "dark": light | dark, "print": light | paper}[theme]
    grounds = {"ink": ["page", "paper", "warn-soft", *(f"t{i}" for i in range(6))], "mark": [f"t{i}" for i in range(6)]}
    grounds |= {"muted": ["page", "paper"], "warn": ["warn-soft"]}
    grounds |= {name: ["page", f"{name}-soft"] for name in ("better", "worse", "unclear")}
    for text, under in grounds.items():
        for ground in under:
            assert _contrast(colours[text], colours[ground]) >= 4.5, (text, ground)
    # Lines and bars are graphics: 3 to 1.
    for i in range(1, 9):
        assert _contrast(colours[f"c{i}"], colours["paper"]) >= 3, i
