"""Steps that are captured once and then replayed: a GPU takes longer to be asked for a step's kernels than to run them.

What is replayed is what the device did, on the same tensors. Whatever Python did meanwhile is frozen: a counter, a draw
of NumPy, a branch on a number of the host. So only what declares itself `capturable` is captured, and `bench check`
compares 20 replayed steps with eager ones. Where a step cannot be captured, it runs eagerly, and the record says why.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Protocol

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from bench.protocol import Execution
from bench.training.tally import Tally

_INDEXING = (torch.ops.aten.index, torch.ops.aten.index_put, torch.ops.aten.index_put_)
_COPYING = (torch.ops.aten._to_copy, torch.ops.aten.copy_)
WARM_UP = 3  # eager steps before one is captured, in which libraries allocate and choose; the last one is watched

Step = Callable[[], None]


class Graph(Protocol):
    """What a step is captured in."""

    def warm(self, step: Step) -> None:
        """Take a step where it will be captured."""

    def capture(self, step: Step, generators: Sequence[torch.Generator]) -> None:
        """Take a step and keep what the device did; these generators and the default one are seeded between replays."""

    def replay(self) -> None:
        """Do again what the device did."""

    def recover(self, generators: Sequence[torch.Generator]) -> None:
        """Let eager steps go on after a capture that failed."""


class Cuda:
    """A CUDA graph.

    Args:
        device: a GPU.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = torch.device("cuda", device.index if device.index is not None else torch.cuda.current_device())
        self._graph = torch.cuda.CUDAGraph()
        self._beside = torch.cuda.Stream(self.device)  # nothing is captured on the default stream

    def warm(self, step: Step) -> None:
        """Take a step on the stream of the capture."""
        here = torch.cuda.current_stream(self.device)
        self._beside.wait_stream(here)
        with torch.cuda.stream(self._beside):
            step()
        here.wait_stream(self._beside)

    def capture(self, step: Step, generators: Sequence[torch.Generator]) -> None:
        """Capture a step, which does nothing yet, and replay it."""
        for generator in generators:  # the default one always is
            self._graph.register_generator_state(generator)
        with torch.cuda.graph(self._graph, stream=self._beside):
            step()
        self._graph.replay()

    def replay(self) -> None:
        """Launch the graph."""
        self._graph.replay()

    def recover(self, generators: Sequence[torch.Generator]) -> None:
        """Give generators fresh states: a capture that failed leaves theirs waiting for its end."""
        torch.cuda.synchronize(self.device)
        for generator in (*generators, torch.cuda.default_generators[self.device.index]):
            generator.graphsafe_set_state(torch.Generator(self.device))


def usual(device: torch.device) -> Graph | str:
    """Return a graph of a device, or why there is none."""
    return Cuda(device) if device.type == "cuda" else f"the device is {device.type}"


def eager(device: torch.device) -> Graph | str:
    """Return that there is to be none."""
    return "it was asked for"


_kind: ContextVar[Callable[[torch.device], Graph | str]] = ContextVar("graph", default=usual)


@contextmanager
def by(kind: Callable[[torch.device], Graph | str]) -> Iterator[None]:
    """Capture what is trained in the block in graphs of another kind than `usual`; `eager` captures nothing."""
    token = _kind.set(kind)
    try:
        yield
    finally:
        _kind.reset(token)


def graph(device: torch.device, parts: Mapping[str, object]) -> Graph | str:
    """Return what to capture a step in, or why it is not to be captured.

    Args:
        device: of all tensors.
        parts: what has a say in a step, by what it is called: each must declare itself `capturable`.
    """
    lacking = [name for name, part in parts.items() if not declared(part)]
    made = _kind.get()(device)
    return made if isinstance(made, str) or not lacking else f"{lacking[0]} does not declare `capturable`"


def declared(part: object) -> bool:
    """Tell whether the very class of a part says `capturable = True`: what it extends cannot speak for it."""
    return vars(type(part)).get("capturable") is True


