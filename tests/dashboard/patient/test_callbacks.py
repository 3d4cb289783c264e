"""Callbacks: what is shown on a choice, and that nothing hostile gets through."""

import json

import pytest
from dash import no_update

from dashboard.patient import callbacks

HOSTILE = [None, 5, "", "P777", "../P001", ["P001"], {"a": 1}, True]

ROWS = [None, 5, "1", [], [None], [[1]], ["x"], [{}], [{"lesion_id": None}], [{"lesion_id": "1; x"}],
        [{"lesion_id": 999}], [{"lesion_id": -1}], [{"lesion_id": 1.5}], [{"lesion_id": "²"}], {"ids": None},
        {"ids": []}, {"ids": [None]}, {"ids": "1"}, {"x": 1}, [{"lesion_id": "9" * 5000}]]  # fmt: skip


def plain(shown):
    return json.dumps(shown, default=lambda one: one.to_plotly_json())


def test_a_choice_changes_figure_words_and_verdict(study):
    """All that hangs on the quantity comes in one answer."""
    figure, style, told, key, verdict, norms, whose = callbacks.show_trajectory(
        study, "P001", {"quantity": "volume_mm3"}
    )
    assert whose == "P001"
    assert style == {"height": f"{figure.layout.height}px"}
    assert told.startswith("Volume of mineral, all compartments")
    assert "increased by" in plain(verdict)
    assert "Since the previous visit" in plain(verdict)
    assert "not comparable with the baseline" in plain(key)
    assert [one["value"] for one in norms] == ["", "_per_m2", "_per_growth"]
    other = callbacks.show_trajectory(study, "P001", {"quantity": "mass_mg"})
    assert other[0].layout.yaxis.title.text == "Mass (mg)"
    assert "No comparison" in plain(other[4])


@pytest.mark.parametrize("patient", HOSTILE)
def test_an_unknown_patient_changes_nothing(study, patient):
    """No exception, and no other patient's data."""
    assert set(callbacks.show_trajectory(study, patient, {})) == {no_update}
    assert set(callbacks.show_strip(study, patient, ([{"lesion_id": 1}], "frame"), None)) == {no_update}
    assert set(callbacks.show_tree(study, patient, [], "years")) == {no_update}


@pytest.mark.parametrize("rows", ROWS)
def test_rows_that_are_none_change_nothing(study, rows):
    """A selection that is no lesion of the patient is passed over."""
    assert set(callbacks.show_strip(study, "P001", (rows, "frame"), None)) == {no_update}


@pytest.mark.parametrize("given", HOSTILE)
def test_choices_are_not_believed(study, given):
    """Anything may come; the page shows what is offered."""
    told = callbacks.show_trajectory(study, "P001", dict.fromkeys(callbacks.FIELDS, given))[2]
    assert told.startswith("Volume of mineral, all compartments")
    assert callbacks.show_strip(study, "P001", ([{"lesion_id": 1}], given), given)[3] == ["P001", 1, "frame"]
    assert callbacks.show_tree(study, "P001", given, given)[0].layout.xaxis.title.text == "Years since baseline"


def test_the_lesion_of_another_patient_is_not_shown(study):
    """P002 has lesion 1 alone: lesion 4 of P001 is not there, and lesion 1 is its own."""
    assert set(callbacks.show_strip(study, "P002", ([{"lesion_id": 4, "patient_id": "P001"}], "frame"), None)) == {
        no_update
    }
    shown = plain(callbacks.show_strip(study, "P002", ([{"lesion_id": 1, "patient_id": "P001"}], "frame"), None))
    assert "/images/P002/V1/frame_0001.png" in shown
    assert "P001" not in shown


def test_what_is_held_is_not_sent_again(study):
    """The table tells its first selection: the page has it already."""
    assert set(callbacks.show_strip(study, "P001", ([{"lesion_id": 1}], "frame"), ["P001", 1, "frame"])) == {no_update}
    title = callbacks.show_strip(study, "P001", ({"ids": ["2"]}, "frame"), ["P001", 1, "frame"])[1]
    assert title == "Lesion 2 at all visits"
    other = callbacks.show_strip(study, "P001", ([{"lesion_id": 1}], "frame"), ["P002", 1, "frame"])
    assert other[3] == ["P001", 1, "frame"]


def test_an_answer_says_whose_it_is(study):
    """Trajectory, pictures and tree tell their patient, so that the page can ask anew."""
    assert callbacks.show_trajectory(study, "P001", {})[-1] == "P001"
    assert callbacks.show_strip(study, "P001", ([{"lesion_id": 1}], "frame"), None)[-1][0] == "P001"
    assert callbacks.show_tree(study, "P001", [], "years")[-1] == "P001"


def test_the_tree_follows_the_time_axis(study):
    """Tree and trajectory have the same time."""
    assert callbacks.show_tree(study, "P001", [], "age")[0].layout.xaxis.title.text == "Age (years)"
    told = callbacks.show_tree(study, "P001", ["alone"], "years")[2]
    assert "merged into lesion 1" in told
    assert set(callbacks.show_tree(study, "P003", [], "years")) == {no_update}
