"""Copies of a model whose list of layers is cut: what the room itself never does, and so its oracle."""

import copy

import torch

from tokenry.decoding.layer_switch import decoder_layers


def shorter(model: torch.nn.Module, layers: tuple[int, ...]) -> torch.nn.Module:
    """The model with these layers alone."""
    cut = copy.deepcopy(model)
    found = decoder_layers(cut)
    kept = [layer for place, layer in enumerate(found) if place in layers]
    del found[:]
    found.extend(kept)
    cut.config.num_hidden_layers = len(kept)
    if getattr(cut.config, "layer_types", None):
        cut.config.layer_types = [cut.config.layer_types[place] for place in layers]
    return cut
