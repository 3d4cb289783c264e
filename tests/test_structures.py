"""Label maps of another program: which names they have, what these are, and where they may lie."""

from __future__ import annotations

import csv
import hashlib
import json
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
import pytest
import SimpleITK as sitk

from monitor import anatomy, check, grid, lesions, pipeline, scan, stages, store, structures, study
from monitor.types import Registration, ScanError
from tests.conftest import SHARED, needs_data
from tests.made import Ball, limb, within

HIP = SHARED / "hip-ct"


def flesh() -> sitk.Image:
    """Return a small scan in the plane of no axis: water all over."""
    image = sitk.GetImageFromArray(np.zeros((8, 10, 12), np.int16))
    image.SetSpacing((0.8, 0.9, 2.0))
    image.SetOrigin((5.0, -7.0, 30.0))
    return image


def numbered() -> np.ndarray:
    """Return three boxes that do not touch, numbered 1, 2 and 7."""
    labels = np.zeros((8, 10, 12), np.uint8)
    labels[1:4, 1:4, 1:4], labels[4:7, 5:9, 2:5], labels[2:6, 2:7, 8:11] = 1, 2, 7
    return labels


def written(path: Path, labels: np.ndarray, like: sitk.Image | None = None) -> Path:
    sitk.WriteImage(grid.image_like(labels, flesh() if like is None else like), str(path))
    return path


def names(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def with_table(path: Path, **named: int) -> Path:
    """Write a map that holds a table of names in its extension, as TotalSegmentator writes it."""
    held = nibabel.load(written(path, numbered()))
    rows = "\n".join(
        f'<Label Key="{n}" Red="0" Green="1" Blue="0" Alpha="1"><![CDATA[{name}]]></Label>' for name, n in named.items()
    )
    text = f"<CaretExtension><VolumeInformation><LabelTable>{rows}</LabelTable></VolumeInformation></CaretExtension>"
    held.header.extensions.append(nibabel.nifti1.Nifti1Extension(0, text.encode()))
    nibabel.save(held, path.with_name(f"with_{path.name}"))
    return path.with_name(f"with_{path.name}")


def test_every_known_name_has_a_kind_and_the_classes_are_whole() -> None:
    """The 117 classes of TotalSegmentator 2 are numbered without gaps; no name is there twice."""
    with structures.KNOWN.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [int(row["label"]) for row in rows if row["label"]] == list(range(1, 118))
    assert len({row["name"] for row in rows}) == len(rows)
    assert {row["kind"] for row in rows} == set(structures.KINDS)
    page = (structures.KNOWN.resolve().parent / "README.md").read_text(encoding="utf-8")
    assert hashlib.sha256(structures.KNOWN.read_bytes()).hexdigest() in page


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("vertebrae_L6", "bone"),
        ("Rib_right_3", "bone"),
        ("left femur", "bone"),
        ("tibia_l", "bone"),
        ("Skeleton", "bone"),
        ("aorta", "vessel"),
        ("femoral_artery_right", "vessel"),
        ("heart_ventricle_left", "vessel"),
        ("kidney", "organ"),
        ("gluteus-medius-left", "muscle"),
        ("skin", "other"),
    ],
)
def test_names_tell_what_a_structure_is(tmp_path: Path, name: str, kind: str) -> None:
    """Whatever side, number and hand wrote it; and the name stays as it was given."""
    labels = (numbered() == 1).astype(np.uint8)
    found = structures.read(
        written(tmp_path / "m.nii.gz", labels), names(tmp_path / "n.csv", f"label,name\n1,{name}\n"), flesh()
    )
    assert (found.names, found.kinds) == ({1: name}, {1: kind})
    assert np.array_equal(found.of_kind(kind), labels > 0)


