"""What a choice leads to: the callbacks' functions called directly, with what a browser might send."""

from dataclasses import replace

import pandas as pd
import pytest
from dash import no_update

from dashboard import callbacks
from monitor import tables

WHOLE = ("volume_mm3", "total", "")


def click(patient: str) -> dict:
    return {"points": [{"customdata": [patient, "V1"], "x": 0, "y": 1}]}


def rows(**values: object) -> list[dict]:
    return [values]


def text_of(component: object) -> str:
    """Return all words of a part of the page."""
    children = getattr(component, "children", component)
    if isinstance(children, list | tuple):
        return " ".join(text_of(child) for child in children)
    return text_of(children) if hasattr(children, "children") else str(children)


def test_an_address_selects_the_row(results):
    """Opening a patient's address marks the row and leaves the address."""
    assert callbacks.choose(results, "place", ("/patient/P002", None, None)) == (no_update, {"ids": ["P002"]})
    assert callbacks.choose(results, None, ("/", None, None)) == (no_update, {"ids": []})


def test_a_row_changes_the_address(results):
    """Picking a row opens the patient."""
    picked = callbacks.choose(results, "patients", ("/", rows(patient_id="P002"), None))
    assert picked == ("/patient/P002", no_update)


def test_a_click_on_a_line_changes_both(results):
    """Picking in the figure opens the patient and marks the row."""
    picked = callbacks.choose(results, "cohort-figure", ("/patient/P002", rows(patient_id="P002"), click("P001")))
    assert picked == ("/patient/P001", {"ids": ["P001"]})


@pytest.mark.parametrize(
    ("source", "given"),
    [
        ("patients", ("/patient/P002", rows(patient_id="P002"), None)),
        ("patients", ("/", [], None)),
        ("patients", ("/", rows(patient_id="NOBODY"), None)),
        ("patients", ("/", rows(other="x"), None)),
        ("cohort-figure", ("/", None, click("../../etc"))),
        ("cohort-figure", ("/", None, {"points": []})),
        ("cohort-figure", ("/", None, {"points": [{"x": 1}]})),
    ],
)
def test_nothing_new_or_nonsense_changes_nothing(results, source, given):
    """The patient already shown, nobody, and what no honest browser sends."""
    assert callbacks.choose(results, source, given) == (no_update, no_update)


def test_the_cohort_names_the_chosen(results):
    """The words beside the figure say who is highlighted and how many there are."""
    figure, told = callbacks.show_cohort(results, WHOLE, log=False, path="/patient/P002")
    assert told.startswith("7 patients, ")
    assert "P002 is highlighted. 1 not drawn" in told
    assert figure.layout.yaxis.title.text == "Volume of mineral (mm³)"


def test_units_follow_the_quantity(results):
    """Each axis has its unit; a score has none."""
    titles = [
        callbacks.show_cohort(results, (name, "total", ""), log=False, path="/")[0].layout.yaxis.title.text
        for name in ("excess_hu_mm3", "mass_mg", "agatston")
    ]
    assert titles == ["Excess HU (HU·mm³)", "Mass (mg)", "Agatston score"]


def test_a_patient_is_shown_whole(results):
    """Title, who it is, events, scans with the picture of what was taken, and no refusal."""
    hidden, hint, away, title, about, events, scans, refused = callbacks.show_patient(results, "/patient/P001")
    assert (hidden, hint, away, title, about) == (True, "", False, "P001", "JDM, arm A, 5 visits")
    assert "treatment thiosulfate from 0.08 to 1.10" in events
    assert "no: kernel Br40 and Br64" in text_of(scans)
    assert "/images/P001/V5/qc.png" in str(scans)
    assert refused is None


def test_what_was_refused_is_shown_with_its_patient(results):
    """A refused scan keeps its code and message, with or without other scans."""
    for patient, code in (("P002", "slice-gap"), ("P900", "no-pixels")):
        assert code in text_of(callbacks.show_patient(results, f"/patient/{patient}")[-1])
    assert "No scan of this patient was measured" in callbacks.show_patient(results, "/patient/P900")[-2]


@pytest.mark.parametrize(("path", "said"), [("/", "Pick a patient"), ("/patient/X", "no patient of that name")])
def test_without_a_patient_there_is_a_hint(results, path, said):
    """The page says what to do, or that there is nobody of that name."""
    hidden, hint, away, *_ = callbacks.show_patient(results, path)
    assert (hidden, away) == (False, True)
    assert said in hint


