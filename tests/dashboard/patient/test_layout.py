"""The page of one patient, as it comes at first."""

import json
import re

import pytest

from dashboard import patient
from dashboard.study import open_study
from tests.dashboard.patient.rich import large_tables, write


def page(study, name):
    return json.dumps(patient.layout(study, name), default=lambda one: one.to_plotly_json(), ensure_ascii=False)


def test_the_first_figures_are_in_the_page(study):
    """No second round is needed: figure, words, verdict, lesions, pictures and tree are there."""
    told = page(study, "P001")
    assert '"patient-figure"' in told
    assert "increased by" in told
    assert "/images/P001/V5/frame_0001.png" in told
    assert '"tree-figure"' in told
    assert '"report-links"' in told
    assert "7.5 years old at baseline" in told
    assert "Dose so far: dose-length product" in told


def test_every_part_is_in_the_page(study):
    """Scans, events, trends and published limits have a part each."""
    told = page(study, "P001")
    for part in ("Scans", "Trends", "Published limits", "Treatments and events"):
        assert f'"{part}"' in told
    assert "Sevrukov 2005" in told
    assert "Not measured" not in told
    assert "slice spacing is not uniform" in page(study, "P002")


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("P003", "One visit: there is nothing to compare yet."),
        ("P004", "No lesion is recorded."),
        ("P900", "the folder holds no image"),
    ],
)
def test_pages_of_little(study, name, told):
    """One visit, no lesion, and nothing but refusals are pages too."""
    found = page(study, name)
    assert told in found
    assert '"tree-figure"' not in found


def test_no_page_names_another_patient(study):
    """But for the links to the one before and after."""
    for name in study.ids:
        others = set(re.findall(r"P\d{3}", page(study, name).replace(f"/patient/{name}", ""))) - {name}
        place = study.ids.index(name)
        assert others <= set(study.ids[max(place - 1, 0) : place + 2])


def test_ids_are_there_once(study):
    """Two parts of one id would be one part of two minds."""
    told = json.loads(page(study, "P001"))
    ids = []

    def walk(one):
        if isinstance(one, dict):
            if "props" in one and isinstance(one["props"].get("id"), str):
                ids.append(one["props"]["id"])
            for value in one.values():
                walk(value)
        elif isinstance(one, list):
            for value in one:
                walk(value)

    walk(told)
    assert len(ids) == len(set(ids))


def test_a_patient_with_many_lesions_has_a_page(tmp_path):
    """50 lesions at 8 visits: a row each, and the pictures of one."""
    found = page(open_study(write(tmp_path / "results", large_tables())), "P001")
    assert len(re.findall(r'"key": "\d+"', found)) == 50
    assert found.count('"visit frame') + found.count('"visit native') == 8


def test_an_unknown_patient_has_no_page(study):
    """The shell asks for known ids alone; any other is an error, not someone else's page."""
    with pytest.raises(KeyError, match="P777"):
        patient.layout(study, "P777")
