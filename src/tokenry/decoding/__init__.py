"""Decoding with stock causal models: drafts verified in trees, exact sampling, and one door to every strategy.

A `Strategy` is a callable (lm, prompt, settings) -> Continuation (`strategies`); a `Drafter` guesses trees of tokens
for the loop in `speculate`, whose output is exactly the model's own. Needs the extra `models`.
"""

from importlib import import_module

STRATEGIES = {
    "plain": "tokenry.decoding.strategies:plain",
    "lookup": "tokenry.decoding.lookup:lookup",
    "transformers:greedy": "tokenry.decoding.library_decoders:greedy",
    "transformers:prompt-lookup": "tokenry.decoding.library_decoders:prompt_lookup",
    "transformers:assisted": "tokenry.decoding.library_decoders:assisted",
    "suffix": "tokenry.decoding.suffix_automaton:suffix",
    "recycling": "tokenry.decoding.recycling:recycling",
    "draft-chain": "tokenry.decoding.speculative:draft_chain",
    "draft-tree": "tokenry.decoding.speculative:draft_tree",
    "dynamic-tree": "tokenry.decoding.speculative:dynamic_tree",
    "early-exit": "tokenry.decoding.early_exit:early_exit",
    "confident-exit": "tokenry.decoding.confident_exit:confident_exit",
    "self-draft": "tokenry.decoding.self_draft:self_draft",
    "routed": "tokenry.decoding.routing:routed",
    "diffusion": "tokenry.decoding.diffusion_strategy:diffusion",
    "constrained": "tokenry.decoding.constrained:constrained",
    "bytes": "tokenry.decoding.bytes_healing:bytes_strategy",
}
"""Ways to decode: name -> the function that makes one from its options (`strategies.make`)."""

_FRONT = {
    "bench": "tokenry.decoding.benchmark_report:bench",
    "generate": "tokenry.decoding.strategies:generate",
    "Settings": "tokenry.decoding.sampling:Settings",
}


def __getattr__(name: str):
    if name in _FRONT:
        module, _, attribute = _FRONT[name].partition(":")
        return getattr(import_module(module), attribute)
    if name in STRATEGIES:
        module, _, attribute = STRATEGIES[name].partition(":")
        return getattr(import_module(module), attribute)
    raise AttributeError(f"module 'tokenry.decoding' has no attribute {name!r}")
