"""Contexts run in any order and number give the logits of full forwards."""

import numpy as np
import pytest
import torch

from small_vocabularies import byte_level
from tokenry.decoding import bytes_contexts
from tokenry.decoding.bytes_contexts import Context, ContextRunner
from tokenry.models.tiny import tiny_llama


@pytest.mark.parametrize("most", [4, 48])
def test_any_order_of_questions_equals_full_forwards(monkeypatch, most):
    monkeypatch.setattr(bytes_contexts, "MOST_PENDING", most)
    lm, rng = tiny_llama(byte_level("english", 340), spread=0.25, width=32), np.random.default_rng(0)
    seen = {}

    def keep(contexts, logits_NV):
        for context, logits_V in zip(contexts, logits_NV, strict=True):
            context.law_S, seen[id(context)] = np.zeros(1), (context, logits_V.clone())

    runner = ContextRunner(lm, [1, 2], keep)
    known = [runner.root]
    for _ in range(30):
        parents = [known[rng.integers(max(0, len(known) - 12), len(known))] for _ in range(rng.integers(1, 4))]
        new = [Context(parent, int(rng.integers(3, 300)), 0.0, ()) for parent in parents]
        chain = Context(new[0], 7, 0.0, ())
        runner.run([*new, chain, new[0]], live=known[-3:])
        known += [*new, chain]
    for context, logits_V in seen.values():
        with torch.inference_mode():
            full = lm.model(input_ids=torch.tensor([[1, 2, *context.tokens()]]), use_cache=False).logits[0, -1]
        torch.testing.assert_close(logits_V, full, atol=1e-3, rtol=1e-4)
    assert len(seen) >= len(known) - 1
    assert runner.session.n_forwards <= 40  # about one for each question, whatever its size