def test_names_come_from_the_image_itself(tmp_path: Path) -> None:
    """The extension that TotalSegmentator writes is read; what the study says instead goes before."""
    path = with_table(tmp_path / "m.nii.gz", aorta=1, femur_left=2, psoas=7, brain=9)
    found = structures.read(path, None, flesh())
    assert found.names == {1: "aorta", 2: "femur_left", 7: "psoas"}
    assert found.kinds == {1: "vessel", 2: "bone", 7: "muscle"}
    given = names(tmp_path / "n.json", json.dumps({"0": "background", "1": "liver", "2": "hip_left", "7": "colon"}))
    assert structures.read(path, given, flesh()).names == {1: "liver", 2: "hip_left", 7: "colon"}


def test_the_numbers_of_totalsegmentator_are_ours_to_name(tmp_path: Path) -> None:
    """Where the study says that the numbers are those of TotalSegmentator 2, no file of names is needed."""
    found = structures.read(written(tmp_path / "m.nrrd", numbered() * 13), structures.KNOWN, flesh())
    assert found.names == {13: "lung_middle_lobe_right", 26: "vertebrae_S1", 91: "skull"}


def test_a_map_may_be_a_box_of_the_scan_in_any_order_of_axes(tmp_path: Path) -> None:
    """Invariance: cut out and turned, the map lands on the voxels that it was cut from; beyond it is nothing."""
    whole = grid.image_like(numbered(), flesh())
    part = sitk.DICOMOrient(whole[1:11, 2:9, 1:7], "PIR")
    sitk.WriteImage(part, str(tmp_path / "part.nii.gz"))
    given = names(tmp_path / "n.csv", "label,name\n1,aorta\n2,hip_left\n7,liver\n")
    expected = np.zeros_like(numbered())
    expected[1:7, 2:9, 1:11] = numbered()[1:7, 2:9, 1:11]
    assert np.array_equal(structures.read(tmp_path / "part.nii.gz", given, flesh()).labels, expected)


def test_a_map_between_or_beyond_the_voxels_is_refused(tmp_path: Path) -> None:
    """Another spacing, half a voxel aside, or a box that the scan does not hold: nothing is resampled."""
    given = names(tmp_path / "n.csv", "label,name\n1,aorta\n2,hip_left\n7,liver\n")
    coarse, aside, beyond = (grid.image_like(numbered(), flesh()) for _ in range(3))
    coarse.SetSpacing((0.8, 0.9, 2.5))
    aside.SetOrigin((5.4, -7.0, 30.0))
    beyond.SetOrigin((5.8, -7.0, 30.0))
    for wrong in (coarse, aside, beyond):
        sitk.WriteImage(wrong, str(tmp_path / "m.nrrd"))
        with pytest.raises(ScanError, match="a mask must lie on its scan's grid") as caught:
            structures.read(tmp_path / "m.nrrd", given, flesh())
        assert caught.value.code == "mask-grid"


def folder_of(folder: Path, **parts: np.ndarray) -> Path:
    folder.mkdir()
    for name, mask in parts.items():
        written(folder / f"{name}.nii.gz", mask.astype(np.uint8))
    return folder


def test_a_folder_holds_an_image_of_each(tmp_path: Path) -> None:
    """Files are named by their structures; an empty one says nothing, and other files are passed over."""
    labels = numbered()
    folder = folder_of(tmp_path / "all", aorta=labels == 1, femur_left=labels == 2, brain=labels == 99)
    names(folder / "statistics.json", "{}")
    found = structures.read(folder, None, flesh())
    assert set(found.names.values()) == {"aorta", "femur_left"}
    assert np.array_equal(found.of_kind("vessel"), labels == 1)
    assert np.array_equal(found.of_kind("bone"), labels == 2)
    odd = folder_of(tmp_path / "odd", Zq_thing=labels == 1)
    with pytest.raises(ScanError, match="labels 1 have neither") as caught:
        structures.read(odd, None, flesh())
    assert "Zq" not in str(caught.value)
    told = names(tmp_path / "n.csv", "label,name,kind\n1,zq_thing,Bone\n")
    assert structures.read(odd, told, flesh()).kinds == {1: "bone"}


