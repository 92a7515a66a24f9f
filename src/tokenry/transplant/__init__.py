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
}

_FRONT = {
    "Gap": "planning",
    "Match": "matching",
    "Moved": "surgery",
    "Plan": "planning",
    "Rows": "planning",
    "adapt": "adapt",
    "apply_plan": "surgery",
    "donor_rows_from_text": "donors",
    "held_out_anchors": "omp",
    "heal": "healing",
    "load_plan": "manifest",
    "match": "matching",
    "matching_pursuit": "omp",
    "move": "surgery",
    "new_bias": "planning",
    "new_rows": "planning",
    "plan": "planning",
    "raw_overlap": "matching",
    "revert": "undoing",
    "save_plan": "manifest",
    "verify": "verifying",
}
__all__ = ["METHODS", *_FRONT]

open_front(__name__, _FRONT)
