"""Selectors: what each operator means, checked against every combination hypothesis finds."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from l7proxy.policy import cover
from l7proxy.policy.model import NAMESPACE_LABEL, Operator, Requirement, Selector
from l7proxy.policy.selectors import label_key, matches, scoped
from tests.policy.support import workload

KEYS = st.sampled_from(["app", "env", "tier", NAMESPACE_LABEL])
VALUES = st.sampled_from(["a", "b", "c", ""])
SOME_VALUES = st.lists(VALUES, min_size=1, max_size=3).map(tuple)
REQUIREMENTS = st.one_of(
    st.builds(Requirement, KEYS, st.sampled_from([Operator.IN, Operator.NOT_IN]), SOME_VALUES),
    st.builds(
        Requirement, KEYS, st.sampled_from([Operator.EXISTS, Operator.DOES_NOT_EXIST]), st.just(())
    ),
)
SELECTORS = st.builds(Selector, st.lists(REQUIREMENTS, max_size=4).map(tuple))
WORKLOADS = st.builds(
    lambda namespace, labels: workload("w", namespace, **labels or {"x": "x"}),
    st.sampled_from(["a", "b"]),
    st.dictionaries(st.sampled_from(["app", "env", "tier"]), VALUES),
)


@given(SELECTORS, WORKLOADS)
def test_a_selector_is_the_conjunction_of_its_requirements(selector, candidate):
    each = [matches(Selector((one,)), candidate) for one in selector.requirements]
    assert matches(selector, candidate) is all(each)


@given(KEYS, SOME_VALUES, WORKLOADS)
def test_opposite_operators_never_agree(key, values, candidate):
    for operator, opposite, operands in (
        (Operator.IN, Operator.NOT_IN, values),
        (Operator.EXISTS, Operator.DOES_NOT_EXIST, ()),
    ):
        answers = {
            matches(Selector((Requirement(key, each, operands),)), candidate)
            for each in (operator, opposite)
        }
        assert answers == {True, False}


@given(SELECTORS, SELECTORS, WORKLOADS)
def test_a_covering_selector_selects_whatever_the_covered_one_does(wide, narrow, candidate):
    if cover.selector(wide, narrow) and matches(narrow, candidate):
        assert matches(wide, candidate)


@given(st.lists(REQUIREMENTS, max_size=3), WORKLOADS)
def test_a_scoped_selector_stays_in_its_namespace_unless_it_names_one(requirements, candidate):
    named = any(each.key == NAMESPACE_LABEL for each in requirements)
    plain = matches(Selector(tuple(requirements)), candidate)
    expected = plain and (named or candidate.namespace == "a")
    assert matches(scoped(requirements, "a"), candidate) is expected
    assert matches(scoped(requirements, None), candidate) is plain


def test_not_in_matches_a_workload_without_the_label():
    assert matches(Selector((Requirement("env", Operator.NOT_IN, ("dev",)),)), workload("w"))


def test_an_empty_value_is_a_value():
    selector = Selector((Requirement("env", Operator.IN, ("",)),))
    assert matches(selector, workload("w", env=""))
    assert not matches(selector, workload("w"))


def test_a_label_cannot_pose_as_the_namespace():
    posing = workload("w", "real", **{NAMESPACE_LABEL: "kube-system"})
    selector = Selector((Requirement(NAMESPACE_LABEL, Operator.IN, ("kube-system",)),))
    assert not matches(selector, posing)


@pytest.mark.parametrize("written", ["app", "k8s:app", "any:app"])
def test_prefixes_are_understood(written):
    assert label_key(written) == "app"


@pytest.mark.parametrize(
    "written", ["", "k8s:", "reserved:host", "k8s.io.kubernetes.pod.namespace"]
)
def test_keys_that_name_no_label_are_refused(written):
    with pytest.raises(ValueError, match="label"):
        label_key(written)