class Steps:
    """Takes one step after another: eagerly, or by replaying one that was captured.

    Args:
        begin: the part of a step that is the host's: it moves static tensors and generators to the step.
        body: the part that is the device's, on static tensors.
        generators: that the body draws from, beside the default one.
        tally: counts on the host, too.
        graph: takes the capture; or why nothing is captured.

    Attributes:
        settled: whether the next step will be taken like the last one.
    """

    def __init__(
        self, begin: Step, body: Step, generators: Sequence[torch.Generator], tally: Tally, graph: Graph | str
    ) -> None:
        self.begin, self.body, self.generators, self.tally = begin, body, generators, tally
        self._reason = graph if isinstance(graph, str) else f"training ended within {WARM_UP} steps"
        self._graph = None if isinstance(graph, str) else graph
        self._taken = 0
        self._counted: dict[str, int] | None = None  # losses of a captured step

    @property
    def settled(self) -> bool:
        """Whether the next step will be taken like the last one."""
        return self._counted is not None or (self._graph is None and self._taken > 0)

    @property
    def execution(self) -> Execution:
        """How steps are taken."""
        captured = self._counted is not None
        return {"captured": captured, "reason": "" if captured else self._reason}

    def take(self) -> None:
        """Take a step."""
        self.begin()
        if self._graph is None:
            self.body()
        elif self._counted is not None:
            self._graph.replay()
            self.tally.count(self._counted)
        elif self._taken < WARM_UP - 1:
            self._graph.warm(self.body)
        elif self._taken < WARM_UP:
            with Watch() as watch:
                self._graph.warm(self.body)
            if watch.reason:
                self._graph, self._reason = None, f"a step {watch.reason}"
        else:
            self._capture(self._graph)
        self._taken += 1

    def _capture(self, graph: Graph) -> None:
        before = dict(self.tally.counts)

        def body() -> None:
            self.body()
            if new := self.tally.counts.keys() - before:
                raise _Refused(f'the loss "{min(new)}" is not there at every step')

        try:
            graph.capture(body, self.generators)
        except Exception as error:
            # nothing was carried out: what Python counted is taken back, and the step is taken eagerly
            self._graph, self._reason = None, f"the capture failed: {_first_cause(error)}"
            self.tally.forget(before)
            graph.recover(self.generators)
            self.begin()
            self.body()
        else:
            self._counted = {name: count - before[name] for name, count in self.tally.counts.items()}


class _Refused(Exception):
    """A step is none that could be replayed; the message says why."""


def _first_cause(error: BaseException) -> str:
    while error.__context__ is not None:  # the end of a capture that failed fails as well
        error = error.__context__
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]


class Watch(TorchDispatchMode):
    """Sees where a step asks the device for a number: what comes of that on the host would be frozen.

    Attributes:
        reason: what the first such operation does, a verb and its object; empty where there is none.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.reason = ""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Let an operation through, and look at it."""
        outputs = func(*args, **(kwargs or {}))
        self.reason = self.reason or _asking(func, (args, kwargs), outputs)
        return outputs


def _asking(func: Any, inputs: Any, outputs: Any) -> str:
    if torch.Tag.data_dependent_output in func.tags:
        return f"asks for the value of a tensor ({func})"
    if func.overloadpacket in _INDEXING:
        masks = {tensor.dtype for tensor in _tensors(inputs[0][1])} & {torch.bool, torch.uint8}
        return f"picks by a mask, whose count decides on a shape ({func})" if masks else ""
    if torch.Tag.dynamic_output_shape in func.tags:
        return f"makes a tensor whose shape depends on values ({func})"
    # numbers on the CPU go along as arguments; a copy of one is another matter
    if func.overloadpacket in _COPYING and len({tensor.device for tensor in _tensors((inputs, outputs))}) > 1:
        return f"copies a tensor from one device to another ({func})"
    return ""


def _tensors(arguments: Any) -> list[torch.Tensor]:
    return [leaf for leaf in tree_leaves(arguments) if isinstance(leaf, torch.Tensor)]
