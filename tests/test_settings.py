"""What settings allow is said in words, whatever their types."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import pytest
from pydantic import Field

from bench.plugins.settings import combinations, flat, options, validated
from bench.protocol import Search, Settings, UserError
from bench.sweep.columns import canonical


class Small(Settings):
    """A table of one kind."""

    kind: Literal["small"] = "small"
    size: int = Field(1, ge=1)


class Large(Settings):
    """A table of another."""

    kind: Literal["large"] = "large"
    sizes: list[int] = Field([1], max_length=3)


class Many(Settings):
    """Fields of every sort."""

    needed: bool
    maybe: int | None = Field(None, ge=1)
    mixed: int | str = 3
    pair: tuple[int, float] = (1, 2.0)
    nested: Small = Small(size=7)
    absent: Small | None = None
    either: Annotated[Small | Large, Field(discriminator="kind")] = Small()
    rates: dict[str, float] = Field({})
    text: str = Field("a", pattern="^a")
    tuned: Annotated[int, Search(choices=(1, 2)), Field(multiple_of=2)] = 2


def said(**values: Any) -> str:
    with pytest.raises(UserError) as raised:
        validated(Many, values, "here", "many")
    return str(raised.value).removeprefix("here: ")


def test_every_field_is_described() -> None:
    found = {option.key: option for option in options(Many)}
    assert {key: f"{option.type}|{option.bounds}" for key, option in found.items()} == {
        "needed": "true or false|",
        "maybe": "integer|at least 1",
        "mixed": "integer or text|",
        "pair": "list of integer or number|2 items",
        "nested.kind": '"small"|',
        "nested.size": "integer|at least 1",
        "absent.kind": '"small"|',
        "absent.size": "integer|at least 1",
        "either": "table|",
        "rates": "table|",
        "text": "text|matching ^a",
        "tuned": "integer|a multiple of 2",
    }
    assert (found["needed"].required, found["needed"].default, found["maybe"].required) == (True, None, False)
    assert (found["nested.size"].default, found["pair"].default) == (7, [1, 2.0])
    assert found["tuned"].search == {"low": None, "high": None, "log": False, "choices": [1, 2]}


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({}, "many.needed is missing; it must be true or false"),
        ({"neded": True}, 'unknown key many.neded; did you mean "needed"? allowed: needed, maybe, '),
        ({"maybe": 0}, "many.maybe = 0 is not allowed; it must be an integer, at least 1"),
        ({"mixed": 1.5}, "many.mixed = 1.5 is not allowed; it must be an integer or text"),
        ({"pair": [1]}, "many.pair[1] is missing; it must be a number"),
        ({"pair": [1, "x"]}, 'many.pair[1] = "x" is not allowed; it must be a number'),
        ({"absent": {"size": 0}}, "many.absent.size = 0 is not allowed; it must be an integer, at least 1"),
        ({"either": {"kind": "tiny"}}, 'many.either.kind = "tiny" is not allowed; it must be "small" or "large"'),
        ({"either": {"size": 3}}, 'many.either.kind is missing; it must be "small" or "large"'),
        (
            {"either": {"kind": "large", "size": 3}},
            'unknown key many.either.size; did you mean "sizes"? allowed: kind, sizes',
        ),
        (
            {"either": {"kind": "large", "activation": "elu"}},
            'unknown key many.either.activation with kind = "large"; allowed: kind, sizes',
        ),
        (
            {"either": {"kind": "large", "sizes": ["x"]}},
            'many.either.sizes[0] = "x" is not allowed; it must be an integer',
        ),
        ({"rates": {"a": "x"}}, 'many.rates.a = "x" is not allowed; it must be a number'),
        ({"text": "b"}, 'many.text = "b" is not allowed; it must be text, matching ^a'),
        ({"text": "b" * 99}, f'many.text = "{"b" * 56}... is not allowed; it must be text, matching ^a'),
    ],
)
def test_every_mistake_names_its_place_and_what_is_allowed_there(values: dict[str, Any], sentence: str) -> None:
    given = said(**values) if not values or "neded" in values else said(needed=True, **values)
    assert given == sentence or (sentence.endswith(", ") and given.startswith(sentence))


def test_a_partial_table_changes_the_default_of_its_field() -> None:
    assert validated(Many, {"needed": True, "nested": {"kind": "small"}}, "", "").nested.size == 7
    assert validated(Many, {"needed": True, "absent": {}}, "", "").absent == Small()


def test_a_function_says_who_wrote_a_key() -> None:
    with pytest.raises(UserError, match=r"^<many\.nested\.size>: many\.nested\.size = 0"):
        validated(Many, {"needed": True, "nested": {"size": 0}}, lambda key: f"<{key}>", "many")


def test_tables_of_several_kinds_are_swept_inside() -> None:
    values = {"either": [{"kind": "small", "size": [1, 2]}, {"kind": "large", "sizes": [[1], [2, 3]]}], "pair": [4, 5]}
    found = combinations(values, Many, "many", str)
    assert [table["either"] for table in found] == [
        {"kind": "small", "size": 1},
        {"kind": "small", "size": 2},
        {"kind": "large", "sizes": [1]},
        {"kind": "large", "sizes": [2, 3]},
    ]
    assert all(validated(Many, {"needed": True, **table}, "", "").pair == (4, 5.0) for table in found)


def test_nested_values_are_had_by_dotted_key() -> None:
    assert flat({"a": {"b": 1, "c": {"d": [2]}}, "e": {}}) == {"a.b": 1, "a.c.d": [2], "e": {}}


def test_a_set_is_refused_wherever_it_stands() -> None:
    class Nested(Settings):
        sets: dict[str, list[set[int]]] = Field({})

    with pytest.raises(TypeError, match="sets is a set, which has no order"):
        options(Nested)


def test_settings_that_python_calls_equal_have_texts_of_their_own() -> None:
    texts = [canonical(settings) for settings in ({"a": 1}, {"a": 1.0}, {"a": True}, {"a": [0.0]}, {"a": [-0.0]})]
    assert texts == ['{"a":1}', '{"a":1.0}', '{"a":true}', '{"a":[0.0]}', '{"a":[-0.0]}']
    assert canonical({"b": 1, "a": 2}) == canonical({"a": 2, "b": 1}) == '{"a":2,"b":1}'
