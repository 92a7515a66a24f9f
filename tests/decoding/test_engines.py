"""JSON schemas through the engines that are installed: both accept what the schema does, and their masks agree."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from small_vocabularies import byte_level
from tokenry.data import demo_model
from tokenry.decoding import generate
from tokenry.decoding.constrained import constrained
from tokenry.decoding.constraints import check_constraint
from tokenry.decoding.engines import json_schema
from tokenry.decoding.token_masks import TokenView

SCHEMA = {
    "type": "object",
    "properties": {"name": {"enum": ["Lily", "Ben"]}, "age": {"type": "integer"}, "ok": {"type": "boolean"}},
    "required": ["name", "age", "ok"],
    "additionalProperties": False,
}
GOOD = [b'{"name": "Lily", "age": 3, "ok": true}', b'{"name":"Ben","age":-12,"ok":false}']
BAD = [b'{"name": "Tom", "age": 3, "ok": true}', b'{"age": 3}', b"[]", b'{"name": "Lily", "age": 03, "ok": true}', b""]
MODULES = {"outlines": "outlines_core", "llguidance": "llguidance"}


@pytest.fixture(params=MODULES)
def engine(request) -> str:
    pytest.importorskip(MODULES[request.param], reason="needs the engine")
    return request.param


def test_what_the_schema_says(engine):
    constraint = json_schema(SCHEMA, engine=engine)
    for data in GOOD:
        assert constraint.complete_ok(data)
        assert all(constraint.prefix_ok(data[:cut]) for cut in range(len(data)))
    assert not any(map(constraint.complete_ok, BAD))


@pytest.mark.parametrize("data", [*GOOD, *BAD])
def test_the_laws_of_constraints(engine, data):
    check_constraint(json_schema(SCHEMA, engine=engine), data)


def test_the_view_of_an_engine_is_that_of_its_bytes(engine):
    """At every place of a text: the engine's own mask, its single answers, and the bytes one at a time."""
    constraint, vocab = json_schema(SCHEMA, engine=engine), byte_level()
    end = vocab.specials["eos"]
    plain = TokenView(constraint, vocab, [end])
    view = constraint.view_for(vocab, [end]) if hasattr(constraint, "view_for") else plain
    ids = vocab.encode([GOOD[1].decode()])[0].tolist()
    state, slow = view.begin(), constraint.begin()
    for token in [*ids, None]:
        single = [constraint.accepts(slow) if t == end else bool(vocab.tokens[t]) and
                  constraint.advance(slow, vocab.tokens[t]) is not None for t in range(vocab.size)]  # fmt: skip
        assert view.mask(state).tolist() == single
        assert [view.allows(state, t) for t in range(vocab.size)] == single
        if token is not None:
            state, slow = view.advance(state, token), constraint.advance(slow, vocab.tokens[token])
    assert view.accepts(state)
    assert np.flatnonzero(view.mask(state)).tolist() == [end]
    assert view.advance(state, ids[0]) is None


@given(text=st.text('{}[]",:ab01 ', max_size=12))
@examples(max_examples=40)
def test_both_engines_judge_alike(text):
    for module in MODULES.values():
        pytest.importorskip(module, reason="needs both engines")
    schema = {"type": "array", "items": {"enum": ["a", "b", 1]}, "minItems": 1, "maxItems": 2}
    ours, theirs = (json_schema(schema, engine=engine) for engine in MODULES)
    data = text.encode()
    if ours.complete_ok(data):  # outlines allows less white space
        assert theirs.complete_ok(data)


def test_text_of_a_schema_from_a_model(engine, tmp_path):
    (tmp_path / "schema.json").write_text(json.dumps(SCHEMA))
    strategy = constrained(schema=str(tmp_path / "schema.json"), engine=engine, particles=16)
    found = generate(demo_model_lm(), "Answer:", strategy=strategy, max_new_tokens=120, seed=1)
    assert found.notes["finished"] >= 1
    assert json.loads(found.text.removeprefix("Answer:"))["name"] in ("Lily", "Ben")


def demo_model_lm():
    from tokenry.models.lm import LM

    return LM.open(demo_model())


def test_a_schema_that_cannot_be_read_is_said(engine):
    with pytest.raises(ValueError, match="cannot"):
        json_schema({"type": "nonsense"}, engine=engine)
