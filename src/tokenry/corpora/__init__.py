"""Documents in, better documents out: score, de-duplicate, decontaminate, select, mix, augment, describe.

Signals first, decisions later: whatever is measured stands in columns beside the documents, and a threshold can be
changed without measuring again.
"""
