"""The state of an interrupted training run on disk: safetensors and JSON, no pickle."""

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn


@dataclass
class State:
    """Where a run stands.

    Attributes:
        step: steps done.
        history: one entry a step.
        seconds, cpu_seconds: spent so far.
        random: state of the random generators after the last step done.
    """

    step: int
    history: list[dict]
    seconds: float
    cpu_seconds: float
    random: dict[str, Tensor] | None


def capture_random() -> dict[str, Tensor]:
    """States of torch's generators (uint8), CPU and every CUDA device."""
    found = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        found |= {f"cuda{number}": state for number, state in enumerate(torch.cuda.get_rng_state_all())}
    return found


def restore_random(random: dict[str, Tensor]) -> None:
    """Put the generators back to what `capture_random` saw."""
    torch.set_rng_state(random["cpu"])
    for number in range(len(random) - 1):
        torch.cuda.set_rng_state(random[f"cuda{number}"], number)


def save_state(
    folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer, *, state: State, signature: dict
) -> None:
    """Write weights that train, buffers, optimiser and generators; the old state stays until the new one is whole."""
    from safetensors.torch import save_file

    from tokenry.core.runs import atomic_folder, atomic_write

    tensors = {f"random/{name}": value for name, value in (state.random or capture_random()).items()}
    tensors |= {f"weight/{name}": value.detach() for name, value in _moving(model).items()}
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    for parameter, moments in optimizer.state.items():
        for key, value in moments.items():
            tensors[f"moment/{key}/{names[id(parameter)]}"] = torch.as_tensor(value)
    facts = {
        "step": state.step,
        "seconds": state.seconds,
        "cpu_seconds": state.cpu_seconds,
        "signature": signature,
        "history": state.history,
    }
    with atomic_folder(folder, overwrite=True) as beside:
        save_file({key: value.contiguous().cpu() for key, value in tensors.items()}, beside / "state.safetensors")
        atomic_write(beside / "state.json", json.dumps(facts))


def load_state(
    folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer, *, state: State, signature: dict
) -> bool:
    """Bring model, optimiser, generators and `state` to what `folder` holds; False when it holds nothing.

    Raises:
        ValueError: the state belongs to other settings or another model.
    """
    if not (folder / "state.json").is_file():
        return False
    facts = json.loads((folder / "state.json").read_text(encoding="utf-8"))
    differing = [key for key, value in signature.items() if facts["signature"].get(key) != value]
    if differing:
        told = ", ".join(f"{key} was {facts['signature'].get(key)} and is {signature[key]}" for key in differing)
        raise ValueError(
            f"{folder} holds the state of another run: {told}. Repeat the settings of the interrupted run, "
            "or remove the folder to start anew."
        )
    parts = load_weights(folder, model)
    _load_moments(model, optimizer, parts["moment"])
    restore_random(parts["random"])
    state.step, state.history = facts["step"], facts["history"]
    state.seconds, state.cpu_seconds = facts["seconds"], facts["cpu_seconds"]
    state.random = parts["random"]
    return True


def load_weights(folder: Path, model: nn.Module) -> dict[str, dict[str, Tensor]]:
    """Bring the weights that train to what a state holds; returns the other tensors of it ("moment", "random").

    Raises:
        ValueError: the state is of another model, or other weights trained in it.
    """
    from safetensors.torch import load_file

    parts: dict[str, dict[str, Tensor]] = {"random": {}, "weight": {}, "moment": {}}
    for key, value in load_file(folder / "state.safetensors").items():
        part, _, name = key.partition("/")
        parts[part][name] = value
    moving = _moving(model)
    shapes = {name: tuple(tensor.shape) for name, tensor in moving.items()}
    if shapes != {name: tuple(tensor.shape) for name, tensor in parts["weight"].items()}:
        raise ValueError(
            f"{folder} holds the state of another model or of other trained weights. Give the model the interrupted "
            "run started from, or remove the folder to start anew."
        )
    with torch.no_grad():
        for name, tensor in moving.items():
            tensor.copy_(parts["weight"][name])
    return parts


def _moving(model: nn.Module) -> dict[str, Tensor]:
    """Everything training may change: parameters that train (tied ones once) and stored buffers."""
    found = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    stored = model.state_dict(keep_vars=True)
    return found | {name: buffer for name, buffer in model.named_buffers() if name in stored}


def _load_moments(model: nn.Module, optimizer: torch.optim.Optimizer, moments: dict[str, Tensor]) -> None:
    parameters = dict(model.named_parameters())
    for key, value in moments.items():
        kind, _, name = key.partition("/")
        parameter = parameters[name]
        # AdamW counts its steps on the CPU, in a tensor of its own.
        where = "cpu" if kind == "step" else parameter.device
        optimizer.state[parameter][kind] = value.to(where)