def test_structures_of_a_folder_do_not_overlap(tmp_path: Path) -> None:
    """One voxel cannot be two structures: which is right is not ours to say."""
    labels = numbered()
    folder = folder_of(tmp_path / "all", aorta=labels == 1, femur_left=labels > 0)
    with pytest.raises(ScanError, match="files 1 and 2 of the folder, by alphabet, do") as caught:
        structures.read(folder, None, flesh())
    assert caught.value.code == "structures-overlap"
    (tmp_path / "none").mkdir()
    with pytest.raises(ScanError, match="must hold a NIfTI file of each"):
        structures.read(tmp_path / "none", None, flesh())


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("n.csv", "label,name\n1,aorta\n2,hip_left\n", "labels 7 have none"),
        ("n.csv", "label,name\n1,aorta\n2,Zq_Mary\n7,liver\n", "labels 2 have neither"),
        ("n.csv", "label,name,kind\n1,aorta\n2,=1+1,bone\n7,liver\n", "name must match .* see labels 2"),
        ("n.csv", "label,name,kind\n1,aorta\n2,Total,bone\n7,liver\n", "not be total; see labels 2"),
        ("n.csv", "label,name\n1,aorta\n2,aorta\n7,liver\n", "a name of its own"),
        ("n.csv", "label,name\n1,aorta\n1,liver\n2,hip\n7,liver\n", "label 1 has two"),
        ("n.csv", "label,name,kind\n1,aorta,tube\n", "a kind other than bone"),
        ("n.csv", "number,name\n1,aorta\n", "a table without these columns"),
        ("n.csv", "label,name\none,aorta\n", "no whole number"),
        ("n.json", '["aorta"]', "other JSON"),
        ("n.json", '{"1": 2}', "other JSON"),
        ("n.json", "{", "got JSONDecodeError"),
        ("n.csv", "\0", "without these columns|got Error"),
    ],
)
def test_names_that_cannot_be_used_are_refused(tmp_path: Path, file: str, text: str, message: str) -> None:
    """Every label has one name of its own and a kind; messages give numbers, for a name may be a person's."""
    with pytest.raises(ScanError, match=message) as caught:
        structures.read(written(tmp_path / "m.nii.gz", numbered()), names(tmp_path / file, text), flesh())
    assert caught.value.code == "structures-names"
    assert "Zq" not in str(caught.value)


def test_numbers_without_names_are_refused(tmp_path: Path) -> None:
    """Nobody guesses which program's numbers they are; and an image of HU is no label map."""
    with pytest.raises(ScanError, match="labels 1, 2, 7 have none"):
        structures.read(written(tmp_path / "m.nii.gz", numbered()), None, flesh())
    with pytest.raises(ScanError, match="numbered up to 10000"):
        structures.read(written(tmp_path / "n.nii.gz", numbered().astype(np.uint16) * 9000), None, flesh())


def test_bones_in_the_air_are_refused(tmp_path: Path) -> None:
    """A map of another scan on the same grid is told by what lies under it."""
    air = grid.image_like(np.where(numbered() == 2, -1000, 0).astype(np.int16), flesh())
    given = names(tmp_path / "n.csv", "label,name\n1,aorta\n2,hip_left\n7,liver\n")
    with pytest.raises(ScanError, match="100% of their voxels are air of this scan") as caught:
        structures.read(written(tmp_path / "m.nii.gz", numbered()), given, air)
    assert caught.value.code == "structures-place"


# --- in the line -----------------------------------------------------------------------------------------------------


def nodules(folder: Path, **columns: str) -> tuple[Path, scan.Scan]:
    """Write a study of one limb with two nodules, and a map that calls one bone, one's place a muscle."""
    image = limb([Ball((10.0, 8.0, 0.0), 5.0), Ball((10.0, -10.0, 0.0), 4.0)])
    labels = np.zeros(image.array.shape, np.uint8)
    labels[within(image, (10.0, 8.0, 0.0), 8.0)] = 2
    labels[within(image, (10.0, -10.0, 0.0), 8.0)] = 1
    folder.mkdir(exist_ok=True)
    sitk.WriteImage(image.image, str(folder / "a.nii.gz"))
    written(folder / "map.nii.gz", labels, image.image)
    written(folder / "lesions.nii.gz", (labels == 1).astype(np.uint8), image.image)
    names(folder / "names.csv", "label,name\n1,soleus_left\n2,fibula_left\n")
    row = {"patient_id": "P1", "visit_id": "a", "date": "2020-01-01", "path": "a.nii.gz", "kvp": "120", **columns}
    pd.DataFrame([row]).to_csv(folder / "visits.csv", index=False)
    return folder, image