def test_empty_results_are_said(nothing):
    """Nobody was measured: the page stands and says so."""
    assert "no patients" in callbacks.show_patient(nothing, "/")[1]
    assert callbacks.show_cohort(nothing, (None, None, ""), log=False, path="/")[1].startswith("0 patients")
    assert callbacks.show_lesions(nothing, "/")[0] == []


def test_the_verdict_is_a_sentence_with_a_symbol(results):
    """Symbol, colour and words agree."""
    _, described, verdict, style = callbacks.show_course(results, "/patient/P001", "volume_mm3", "total")
    assert text_of(verdict).startswith("▲ Volume of mineral (all compartments) increased by")
    assert style == "verdict tone-more"
    assert "2 of 5 visits are drawn hollow" in described
    assert "Fitted rate" in described


def test_one_visit_has_nothing_to_compare(results):
    """A single visit is ordinary."""
    _, _, verdict, style = callbacks.show_course(results, "/patient/P003", "volume_mm3", "total")
    assert "One visit" in text_of(verdict)
    assert style == "verdict tone-unknown"


def test_the_first_lesion_is_selected(results):
    """Pictures stand at once when a patient is opened."""
    lesions, selected, style = callbacks.show_lesions(results, "/patient/P001")
    assert selected == {"ids": [lesions[0]["key"]]}
    assert style["height"] > 200


def test_a_lesion_offers_its_visits(results):
    """Left the baseline, right the latest, and every visit of the lesion to choose from."""
    title, options, left, _, right, hidden = callbacks.show_pair(results, "/patient/P001", rows(lesion_id=1))
    assert (title, left, right, hidden) == ("Lesion 1", "V2", "V5", False)
    assert [option["value"] for option in options] == ["V1", "V2", "V3", "V4", "V5"]


def test_a_selftest_stands_by_its_patient_alone(results):
    """The panel has the counts of the patient's own rows; without a selftest there is no panel."""
    row = {"patient_id": "P001", "situation": "rescan", "lesion": "grown_50", "true_before_mm3": 100.0}
    row |= {"true_after_mm3": 150.0, "true_change_mm3": 50.0, "change_mm3": 45.0, "right": True}
    tested = replace(results, tables={**results.tables, "selftest": tables.check(pd.DataFrame([row]), "selftest")})
    told = text_of(callbacks.show_selftest(tested, "/patient/P001"))
    assert "1 of 1 true changes were called" in told
    assert "scanned again as before" in told
    assert callbacks.show_selftest(tested, "/patient/P002") is None
    assert callbacks.show_selftest(results, "/patient/P001") is None
    assert callbacks.show_selftest(tested, "/") is None


@pytest.mark.parametrize("selected", [None, [], {}, {"ids": []}, {"ids": ["1e3"]}, rows(lesion_id="x"), rows(a=1)])
def test_no_lesion_hides_the_pictures(results, selected):
    """Nothing selected, or nonsense."""
    assert callbacks.show_pair(results, "/patient/P001", selected)[-1] is True
    assert callbacks.show_picture(results, "/patient/P001", selected, "V1") is None


def test_a_picture_has_its_address_and_words(results):
    """The image says in words what it shows."""
    shown = str(callbacks.show_picture(results, "/patient/P001", {"ids": ["1"]}, "V5"))
    assert "/images/P001/V5/lesion_0001.png" in shown
    assert "alt='Lesion 1 at V5. ▲ grown: 742" in shown


def test_what_became_of_the_lesion_is_said_in_words(results):
    """Place, change and reason stand beside the pictures; nobody's lesion has no words."""
    told = callbacks.show_lesion(results, "/patient/P001", rows(lesion_id=1))
    assert told.startswith("Left thigh. Volume since baseline (mm³): ▲ +287 increased; beyond")
    assert callbacks.show_lesion(results, "/patient/P001", None) == callbacks.show_lesion(results, "/", None) == ""


def test_no_file_is_no_picture(results):
    """Without a file there are words and no broken image."""
    shown = callbacks.show_picture(results, "/patient/P001", rows(lesion_id=12), "V5")
    assert "did not cover" in text_of(shown)
    assert "Img" not in str(shown)
    assert callbacks.show_picture(results, "/patient/P001", rows(lesion_id=1), "../V5") is None
