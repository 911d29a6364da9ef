"""A network that breaks one of its contracts is told so, in one sentence that says what is wrong."""

from __future__ import annotations

import textwrap
from collections.abc import Callable

import pytest

from bench.contracts import Verdict

Judge = Callable[..., Verdict]
ALL = ("fields", "refusals", "shapes", "items", "gradients", "seed", "state", "evaluation", "training")


def network(body: str) -> str:
    return f"class Broken(_Base):\n{textwrap.indent(textwrap.dedent(body), '    ')}\n"


def module(forward: str, init: str = "pass") -> str:
    """Return a network whose middle is a module of 8 features."""
    return f"""
class _Middle(nn.Module):
    def __init__(self):
        super().__init__()
        {init}

    def forward(self, x):
        {forward}

class Broken(_Base):
    def middle(self):
        return [_Middle()]
"""


@pytest.mark.parametrize("contract", ALL)
def test_a_right_one_keeps_them(verdict: Judge, contract: str) -> None:
    seen = verdict("network", contract, network("pass"))
    assert seen.status == "pass", seen


@pytest.mark.parametrize("contract", ["items", "gradients", "state", "evaluation"])
def test_dropout_is_allowed_while_it_trains(verdict: Judge, contract: str) -> None:
    seen = verdict("network", contract, network("def middle(self):\n    return [nn.Tanh(), nn.Dropout(0.2)]"))
    assert seen.status == "pass", seen


@pytest.mark.parametrize(
    ("contract", "source", "sentence"),
    [
        ("fields", network("size: int = Field(1, ge=1)"), "size has no description"),
        ("refusals", network("def refuses(self, shape):\n    return True"), "refuses((2,)) gives True; it must"),
        (
            "refusals",
            network("def refuses(self, shape):\n    return 'is too small'"),
            "it refuses items of every usual shape, which are 2, 8x8, 3x8x8, 28x28, 3x32x32",
        ),
        ("shapes", network("def made(self, i, o):\n    return 1"), "its encoder of items of 2 is a int, not"),
        (
            "shapes",
            network("def made(self, i, o):\n    return nn.Linear(i, o + 1)"),
            "its encoder of items of 2 gives float32 (7,) for (2,); it must give float32 (6,)",
        ),
        ("shapes", module("return x.flatten(0, -2) if x.ndim == 3 else x"), "gives float32 (14, 6) for (2, 7, 2)"),
        ("shapes", module("return x / 0"), "its encoder of items of 2 gives numbers that are not finite"),
        ("items", module("return x - x.mean(0)"), "gives for an item depends on the items beside it, as with batch"),
        (
            "items",
            module("return x - x.mean(0) if x.ndim == 3 else x"),
            "depends on the items beside it, or on other samples of its z; a score may not",
        ),
        ("items", module("return self.n(x)", "self.n = nn.BatchNorm1d(8)"), "depends on the items beside it"),
        (
            "gradients",
            module("return x", "self.idle = nn.Parameter(torch.ones(3))"),
            "has a parameter that nothing would train: 1.idle gets no gradient",
        ),
        (
            "gradients",
            network("def made(self, i, o):\n    return super().made(i, o).requires_grad_(False)"),
            "its encoder of items of 2 has no parameter that could be trained",
        ),
        (
            "seed",
            module("return x", "self.w = nn.Parameter(torch.randn(8, generator=torch.Generator().manual_seed("
                   "__import__('time').time_ns() % 2**31)))"),
            "starts elsewhere each time: 1.w does not follow torch's global generator",
        ),
        (
            "seed",
            network("def made(self, i, o):\n    torch.manual_seed(0)\n    return super().made(i, o)"),
            "starts at the same numbers whatever the seed",
        ),
        (
            "state",
            module("return x + self.drawn", "self.drawn = torch.randn(8)"),
            "holds something that its state_dict lacks: register it as a buffer",
        ),
        (
            "state",
            module("return x", "self.register_buffer(f'b{torch.randint(10**9, ())}', torch.ones(1))"),
            "does not load into a fresh one: ",
        ),
        (
            "evaluation",
            module("return nn.functional.dropout(x, 0.5, training=True)"),
            "gives other numbers when it is called again in evaluation mode",
        ),
        ("training", module("raise ValueError('no')"), "ValueError: no (line "),
    ],
)  # fmt: skip
def test_a_breach_is_told(verdict: Judge, contract: str, source: str, sentence: str) -> None:
    seen = verdict("network", contract, source)
    assert (seen.status, seen.reason.count("\n")) == ("fail", 0), seen
    assert sentence in seen.reason


def test_what_python_counts_in_a_network_is_seen_when_steps_are_replayed(verdict: Judge) -> None:
    source = """
class _Layer(nn.Module):
    calls = 0

    def forward(self, x):
        self.calls += 1
        return torch.tanh(x * (1 + 0.01 * self.calls))

class Broken(_Base):
    capturable: ClassVar = True

    def middle(self):
        return [_Layer()]
"""
    found = verdict("network", "capture", source)
    assert found.status == "fail"
    assert "differs when steps are replayed; it depends on what Python does in a step" in found.reason


def test_a_network_that_says_nothing_of_capture_is_not_checked_for_it(verdict: Judge) -> None:
    silent = verdict("network", "capture", "class Broken(_Base):\n    pass\n")
    assert (silent.status, silent.reason) == (
        "not checked",
        "it does not declare `capturable`: on a GPU steps with it are taken eagerly",
    )


def test_what_it_prints_is_no_part_of_an_answer(verdict: Judge, capsys: pytest.CaptureFixture[str]) -> None:
    seen = verdict("network", "shapes", network("def middle(self):\n    print('hello')\n    return [nn.Tanh()]"))
    assert seen.status == "pass", seen
    assert capsys.readouterr().out == ""


def test_one_that_leaves_breaks_the_contract_and_ends_nothing(verdict: Judge) -> None:
    seen = verdict("network", "shapes", network("def middle(self):\n    import os\n    os._exit(0)"))
    assert (seen.status, seen.reason) == ("fail", "it ends the process, with exit code 0")


def test_one_that_never_ends_breaks_the_contract(verdict: Judge, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.contracts.verdicts.LONGEST", 0.5)
    seen = verdict("network", "shapes", network("def middle(self):\n    while True: pass"))
    assert (seen.status, seen.reason) == ("fail", "it has not ended after 0.5 seconds")