def test_bones_are_believed_and_the_others_name_compartments(tmp_path: Path) -> None:
    """The nodule that the map calls bone is no lesion; the other's compartment is the muscle's name."""
    alone = pipeline.follow(nodules(tmp_path / "alone")[0])
    assert alone.tables["lesions"]["compartment"].tolist() == ["muscle_or_fascia"] * 2
    given = {"structures_mask": "map.nii.gz", "structures_names": "names.csv"}
    folder, image = nodules(tmp_path / "named", **given)
    results = pipeline.follow(folder, tmp_path / "results")
    assert results.tables["lesions"]["compartment"].tolist() == ["soleus_left"]
    assert "soleus_left" in set(results.tables["burden"]["compartment"])
    skeleton = sitk.ReadImage(str(tmp_path / "results" / "images" / "P1" / "a" / "skeleton.nii.gz"))
    assert grid.array(skeleton)[within(image, (10.0, 8.0, 0.0), 8.0)].all()
    assert len(check.check(folder).refused) == 0


def test_what_an_earlier_visit_says_does_not_take_the_bones_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second pass corrects our own skeleton by the earliest visit's, and puts the given bones back."""
    folder, image = nodules(tmp_path / "study", structures_mask="map.nii.gz", structures_names="names.csv")
    (visit,) = study.read_study(folder).patients[0].visits
    unit = stages.Unit(visit, tmp_path, stages.key_of(visit))
    stages.look(unit)
    first = stages.Unit(visit, tmp_path, "first")
    way = store.finish(tmp_path, "way", lambda aside: store.write_transform(aside, Registration.identity()))
    monkeypatch.setattr(
        stages, "known_skeleton", lambda *args: replace(args[3], skeleton=np.zeros(image.array.shape, bool))
    )
    done = stages.measure(stages.Placed(unit, first, way), stages.Placed(first, first, None))
    skeleton = grid.array(store.read_labels(done.measured / "skeleton.nii.gz")) > 0
    assert np.array_equal(skeleton, within(image, (10.0, 8.0, 0.0), 8.0))


def test_a_readers_masks_go_before(tmp_path: Path) -> None:
    """A reader's skeleton stays as it is (the limb's own bone is none, then), and a reader's compartments are kept."""
    given = {"structures_mask": "map.nii.gz", "structures_names": "names.csv"}
    bare = {"skeleton_mask": "lesions.nii.gz", "compartment_mask": "map.nii.gz"}
    folder, _ = nodules(tmp_path / "study", **given, **bare)
    found = pipeline.follow(folder).tables["lesions"]
    assert sorted(found["compartment"]) == ["2", "muscle_or_fascia"]


def test_vessels_are_kept_for_later_steps(tmp_path: Path) -> None:
    """What ``look`` read of the map is there for the other stages, kinds and all."""
    folder, image = nodules(tmp_path / "study", structures_mask="map.nii.gz", structures_names="names.csv")
    names(folder / "names.csv", "label,name\n1,popliteal_artery_left\n2,fibula_left\n")
    (visit,) = study.read_study(folder).patients[0].visits
    unit = stages.Unit(visit, tmp_path, stages.key_of(visit))
    stages.look(unit)
    found = stages.known_structures(unit)
    assert found is not None
    assert np.array_equal(found.of_kind("vessel"), within(image, (10.0, -10.0, 0.0), 8.0))


