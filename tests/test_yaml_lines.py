"""Reading YAML: lines, repeated keys, bounds, and never an error of another kind."""

from __future__ import annotations

import json

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from l7proxy.file_errors import FileError
from l7proxy.policy.documents import PolicyErrors, load_text
from l7proxy.yaml_lines import YamlError, load
from tests.policy.support import http, policy


def documents(text: str | bytes, max_depth: int = 20, max_values: int = 1000):
    data = text.encode() if isinstance(text, str) else text
    return list(load(data, max_depth=max_depth, max_values=max_values))


def problem(text: str | bytes, **bounds: int) -> tuple[int, str]:
    with pytest.raises(YamlError) as caught:
        documents(text, **bounds)
    return caught.value.line, caught.value.message


def test_every_key_and_item_has_its_line():
    (document,) = documents("a: 1\nb:\n  - x\n  - c: {d:\n      e}\n")
    assert document.value == {"a": 1, "b": ["x", {"c": {"d": "e"}}]}
    assert document.line_of(("a",)) == 1
    assert document.line_of(("b", 1)) == 4
    assert document.line_of(("b", 1, "c", "d")) == 4
    assert document.line_of(("b", 1, "missing")) == 4


def test_documents_are_read_one_by_one_and_empty_ones_left_out():
    found = documents("---\na: 1\n---\n# nothing\n---\nb: 2\n...\n")
    assert [(each.value, each.line) for each in found] == [({"a": 1}, 2), ({"b": 2}, 6)]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("80", 80),
        ("'80'", "80"),
        ("080", "080"),
        ("0x50", "0x50"),
        ("1.5", 1.5),
        ("yes", True),
        ("Off", False),
        ("y", "y"),
        ("~", None),
        ("2001-01-01", "2001-01-01"),
        ("10:30", "10:30"),
        ("!!str 80", "80"),
        ("1" * 50, "1" * 50),
    ],
)
def test_plain_values(text, value):
    (document,) = documents(f"a: {text}")
    assert document.value == {"a": value}


def test_json_is_yaml():
    value = {"a": [1, "x", True, {"b": 1.5}], "c\u00e9": "\U0001f600"}
    assert documents(json.dumps(value, ensure_ascii=False))[0].value == value


def test_a_repeated_key_is_an_error():
    assert problem("a: 1\nb: 2\na: 3") == (3, "the key 'a' is repeated (first on line 1)")


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("a: [", 1, "not valid YAML"),
        ("a: 1\n b: 2", 2, "not valid YAML"),
        ("a: \x07", 1, "not valid YAML"),
        (b"a: 1\nb: \xff", 2, "byte 0xff is not UTF-8"),
        ("a: !!python/object/apply:os.system [x]", 1, "the tag tag:yaml.org,2002:python"),
        ("a: !!binary aGk=", 1, "the tag"),
        ("1: a", 1, "a key is not a string: quote it"),
        ("[a]: b", 1, "a key is not a string"),
        ("x: &a {b: 1}\ny: {<<: *a}", 2, "merge keys (<<) are not supported"),
        ("a: *b", 1, "alias"),
    ],
)
def test_what_cannot_be_read(text, line, message):
    where, what = problem(text)
    assert where == line
    assert message in what


def test_nesting_is_bounded():
    assert "nested deeper than 20 levels" in problem("[" * 10_000)[1]
    assert problem("a: &a [*a]")[1].startswith("nested deeper")


def test_aliases_are_counted_each_time():
    layers = ["a0: &a0 [x, x, x, x]"]
    layers += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]
    assert "more than 1000 values" in problem("\n".join(layers))[1]


def test_plain_aliases_are_understood():
    assert documents("a: &x [1]\nb: *x")[0].value == {"a": [1], "b": [1]}


VALID = policy(http("{method: GET, path: '/users(/.*)?'}", "{action: block, path: /x}"))


def loads_or_says_why(data: bytes) -> None:
    """Any bytes either load or raise PolicyErrors with one line for each error."""
    errors: tuple[FileError, ...] | None = None
    try:
        load_text(data)
    except PolicyErrors as error:
        errors = error.errors
    if errors is not None:
        assert errors
        assert all(len(str(each).splitlines()) == 1 for each in errors)


@given(st.binary(max_size=200))
@example(b"\xef\xbb\xbf")
@example(b"- - - -")
@example(b"kind: [a]")
@example(b"kind: {}\nspec: 3")
@example(b"[null]")
@example(b"'\\ud800'")
@example(b'{"kind": "L7Policy", "apiVersion": "l7proxy.io/v1alpha1", "specs": [{"a": "\\ud800"}]}')
def test_garbage_is_refused_in_words(data):
    loads_or_says_why(data)


@given(st.text(max_size=200))
def test_text_is_refused_in_words(text):
    loads_or_says_why(text.encode("utf-8", "surrogatepass"))


@settings(max_examples=300)
@given(st.data())
def test_a_damaged_policy_is_refused_in_words_or_loads(data):
    at = data.draw(st.integers(0, len(VALID) - 1))
    length = data.draw(st.integers(0, 12))
    put = data.draw(
        st.sampled_from(["", "[]", "{}", "null", "-", ": ", "\n", "3", "&a", "*a", '"'])
    )
    loads_or_says_why((VALID[:at] + put + VALID[at + length :]).encode())


SCALARS = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5))
FIELDS = st.text(max_size=3) | st.sampled_from(
    [
        "endpointSelector",
        "ingress",
        "egress",
        "ingressDeny",
        "fromEndpoints",
        "toEndpoints",
        "fromEntities",
        "fromCIDR",
        "fromCIDRSet",
        "cidr",
        "except",
        "toPorts",
        "ports",
        "port",
        "endPort",
        "protocol",
        "rules",
        "http",
        "HTTP",
        "method",
        "path",
        "host",
        "headers",
        "headerMatches",
        "name",
        "value",
        "mismatch",
        "action",
        "forward",
        "address",
        "endpoints",
        "matchLabels",
        "matchExpressions",
        "key",
        "operator",
        "values",
        "enableDefaultDeny",
        "toFQDNs",
    ]
)
TREES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(FIELDS, inner, max_size=4),
    max_leaves=20,
)


@given(st.dictionaries(FIELDS, TREES, max_size=5))
def test_specs_of_any_shape_are_refused_in_words_or_load(spec):
    whole = {
        "apiVersion": "l7proxy.io/v1alpha1",
        "kind": "L7Policy",
        "metadata": {"name": "x"},
        "spec": {"endpointSelector": {}, **spec},
    }
    loads_or_says_why(json.dumps(whole).encode())
