"""What spans cover goes, what they do not cover stays."""

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from tokenry.corpora.spans import SPANS, replace_spans


@given(st.text(alphabet="ab\n😀", max_size=20), st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20)), max_size=4))
def test_what_no_span_covers_stays(text, pairs):
    spans = [{"start": min(a, b, len(text)), "end": min(max(a, b), len(text)), "score": 1.0} for a, b in pairs]
    covered = {place for span in spans for place in range(span["start"], span["end"])}
    (made,) = replace_spans(pa.array([text]), [(pa.array([spans], SPANS), "")]).to_pylist()
    rest = [one for place, one in enumerate(text) if place not in covered]
    assert [one for one in made if one != "\n"] == [one for one in rest if one != "\n"]


def test_a_line_goes_with_its_newline_and_a_mark_can_stand_for_it():
    spans = pa.array([[{"start": 2, "end": 5, "score": 1.0}], None, [{"start": 0, "end": 1, "score": 0.1}]], SPANS)
    texts = pa.array(["a\nbcd\ne", None, "xy"])
    assert replace_spans(texts, [(spans, "")]).to_pylist() == ["a\ne", None, "y"]
    assert replace_spans(texts, [(spans, "[..]")], least=0.5).to_pylist() == ["a\n[..]\ne", None, "xy"]


def test_spans_of_several_kinds_count_in_the_text_as_it_was():
    texts = pa.array(["mail a@b.c or call 555"])
    mails = pa.array([[{"start": 5, "end": 10, "score": 1.0}]], SPANS)
    phones = pa.array([[{"start": 19, "end": 22, "score": 1.0}]], SPANS)
    made = replace_spans(texts, [(phones, "PHONE"), (mails, "MAIL")])
    assert made.to_pylist() == ["mail MAIL or call PHONE"]
