"""Move a model to another vocabulary: match, plan, make the rows, heal, prove. May import `tokenization`."""

from tokenry.core.rooms import open_front

METHODS = {
    "zero": "tokenry.transplant.heuristics:zero",
    "random": "tokenry.transplant.heuristics:random",
    "mean": "tokenry.transplant.heuristics:mean",
    "pieces": "tokenry.transplant.heuristics:pieces",
    "weighted-pieces": "tokenry.transplant.heuristics:weighted_pieces",
    "asymmetric": "tokenry.transplant.heuristics:asymmetric",
    "omp": "tokenry.transplant.donors:omp",
    "common-interpolation": "tokenry.transplant.interpolation:common_interpolation",
    "exponential": "tokenry.transplant.heuristics:exponential",
    "first-last": "tokenry.transplant.heuristics:first_last",
    "hypernet": "tokenry.transplant.hypernet:hypernet",
    "john-hewitt": "tokenry.transplant.heuristics:normal",
    "landmark-pca": "tokenry.transplant.landmarks:landmark_pca",
    "sava": "tokenry.transplant.landmarks:sava",
    "tokenadapt": "tokenry.transplant.tokenadapt:tokenadapt",
    "clp": "tokenry.transplant.token_spaces:clp",
    "focus": "tokenry.transplant.token_spaces:focus",
    "ofa": "tokenry.transplant.word_spaces:ofa",
    "tokalign": "tokenry.transplant.token_spaces:tokalign",
    "trans-tokenizer": "tokenry.transplant.translation:trans_tokenizer",
    "wechsel": "tokenry.transplant.word_spaces:wechsel",
}

_FRONT = {
    "Gap": "planning",
    "Match": "matching",
    "Moved": "surgery",
    "Plan": "planning",
    "Rows": "planning",
    "adapt": "adapt",
    "apply_plan": "surgery",
    "compare_digits": "digits",
    "compare_methods": "comparing_methods",
    "donor_rows_from_text": "donors",
    "held_out_anchors": "omp",
    "heal": "healing",
    "large_vocabulary": "dynamic_head",
    "learn_merges": "dynamic",
    "adapt_language": "languages",
    "load_plan": "manifest",
    "match": "matching",
    "merge_batch": "dynamic",
    "matching_pursuit": "omp",
    "move": "surgery",
    "new_bias": "planning",
    "new_rows": "planning",
    "plan": "planning",
    "raw_overlap": "matching",
    "repair_digits": "digits",
    "revert": "undoing",
    "save_plan": "manifest",
    "untrained_ids": "untrained",
    "verify": "verifying",
    "word_vectors": "word_vectors",
}
__all__ = ["METHODS", *_FRONT]

open_front(__name__, _FRONT)
