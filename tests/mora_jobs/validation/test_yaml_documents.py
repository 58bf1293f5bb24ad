"""YAML as kubectl reads it, with lines, and nothing swallowed."""

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mora_jobs.validation.yaml_documents import DocumentError, read_documents


def value(text: str) -> Any:
    return next(read_documents(text)).value["a"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1e-4", 1e-4),
        ("1E3", 1000),
        ("1.0", 1),
        (".5", 0.5),
        ("-3", -3),
        ("+3", 3),
        ("0x1F", 31),
        ("0b101", 5),
        ("010", 8),
        ("0o17", 15),
        ("08", 8),
        ("1_000", 1000),
        ("1:30", "1:30"),
        ("2024-01-01", "2024-01-01"),
        ("yes", True),
        ("off", False),
        ("y", True),
        ("True", True),
        ("~", None),
        ("", None),
        ("'1'", "1"),
        ('"yes"', "yes"),
        ("!!str 1", "1"),
        ("!!int '7'", 7),
        ("1.2.3", "1.2.3"),
        ("-", [None]),
        ("0.1.2", "0.1.2"),
        ("why?", "why?"),
        ("{b: why?}", {"b": "why?"}),
        ("|\n  two\n  lines\n", "two\nlines\n"),
        ("e5", "e5"),
        ("_1", "_1"),
    ],
)
def test_a_scalar_is_what_kubectl_sends(text: str, expected: Any) -> None:
    text = f"a: {text}\n" if text != "-" else "a:\n-\n"
    assert value(text) == expected
    assert type(value(text)) is type(expected)


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("a: 1\nb: 2\na: 3\n", 3, "a is given twice, first in line 1"),
        ("a: {b: 1, b: 2}\n", 1, "b is given twice, first in line 1"),
        ("a: 1\nb: [1, 2\nc: 3\n", 3, "not YAML: did not find expected"),
        ("a: .nan\n", 1, ".nan is not a JSON number"),
        ("a: -.Inf\n", 1, "-.Inf is not a JSON number"),
        ("a: !!binary aGk=\n", 1, "tag tag:yaml.org,2002:binary is not JSON"),
        ("a: !python/object x\n", 1, "is not JSON"),
        ("\n[a]: 1\n", 2, "a key must be a text"),
        ("true: 1\n", 1, "a key must be a text"),
        ("weights:\n  y: 1\n", 2, "a key must be a text; put it in quotes"),
        ("a: &x {b: 1}\nc: *y\n", 2, "not YAML: found undefined alias"),
        ("a:\n\tb: 1\n", 2, "not YAML"),
    ],
)
def test_what_is_not_one_json_value_is_refused_with_its_line(text: str, line: int, says: str) -> None:
    with pytest.raises(DocumentError) as caught:
        list(read_documents(text))
    assert says in caught.value.what
    assert caught.value.line == line


def test_aliases_cannot_explode() -> None:
    levels = "\n".join(f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 9)}]" for n in range(1, 9))
    with pytest.raises(DocumentError, match="too many values"):
        list(read_documents(f"l0: &l0 [x]\n{levels}\n"))


def test_merge_keys_and_several_documents() -> None:
    first, second = read_documents("---\nx: &x {a: 1, b: 2}\nw: {<<: *x, b: 3}\n---\n---\nz: 1\n")
    assert first.value["w"] == {"a": 1, "b": 3}
    assert second.value == {"z": 1}


def test_every_value_has_a_line() -> None:
    document = next(read_documents("a:\n  b:\n  - c: 1\n  - d: 2\n"))
    assert document.line(("a", "b", 1, "d")) == 4
    assert document.line(("a", "b", 1, "absent")) == 4
    assert document.line(("a", "absent")) == 1


_TEXT = st.text(st.characters(min_codepoint=32, max_codepoint=0x2FF, exclude_categories=["Cc"]), max_size=8)
_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | _TEXT
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXT, inner, max_size=3),
    max_leaves=10,
)


def same(left: Any, right: Any) -> bool:
    if isinstance(left, dict):
        return isinstance(right, dict) and left.keys() == right.keys() and all(same(left[k], right[k]) for k in left)
    if isinstance(left, list):
        return isinstance(right, list) and len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, float) and isinstance(right, int | float):
        return math.isclose(left, right, rel_tol=0, abs_tol=0)
    return type(left) is type(right) and left == right


@given(st.dictionaries(_TEXT, _JSON, max_size=4))
def test_json_is_read_as_json(document: dict[str, Any]) -> None:
    found = list(read_documents(json.dumps(document, ensure_ascii=False)))
    assert len(found) == 1
    assert same(document, found[0].value)
