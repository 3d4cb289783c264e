"""Which files are served: pictures below images, and nothing else whatever is asked."""

import struct

import flask
import pytest

from dashboard import create_app, slices
from tests.dashboard.made import PNG, write_results


def test_a_picture_is_found(folder):
    """Patient, visit and name lead to the file."""
    assert slices.picture(folder, "P001", "V5", "lesion_0001.png").is_file()


@pytest.mark.parametrize(
    ("name", "served"),
    [
        *[(name, True) for name in ("qc.png", "lesion_0001.png", "lesion_123456.png", "frame_0007.png")],
        *[(name, False) for name in ("frame_7.png", "frame_0007.PNG", "frame_0007.png.png", "frames_0007.png")],
        *[(name, False) for name in ("lesion_1234567.png", "frame_٠٠٠٧.png", "xqc.png", "qc_png", "frame_0007.svg")],
    ],
)
def test_names_are_allowed_one_by_one(tmp_path, name, served):
    """A file that lies there is served only under a name of the allow-list."""
    visit = tmp_path / "images" / "P1" / "V1"
    visit.mkdir(parents=True)
    (visit / name).write_bytes(b"x")
    assert (slices.picture(tmp_path, "P1", "V1", name) is not None) is served


@pytest.mark.parametrize(
    "wanted",
    [
        ("P001", "qc.png"),
        ("P001", "V5", "..", "qc.png"),
        ("P001", "V5", "S1", "S1", "qc.png"),
        ("P001", "V5", "lesions.nii.gz"),
        ("P001", "V5", "lesion_1.png"),
        ("P001", "V9", "qc.png"),
        ("..", "tables", "qc.png"),
        ("P001", "..", "qc.png"),
        ("P001", "V5/..", "qc.png"),
        ("", "V5", "qc.png"),
        ("P001", "V5", "qc.png\n"),
        ("P001", "V5", "../../../run.json"),
    ],
)
def test_nothing_else_is_found(folder, wanted):
    """Other files, other folders and odd names are not there."""
    assert slices.picture(folder, *wanted) is None


def test_a_link_out_of_the_folder_is_not_followed(tmp_path):
    """A picture that is a link to elsewhere is not served."""
    (tmp_path / "secret.png").write_bytes(b"x")
    visit = tmp_path / "results" / "images" / "P001" / "V1"
    visit.mkdir(parents=True)
    (visit / "qc.png").symlink_to(tmp_path / "secret.png")
    assert slices.picture(tmp_path / "results", "P001", "V1", "qc.png") is None


def test_a_picture_is_sent_as_one(client):
    """The route answers with a PNG that is not kept by the browser."""
    answer = client.get("/images/P001/V5/qc.png")
    assert (answer.status_code, answer.mimetype) == (200, "image/png")
    assert answer.headers["Cache-Control"] == "no-store"


def test_only_patients_of_the_results_have_pictures(tmp_path):
    """Left over files of another patient are not served; who is known may change with a new run."""
    server, known = flask.Flask("small"), {"P1"}
    for patient in ("P1", "P2"):
        (tmp_path / "images" / patient / "V1").mkdir(parents=True)
        (tmp_path / "images" / patient / "V1" / "qc.png").write_bytes(b"x")
    slices.serve_pictures(server, tmp_path, lambda: known)

    def status(patient):
        return server.test_client().get(f"/images/{patient}/V1/qc.png", buffered=True).status_code

    assert (status("P1"), status("P2")) == (200, 404)
    known.add("P2")
    assert status("P2") == 200


def test_pictures_left_over_are_not_served_by_the_application(tmp_path):
    """The application knows its patients, and hands that on to the route."""
    folder = write_results(tmp_path / "results", {f"{patient}/V1/qc.png": PNG for patient in ("P001", "P999")})
    browser = create_app(folder).server.test_client()
    browser.get("/", buffered=True)
    assert browser.get("/images/P001/V1/qc.png", buffered=True).status_code == 200
    assert browser.get("/images/P999/V1/qc.png", buffered=True).status_code == 404


@pytest.mark.parametrize(
    "path",
    [
        "/images/P001/V5/none.png",
        "/images/P001/V5/lesion_0099.png",
        "/images/P001",
        "/images/P001/V5/x/qc.png",
        "/images/../run.json",
        "/images/%2e%2e/%2e%2e/run.json",
        "/images/P001/..%2f..%2f..%2frun.json/qc.png",
        "/images//etc/passwd",
    ],
)
def test_what_is_not_there_is_404(client, path):
    """Never the page, and never another file."""
    assert client.get(path).status_code in {404, 308}
    assert client.get(path, follow_redirects=True).status_code == 404


def test_a_file_that_is_no_picture_has_no_size(tmp_path):
    """A broken file breaks no page."""
    broken = tmp_path / "x.png"
    assert slices.size_of(broken) is None
    broken.write_bytes(b"no")
    assert slices.size_of(broken) is None
    broken.write_bytes(b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sII", 13, b"IHDR", 608, 228))
    assert slices.size_of(broken) == (608, 228)
