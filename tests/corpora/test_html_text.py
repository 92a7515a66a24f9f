"""Pages become text, one block a line; hostile ones cost little."""

import contextlib
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("resiliparse")

from tokenry.corpora.html_text import UnreadablePage, decoded, html_text, is_numeric, tidy

PAGE = """<html><head><title> A  page</title><style>p{}</style></head><body><h1>Head</h1>
<p>One <b>bo</b>ld&nbsp;&amp; more.</p><p>Two<br>lines</p><div>a<script>x()</script></div><div hidden>no</div>
<table><tr><td>Name</td><td>Town</td></tr></table><p style="display: none">no</p>
<ul><li>x</li><li>y</li></ul></body></html>"""


def test_a_page_is_read_block_by_block():
    page = html_text(PAGE)
    assert page.text == "Head\n\nOne bold & more.\n\nTwo\nlines\n\na\nName\tTown\nx\ny"
    assert page.title == "A page"


def test_tables_of_numbers_go_and_what_stands_around_them_stays_apart():
    inner = "<table><tr><td>2019</td><td>12,345</td></tr></table>"
    page = html_text(
        f"<div>a{inner}b<table><tr><td>Words of layout {inner} here</td></tr></table></div>", numeric_tables=False
    )
    assert page.text.split() == ["a", "b", "Words", "of", "layout", "here"]
    assert page.n_tables == 2
    assert not is_numeric("Item 7 1 2 3 4 5 6 7 8")
    assert is_numeric("Sales 1,234 987")
    # 15 digits of 100 are not over 15 %.
    assert not is_numeric("a" * 85 + "1" * 15)
    assert is_numeric("a" * 84 + "1" * 16)


@pytest.mark.parametrize("tag", ["div", "b", "table", "p", "a"])
def test_depth_and_size_are_bounded(tag):
    start = time.process_time()
    for n in (4000, 200_000):
        with contextlib.suppress(UnreadablePage):
            html_text(f"<{tag}>" * n + "<script>" * 1000 + "<p hidden>" * 4000, numeric_tables=False, breaks=True)
    assert time.process_time() - start < 5
    with pytest.raises(UnreadablePage, match="at most"):
        html_text("x" * (64 * 2**20 + 1))


@given(st.text(max_size=200))
def test_any_text_is_read_without_an_error(text):
    page = html_text(text)
    assert page.text == tidy(page.text, cell="\t")
    assert "\ue00c" not in page.text


@given(st.binary(max_size=200), st.sampled_from([None, "utf-8", "latin-1", "no such", "idna", "hex"]))
def test_any_bytes_are_decoded(data, declared):
    text = decoded(data, declared, fallback="cp1252")
    assert text.encode().decode() == text  # half a surrogate pair could not be written


def test_bytes_are_decoded_by_mark_declaration_and_guess():
    assert decoded("é".encode("utf-16")) == "é"
    assert decoded("é".encode(), "latin-1") == "é"
    assert decoded(b"caf\xe9 \x93q\x94", "iso-8859-1") == "café “q”"
    assert (
        decoded("日本語のテキストです。これは長い文です。".encode("euc-jp"))
        == "日本語のテキストです。これは長い文です。"
    )
    assert decoded(b'<meta charset="windows-1251">' + "Привет".encode("cp1251")).endswith("Привет")
