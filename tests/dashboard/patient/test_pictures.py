"""Where a patient's pictures are."""

from dashboard.patient import pictures


def test_pictures_come_by_the_allow_list(study):
    """Names outside the list and ids that are paths have no address; another patient's picture is not given."""
    there = pictures.of_visit(study.folder, "P001", "V5")
    assert there.address("qc.png") == "/images/P001/V5/qc.png"
    assert there.address("lesions.nii.gz") is None
    assert there.address("../V2/lesion_0001.png") is None
    assert pictures.of_visit(study.folder, "P001", "../P002").address("frame_0001.png") is None
    assert pictures.of_visit(study.folder, "..", "images").names == {}


def test_a_scan_of_several_has_its_own_picture(tmp_path):
    """A visit of two scans has a folder for each; the one asked for comes first, then any."""
    for scan in ("S1", "S2"):
        path = tmp_path / "images" / "P1" / "V1" / scan / "frame_0001.png"
        path.parent.mkdir(parents=True)
        path.write_bytes(b"")
    there = pictures.of_visit(tmp_path, "P1", "V1")
    assert there.address("frame_0001.png", "S2") == "/images/P1/V1/S2/frame_0001.png"
    assert there.address("frame_0001.png") == "/images/P1/V1/S1/frame_0001.png"
