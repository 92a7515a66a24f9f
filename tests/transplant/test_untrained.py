"""Tokens that were never trained are found, and neither copied nor leaned on."""

import numpy as np
import pytest
from small_models import small_model

from small_vocabularies import rows_for
from tokenry.core.tokenmap import RowKind
from tokenry.transplant.matching import CLASSES, UNTRAINED, match
from tokenry.transplant.planning import Rows, new_rows, plan
from tokenry.transplant.untrained import untrained_ids


def shared_word(old, new) -> tuple[int, int]:
    new_ids, old_ids = match(old, new).anchors(old, new)
    pairs = [(o, n) for o, n in zip(old_ids.tolist(), new_ids.tolist(), strict=True) if len(new.tokens[n]) > 3]
    return pairs[0]


def test_an_untrained_token_is_neither_copied_nor_an_anchor(old, new):
    old_id, new_id = shared_word(old, new)
    seen = {}

    def spy(gap) -> Rows:
        seen["anchors"] = gap.match.anchors(gap.old, gap.new)[0]
        seen["ids"] = gap.ids
        kinds = np.full(gap.ids.size, RowKind.COMBINE, dtype=np.uint8)
        return Rows([([7], [0.5])] * gap.ids.size, kinds)

    made = plan(old, new, method=spy, untrained=([old_id], []))
    assert new_id in seen["ids"]
    assert new_id not in seen["anchors"]
    rows, _ = new_rows(made, rows_for(old))
    assert np.array_equal(rows[new_id], rows_for(old)[7] / 2)
    assert made.info["classes"]["untrained"] == 1
    assert sum(made.info["classes"].values()) == new.size


def test_a_token_the_donor_never_learned_is_the_mean_of_its_pieces(old, new):
    old_id, new_id = shared_word(old, new)
    made = plan(old, new, method="zero", untrained=([old_id], [new_id]))
    start, stop = made.input.indptr[new_id : new_id + 2]
    pieces = made.input.cols[start:stop].tolist()
    assert len(pieces) > 1
    assert old_id not in pieces
    assert b"".join(old.tokens[i] for i in pieces) == new.tokens[new_id]
    rows, _ = new_rows(made, rows_for(old))
    np.testing.assert_allclose(rows[new_id], rows_for(old)[pieces].mean(axis=0), atol=1e-6)


def test_bytes_and_specials_keep_their_row_whatever_is_said_of_them(old, new):
    found = match(old, new)
    kept = found.without(range(old.size), range(new.size))
    is_out = kept.klass == UNTRAINED
    assert is_out.any()
    assert all(len(new.tokens[i]) > 1 for i in np.flatnonzero(is_out))
    assert np.array_equal(kept.new_to_old[~is_out], found.new_to_old[~is_out])
    assert CLASSES[UNTRAINED] == "untrained"
    with pytest.raises(ValueError, match="inside the vocabulary"):
        found.without([], [new.size])


def test_planted_untrained_rows_are_found(old, tmp_path):
    import torch

    lm = small_model("llama-untied", old)
    planted = [i for i in range(old.size) if old.tokens[i] and len(old.tokens[i]) > 2][:3]
    with torch.no_grad():
        lm.model.get_input_embeddings().weight[planted] *= 1e-3
        lm.model.get_output_embeddings().weight[planted] *= 1e-3
    lm.save(tmp_path / "model")
    found = untrained_ids(old, tmp_path / "model", share=0.02)
    assert set(planted) <= set(found.tolist())
    with pytest.raises(ValueError, match="need 0 to 1"):
        untrained_ids(old, tmp_path / "model", share=3)