def test_what_lies_in_a_vessel_is_given_per_cm_of_it(tmp_path: Path) -> None:
    """The sum of a named vessel stands per cm beside itself; other compartments and the total have no such row."""
    folder, _ = nodules(tmp_path / "study", structures_mask="map.nii.gz", structures_names="names.csv")
    names(folder / "names.csv", "label,name\n1,popliteal_artery_left\n2,fibula_left\n")
    burden = pipeline.follow(folder).tables["burden"]
    own = burden[burden["compartment"] == "popliteal_artery_left"].set_index("quantity")
    # A ball of 8 mm is a stump of 16 mm.
    per_cm = own["value"]["volume_mm3_per_cm"]
    assert own["value"]["volume_mm3"] / per_cm == pytest.approx(1.6, abs=0.25)
    assert own["unit"]["volume_mm3_per_cm"] == "mm3/cm"
    assert set(burden.loc[burden["quantity"].str.endswith("_per_cm"), "compartment"]) == {"popliteal_artery_left"}


def test_a_map_that_cannot_be_used_refuses_its_scan(tmp_path: Path) -> None:
    """It is a row of ``refused`` with its code, alike for ``check`` and a run; names without a map are a bad row."""
    folder, _ = nodules(tmp_path / "study", structures_mask="map.nii.gz")
    ran, checked = pipeline.follow(folder).tables["refused"], check.check(folder).refused
    assert ran["code"].tolist() == ["structures-names"]
    pd.testing.assert_frame_equal(ran, checked)
    for columns, code in (
        ({"structures_mask": "none.nii.gz"}, "no-mask"),
        ({"structures_mask": "map.nii.gz", "structures_names": "none.csv"}, "no-mask"),
        ({"structures_names": "names.csv"}, "bad-value"),
    ):
        assert study.read_study(nodules(tmp_path / "study", **columns)[0]).refused["code"].tolist() == [code]


def test_the_word_for_totalsegmentator_names_the_numbers(tmp_path: Path) -> None:
    """``totalsegmentator-v2`` stands for our table; the key of a visit follows the map and its names."""
    folder, _ = nodules(tmp_path / "study", structures_mask="map.nii.gz", structures_names="TotalSegmentator-v2")
    (visit,) = study.read_study(folder).patients[0].visits
    assert visit.structures_names == structures.KNOWN
    found = stages.read_structures(visit, stages.load(visit))
    assert found is not None
    assert found.names == {1: "spleen", 2: "kidney_right"}
    before = stages.key_of(visit)
    written(folder / "map.nii.gz", np.ones(stages.load(visit).array.shape, np.uint8), stages.load(visit).image)
    assert stages.key_of(visit) != before


# --- real data -------------------------------------------------------------------------------------------------------


@needs_data
def test_a_real_map_of_totalsegmentator_is_read_and_believed() -> None:
    """Independent value: 41 structures with names of their own, 9885 voxels of bone; none of them holds a lesion."""
    image = scan.read(HIP / "example_ct_sm.nii.gz")
    found = structures.read(HIP / "example_seg.nii.gz", None, image.image)
    bones = found.of_kind("bone")
    assert len(found.names) == 41
    assert bones.sum() == 9885
    assert found.names == structures.read(HIP / "example_seg.nii.gz", structures.KNOWN, image.image).names
    ours = anatomy.find(image)
    before = lesions.find(image, ours).labels
    (visit,) = [study.Visit("P1", "a", pd.Timestamp("2020-01-01").date(), HIP, "")]
    added = stages.with_bones(visit, ours.skeleton, ours.body, found)
    after = lesions.find(image, stages.replace(ours, skeleton=added)).labels
    assert (before[bones] > 0).sum() > 100
    assert (after[bones] > 0).sum() == 0
    assert after.max() < before.max()


@needs_data
def test_a_real_map_whose_header_was_not_cut_with_it_is_refused() -> None:
    """The map is of the upper 30 slices and its header says the lower ones: the bones lie in the air."""
    image = scan.read(HIP / "example_ct.nii.gz")
    with pytest.raises(ScanError, match="20% of their voxels are air") as caught:
        structures.read(HIP / "example_seg.nii.gz", None, image.image)
    assert caught.value.code == "structures-place"
