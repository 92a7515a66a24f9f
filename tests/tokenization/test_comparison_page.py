"""The page shows every tokenizer and text, escapes whatever tokens hold, and needs no script."""

import html
import json
import re

import pytest
from audited_tokenizers import SENTENCES, byte_level, sentencepiece

from tokenry.core.report import Report, TokenSample
from tokenry.core.vocab import Vocab
from tokenry.tokenization.audit import audit
from tokenry.tokenization.comparing import compare
from tokenry.tokenization.comparison_page import to_page
from tokenry.tokenization.language_names import language_name

HOSTILE = (
    "\x1b[2J\x1b]0;gone\x07",
    "<script>alert(1)</script>",
    "\x00",
    "x" * 1_000_000,
    "\u202egnp",
    "__import__('os')",
)


def _report() -> Report:
    rows = [{"text": text, "source": f"l{i}"} for i, text in enumerate(SENTENCES)]
    return compare([byte_level(), sentencepiece()], rows, names=["ours", "stories"])


def test_the_cuts_on_the_page_are_the_text():
    report = _report()
    page = to_page(report)
    assert page.count('<details class="look"') == len(SENTENCES)
    for name in ("ours", "stories"):
        assert page.count(f"</i>{name}</b>") == len(SENTENCES)
    blocks = re.findall(r'<div class="tokens" dir="ltr">(.*?)</div>', page, re.DOTALL)
    first = html.unescape(re.sub(r"<[^>]+>", "", blocks[0])).replace("·", " ")
    assert first == SENTENCES[0]


def test_bars_are_drawn_for_every_source_and_languages_have_names():
    page = to_page(_report())
    assert page.count('<div class="language">') == len(SENTENCES)
    assert (language_name("eng_Latn"), language_name("zho_Hant"), language_name("de")) == (
        "English", "Chinese (traditional)", "German",
    )  # fmt: skip
    assert language_name("a_strange_name") == "a_strange_name"


def _hostile() -> Vocab:
    """A vocabulary whose entries are hostile strings, and which uses them."""
    spec = json.loads(json.dumps(byte_level(300).spec))
    entries = spec["model"]["vocab"]
    for content in HOSTILE:
        entries[content] = len(entries)
    spec["added_tokens"] += [
        {"id": entries[content], "content": content, "special": False, "normalized": False, "single_word": False,
         "lstrip": False, "rstrip": False} for content in HOSTILE
    ]  # fmt: skip
    return Vocab.from_spec(spec, {}, "<b>hostile</b>\x1b[31m")


def test_hostile_token_strings_reach_neither_the_page_nor_the_terminal(tmp_path):
    vocab = _hostile()
    text = [{"text": f"see {content[:200]} here", "source": f"<i>{i}</i>"} for i, content in enumerate(HOSTILE)]
    text.append({"text": HOSTILE[3] + " end", "source": "long"})
    report = compare([vocab, byte_level()], text, names=["<b>hostile</b>\x1b[31m", "plain"])
    audited = audit(vocab, text, lenses=["compression", "classes", "reachability", "evenness", "round_trip"])
    report.save(tmp_path / "compared")
    audited.save(tmp_path / "audited")
    pages = [to_page(report), *((tmp_path / n / "report.html").read_text("utf-8") for n in ("compared", "audited"))]
    for page in pages:
        assert "<script" not in page
        assert "<b>hostile" not in page
        assert "<i>0" not in page
        assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f\u202e]", page)
        assert len(page) < 1_000_000
        assert "Content-Security-Policy" in page
    for shown in (str(report), str(audited)):
        assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f\u202e]", shown)


def test_broken_bytes_are_small_hex_and_long_cuts_end():
    report = _report()
    report.samples = [TokenSample("x", [("ours", ["\\xe4\\xb8", "a" * 5_000, *["b"] * 1_000]), ("stories", ["ab"])])]
    page = to_page(report)
    assert '<i class="hex">e4 b8</i>' in page
    assert "a" * 201 not in page
    assert "602 more" in page


def test_a_text_runs_one_way_in_every_row_even_where_it_is_cut_into_bytes():
    report = _report()
    cut = ["\\xd8", "\\xa3", "\\xd8", "\\xb6", "a"]
    report.samples = [
        TokenSample("ar", [("ours", cut), ("stories", ["أض", "a"])]),
        TokenSample("en", [("ours", ["a"])]),
    ]
    report.samples[1].rows.append(("stories", ["a"]))
    assert re.findall(r'<div class="tokens" dir="(\w+)">', to_page(report)) == ["rtl", "rtl", "ltr", "ltr"]


def test_only_a_comparison_becomes_a_page():
    with pytest.raises(ValueError, match="tokenizer-compare"):
        to_page(Report(kind="other", title="x"))
