"""What `fit` needs of the world around it: several processes under `accelerate launch`, and Ctrl-C between steps."""

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from typing import TypeVar

import torch
from torch import nn

Result = TypeVar("Result")


def count() -> int:
    """Number of processes that train together; 1 unless `accelerate launch` or torchrun started more."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def rank() -> int:
    """Number of this process among those that `accelerate launch` or torchrun started; 0 when it is alone."""
    return int(os.environ.get("RANK", "0")) if count() > 1 else 0


def own_device(device: str | None) -> str | None:
    """The device of this process: the one named, else, among several processes with CUDA, the card of its number."""
    if device is None and count() > 1 and torch.cuda.is_available():
        return f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
    return device


def one_after_another(work: Callable[[], Result], *, on_cpu: bool) -> Result:
    """The result of `work`, done by the first process before the others begin it (alone: simply done)."""
    if count() <= 1:
        return work()
    from accelerate import Accelerator

    with Accelerator(cpu=on_cpu).main_process_first():
        return work()


class Processes:
    """The processes that train one model together; one unless started by `accelerate launch` or torchrun.

    Attributes:
        count, rank: how many, and which one this is.
        model: what a loss calls; it sums gradients over processes.
    """

    def __init__(self, model: nn.Module) -> None:
        self.count, self.rank, self.model, self._accelerator = 1, 0, model, None
        if count() > 1:
            from accelerate import Accelerator

            on_cpu = next(model.parameters()).device.type == "cpu"
            self._accelerator = Accelerator(cpu=on_cpu)
            self.count, self.rank = self._accelerator.num_processes, self._accelerator.process_index
            self.model = self._accelerator.prepare_model(model)

    def syncing(self, is_last: bool) -> contextlib.AbstractContextManager:
        """Around the micro-batches of a step: gradients travel with the last one only."""
        if self._accelerator is None or is_last:
            return contextlib.nullcontext()
        return self._accelerator.no_sync(self.model)

    def sums(self, values: dict[str, float]) -> dict[str, float]:
        """Each number summed over processes."""
        if self._accelerator is None:
            return values
        mine = torch.tensor(list(values.values()), dtype=torch.float64, device=self._accelerator.device)
        return dict(zip(values, self._accelerator.reduce(mine, "sum").tolist(), strict=True))

    def any(self, value: bool) -> bool:
        """Whether it is true in any process."""
        return self.sums({"value": float(value)})["value"] > 0

    def wait(self) -> None:
        """Until every process is here."""
        if self._accelerator is not None:
            self._accelerator.wait_for_everyone()


class Interrupts:
    """Whether Ctrl-C was pressed; a step asks between its parts, so weights are never left half updated."""

    def __init__(self) -> None:
        self.asked = False

    def raise_if_asked(self) -> None:
        """Raise the KeyboardInterrupt that was held back."""
        if self.asked:
            raise KeyboardInterrupt


@contextlib.contextmanager
def holding_interrupts() -> Iterator[Interrupts]:
    """Hold the first Ctrl-C back until asked for; the second comes through at once. Main thread only."""
    held = Interrupts()
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or before is None:
        yield held
        return

    def hold(number: int, frame: object) -> None:
        held.asked = True
        signal.signal(signal.SIGINT, before)

    signal.signal(signal.SIGINT, hold)
    try:
        yield held
    finally:
        signal.signal(signal.SIGINT, before)
