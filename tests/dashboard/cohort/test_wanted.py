"""Choices as a browser may send them, and whom they leave."""

import numpy as np
import pytest

from dashboard.cohort import rows, wanted

HOSTILE = [
    None,
    7,
    [],
    {},
    ["P001"],
    "",
    "../../etc/passwd",
    "<script>",
    "=nobody",
    "P001'",
    float("nan"),
    True,
    "\x00",
]


@pytest.mark.parametrize("sent", HOSTILE, ids=repr)
def test_what_is_not_offered_is_the_usual_choice(study, sent):
    """Whatever comes, the choice is one that is offered, and nobody unknown is chosen."""
    names = ("quantity", "compartment", "scale", "show", "colour", "unit", "best", "view", "condition", "arm", "site",
             "verdict")  # fmt: skip
    assert wanted.checked(study, dict.fromkeys(names, sent)) == wanted.checked(study, {})
    assert wanted.chosen(study, sent) is None


def test_the_usual_choice_hangs_on_how_many_there_are(study, nobody):
    """Bands are usual; of few patients, lines."""
    assert wanted.checked(study, {}).show == "bands"
    assert wanted.checked(nobody, {}).show == "lines"


@pytest.mark.parametrize("sent", [None, 7, "P001", {"0": "P001"}, [None, 3, ["P001"], "P999", "<b>"]], ids=repr)
def test_an_order_holds_known_patients_alone(study, sent):
    """What is no list of known ids is nobody."""
    assert wanted.order(study, sent) == []


def test_an_order_is_short_and_without_repeats(study):
    """The first forty of what came are looked at."""
    assert wanted.order(study, ["P002", "P002", "P001"]) == [1, 0]
    assert len(wanted.order(study, list(study.ids) * 50)) <= wanted.LONGEST_ORDER


def test_filters_leave_who_fits_all(study):
    """Independent count: by the rows of the table."""
    known = rows.cohort(study, "volume_mm3", "total")
    choice = wanted.checked(study, {"condition": "=JDM", "arm": "=A", "verdict": "increased"})
    left = wanted.kept(known.people, choice)
    expected = [row["condition"] == "JDM" and row["arm"] == "A" and row["verdict"] == "increased"
                for row in known.people.to_dict("records")]  # fmt: skip
    assert left.tolist() == expected
    assert left.any()


def test_patients_without_an_arm_can_be_chosen(study):
    """No arm is a choice of its own, not an empty one."""
    known = rows.cohort(study, "volume_mm3", "total")
    left = wanted.kept(known.people, wanted.checked(study, {"arm": wanted.NONE}))
    assert set(known.people.loc[left, "arm"]) == {""}
    assert 0 < left.sum() < len(left)


def test_a_search_looks_at_small_letters_everywhere(study):
    """Id, condition, arm and site are searched, capitals or not; a pattern is plain text."""
    known = rows.cohort(study, "volume_mm3", "total")
    found = wanted.kept(known.people, wanted.checked(study, {"search": "  p00 "}))
    assert found.sum() == sum("P00" in one for one in study.ids)
    assert wanted.kept(known.people, wanted.checked(study, {"search": "gaci"})).any()
    assert not wanted.kept(known.people, wanted.checked(study, {"search": ".*"})).any()


def test_a_long_search_is_cut(study):
    """What is looked for has an end."""
    assert len(wanted.checked(study, {"search": "x" * 10_000}).search) == wanted.LONGEST_SEARCH


def test_the_sentence_says_all_choices(study):
    """The line in words names each choice that narrows."""
    choice = wanted.checked(study, {"condition": "=JDM", "arm": "=A", "site": "=01", "verdict": "none", "search": "P0"})
    told = wanted.sentence(choice, 3, 30)
    assert told == "3 of 30 patients: JDM, arm A, site 01, no comparison, “p0” in the text."
    assert not wanted.checked(study, {}).narrowed


def test_nobody_is_left_of_nobody(nobody):
    """An empty study has an empty answer."""
    known = rows.cohort(nobody, "volume_mm3", "total")
    assert wanted.kept(known.people, wanted.checked(nobody, {"search": "x"})).shape == (0,)
    assert not np.any(wanted.kept(known.people, wanted.checked(nobody, {})))
