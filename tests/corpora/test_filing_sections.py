"""The Items of a filing are found where they stand, not in the table of contents."""

import json
import lzma

from hypothesis import given
from hypothesis import strategies as st

from tokenry.corpora.filing_sections import sections

ITEMS = ["1", "1A", "1B", "2", "3", "5", "7", "7A", "8", "9A", "10", "15"]


@given(st.lists(st.sampled_from(ITEMS), min_size=1, unique=True), st.integers(0, 1000))
def test_the_body_is_taken_and_not_the_table_of_contents(chosen, salt):
    chosen = sorted(chosen, key=ITEMS.index)
    contents = "\n".join(f"Item {item}. Title of {item} {place}" for place, item in enumerate(chosen))
    text, spans = f"FORM 10-K\n{contents}\nForeword.\n", {}
    for place, item in enumerate(chosen):
        prose = (
            f"See Item 1 for more. {'word ' * (20 + (salt * 7 + place * 13) % 90)}\nitem 3 of this report says so.\n"
        )
        section = f"{'ITEM' if salt % 2 else 'Item'} {item}{'.' if place % 2 else ' -'} TITLE\n{prose}"
        spans[item] = (len(text), len(text) + len(section))
        text += section
    text += "SIGNATURES\nJane"
    assert {one.item: (one.start, one.end) for one in sections(text, "10-K")} == spans


def test_the_numbers_of_a_quarterly_report_come_twice():
    body = "some words of prose. " * 30
    text = (f"PART I. FINANCIAL INFORMATION\nItem 1. Financial Statements\n{body}\n"
            f"Item 2. Management's Discussion\n{body}\n"
            f"PART II. OTHER INFORMATION\nItem 1. Legal Proceedings\n{body}\n"
            f"Item 1A. Risk Factors\n{body}\nItem 6. Exhibits\n{body}")  # fmt: skip
    assert [one.item for one in sections(text, "10-Q")] == ["I.1", "I.2", "II.1", "II.1A", "II.6"]
    assert [one.item for one in sections("Item 2.02 Results\nwords\nItem 9.01 Exhibits\nwords", "8-K")] == [
        "2.02",
        "9.01",
    ]
    assert sections("No headings here.", "10-K") == []


def test_hostile_headings_cost_little():
    assert len(sections("Item 1. A\nItem 2. B\n" * 50_000, "10-Q")) <= 4


def test_ten_real_filings_are_cut_into_their_items(shared_data):
    path = shared_data / "finance-edgar" / "filings.jsonl.xz"
    annual = [
        "1",
        "1A",
        "1B",
        "1C",
        "2",
        "3",
        "4",
        "5",
        "6",
        "7",
        "7A",
        "8",
        "9",
        "9A",
        "9B",
        "9C",
        "10",
        "11",
        "12",
        "13",
        "14",
        "15",
        "16",
    ]
    with lzma.open(path, "rt") as file:
        for row in map(json.loads, file):
            found = sections(row["text"], {"10k": "10-K", "10q": "10-Q"}[row["form"]])
            sizes = {one.item: one.end - one.start for one in found}
            if row["form"] == "10k":
                assert list(sizes) == annual, row["filing"]
                assert min(sizes["1A"], sizes["7"], sizes["8"]) > 10_000, row["filing"]
            else:
                assert {"I.1", "I.2", "I.3", "I.4", "II.1", "II.2", "II.6"} <= set(sizes)
                assert sizes["I.2"] > 10_000
