"""The results folder: published whole or not at all, the same bytes for the same results, one run at a time."""

from __future__ import annotations

import csv
import errno
import gzip
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import SimpleITK as sitk
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from monitor import store, tables
from monitor.store import StoreBusyError, StoreError, locked, publish, read_results
from monitor.types import Registration


def results(number: int) -> dict[str, pd.DataFrame]:
    """Make all tables; each row says which publication it is of."""
    found = {name: tables.empty(name) for name in tables.SCHEMAS}
    rows = {
        "patient_id": ["P1", None],
        "lesion_id": [number, None],
        "date": ["2024-02-29", None],
        "volume_mm3": [0.1, np.nan],
    }
    found["lesions"] = tables.check(pd.DataFrame({**rows, "bone_contact": [True, None]}), "lesions")
    return found


def picture(folder: Path, number: int) -> dict[str, Path]:
    work = folder / store.WORK
    part = store.finish(
        work, f"part{number}", lambda aside: (aside / "qc.png").write_text(f"picture {number}") and None
    )
    return {"P1/V0/qc.png": part / "qc.png"}


def published(folder: Path, number: int) -> Path:
    with locked(folder) as root:
        publish(root, results(number), picture(root, number), {"number": number, "start": "now"})
    return folder


def number_of(folder: Path) -> int:
    """Return which publication a folder holds, after checking that all of it is of the same one."""
    number = json.loads((folder / "run.json").read_text())["number"]
    lesions = pq.read_table(folder / "tables" / "lesions.parquet").to_pandas()
    assert lesions["lesion_id"].iloc[0] == number
    assert f",{number}," in (folder / "tables" / "lesions.csv").read_text()
    assert (folder / "images" / "P1" / "V0" / "qc.png").read_text() == f"picture {number}"
    return int(number)


def files(folder: Path) -> dict[str, bytes]:
    kept = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in kept}


def test_what_is_published_is_read_back(tmp_path):
    """Every table comes back with its columns, dtypes and missing values."""
    found = read_results(published(tmp_path / "r", 1))
    for name, table in results(1).items():
        pd.testing.assert_frame_equal(found.tables[name], table)
    assert found.run == {"number": 1, "start": "now"}
    assert number_of(tmp_path / "r") == 1


def test_the_same_results_have_the_same_bytes(tmp_path):
    """Invariance: tables and images do not depend on where or when they are published."""
    one, two = published(tmp_path / "a", 1), published(tmp_path / "b", 1)
    assert files(one / "tables") == files(two / "tables")
    assert files(one / "images") == files(two / "images")
    names = {f"{name}.{kind}" for name in tables.SCHEMAS for kind in ("csv", "parquet")}
    assert set(files(one / "tables")) == names


def test_csv_says_what_people_read(tmp_path):
    """Closed form: ISO days, shortest digits that give the number back, words for flags, nothing for unknown."""
    table = pd.DataFrame(
        {
            "patient_id": ["007", "=1+1", None],
            "date": pd.array(["2024-02-29", None, "1999-12-31"], dtype="datetime64[s]"),
            "lesion_id": [1, None, 3],
            "volume_mm3": [0.1, -2.5, 1e300],
            "mass_mg": [np.nan, np.inf, 1 / 3],
            "bone_contact": [True, False, None],
            "side": ["-", "a,b", "@x"],
        }
    )
    store.write_table(tables.check(table, "lesions"), tmp_path / "t")
    with (tmp_path / "t.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [[row[name] for name in table.columns] for row in rows] == [
        ["007", "2024-02-29", "1", "0.1", "", "true", "'-"],
        ["'=1+1", "", "", "-2.5", "inf", "false", "a,b"],
        ["", "1999-12-31", "3", "1e+300", "0.3333333333333333", "", "'@x"],
    ]
    assert b"\r" not in (tmp_path / "t.csv").read_bytes()


@settings(deadline=None, max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=6), st.floats()),
        max_size=4,
    )
)
def test_no_cell_of_text_is_a_formula(tmp_path, rows):
    """Property: texts and numbers come back from both files, and no text begins as a formula does."""
    table = tables.check(pd.DataFrame(rows, columns=["note", "estimate"]), "trends")
    (tmp_path / "tables").mkdir(exist_ok=True)
    store.write_table(table, tmp_path / "tables" / "trends")
    with (tmp_path / "tables" / "trends.csv").open(newline="", encoding="utf-8") as stream:
        read = [(row["note"], row["estimate"]) for row in csv.DictReader(stream)]
    for (text, number), (cell, digits) in zip(rows, read, strict=True):
        lines = text.replace("\r\n", "\n").replace("\r", "\n")
        assert cell == (f"'{lines}" if text.startswith(store.FORMULA_STARTS) else lines)
        assert np.array_equal(float(digits or "nan"), number, equal_nan=True)
    pd.testing.assert_frame_equal(store.read_table(tmp_path, "trends"), table)


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20"])
def test_what_a_spreadsheet_runs_is_made_text(start):
    """Lines that begin with an empty one, and full-width signs, are formulas to some spreadsheets too."""
    assert str(store.harmless(f"{start}1+1")).startswith("'")
    assert store.harmless(f"1{start}1") == f"1{start}1".replace("\r", "\n")


def test_a_new_publication_replaces_all_of_the_old(tmp_path):
    """Images that the new run does not have are gone, and nothing is left in between."""
    folder = published(tmp_path / "r", 1)
    with locked(folder) as root:
        publish(root, results(2), {}, {"number": 2})
    assert files(folder / "images") == {}
    assert sorted(path.name for path in folder.iterdir()) == [store.WORK, "images", "run.json", "tables"]


def test_only_one_run_holds_a_folder(tmp_path):
    """A second run is refused while the first works, and welcome after it."""
    with (
        locked(tmp_path / "r"),
        pytest.raises(StoreBusyError, match="one run may write to a results folder at a time; another holds"),
        locked(tmp_path / "r"),
    ):
        pass
    published(tmp_path / "r", 1)


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    """A folder with images of its own is not taken for results, and a file is no folder."""
    (tmp_path / "photos" / "images").mkdir(parents=True)
    (tmp_path / "photos" / "images" / "a.png").write_text("mine")
    with (
        pytest.raises(StoreError, match=r"must be new, empty or hold results; .*photos holds images"),
        locked(tmp_path / "photos"),
    ):
        pass
    assert files(tmp_path / "photos") == {"images/a.png": b"mine"}
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(StoreError, match=r"a results folder must be writable; .*file is not: Not a directory"),
        locked(tmp_path / "file"),
    ):
        pass


@pytest.mark.parametrize("step", ["mkdir", "open"])
def test_a_folder_that_cannot_be_written_is_told(tmp_path, monkeypatch, step):
    """A read-only folder or disk is named with what the system says, before anything is measured."""
    folder = published(tmp_path / "r", 1)

    def read_only(*_, **__):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(Path, step, read_only)
    with (
        pytest.raises(StoreError, match=r"a results folder must be writable; .*/r is not: Read-only file system"),
        locked(folder),
    ):
        pass
    monkeypatch.undo()
    assert number_of(folder) == 1


def test_what_is_not_published_cannot_be_read(tmp_path):
    """An empty folder, a damaged table and damaged JSON each say so."""
    with pytest.raises(StoreError, match=r"must hold run\.json, which is written last"):
        read_results(tmp_path)
    folder = published(tmp_path / "r", 1)
    (folder / "tables" / "lesions.parquet").write_bytes(b"PAR1")
    with pytest.raises(StoreError, match=r"results must be as a run left them; .* is damaged"):
        read_results(folder)
    (published(folder, 2) / "run.json").write_text("{")
    with pytest.raises(StoreError, match=r"results must be as a run left them; .* is damaged"):
        read_results(folder)


def test_results_that_change_while_being_read_are_read_again(tmp_path, monkeypatch):
    """A reader that meets a publication gets the new results whole; one that never gets through says so."""
    folder = published(tmp_path / "r", 1)
    plain, left = store.read_table, [1]

    def meanwhile(root, name, **which):
        if left[0] and name == "trends":
            left[0] -= 1
            published(folder, 5 - left[0])
        return plain(root, name, **which)

    monkeypatch.setattr(store, "read_table", meanwhile)
    assert read_results(folder).run["number"] == 5
    left[0] = 3
    with pytest.raises(StoreError, match=r"must stand still to be read; .* was published anew 3 times"):
        read_results(folder)


@pytest.mark.parametrize("step", ["_sync", "_link", "write_table", "_write"])
def test_a_full_disk_leaves_the_old_results(tmp_path, monkeypatch, step):
    """Wherever the disk fills up, the error names the folder, no half is left and the old results stand."""
    folder = published(tmp_path / "r", 1)
    with locked(folder) as root:
        images = picture(root, 2)

        def full(*_):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr(store, step, full)
        with pytest.raises(StoreError, match=r"could not be written to .*/r: No space left on device; nothing was"):
            publish(root, results(2), images, {"number": 2})
    assert not (folder / store.STAGING).exists()
    assert number_of(folder) == 1


def test_a_table_of_unknown_columns_leaves_the_old_results(tmp_path):
    """A fault of ours publishes nothing either."""
    folder = published(tmp_path / "r", 1)
    with locked(folder) as root, pytest.raises(ValueError, match="table trends has no column colour"):
        publish(root, {**results(2), "trends": pd.DataFrame({"colour": ["red"]})}, {}, {"number": 2})
    assert not (folder / store.STAGING).exists()
    assert number_of(folder) == 1


KILLED = """
import os, shutil, signal, sys
from pathlib import Path
from types import SimpleNamespace
sys.path[:0] = [sys.argv[2], sys.argv[2] + "/tests"]
from monitor import store
from test_store import picture, published

def deadly(holder, name):
    plain = getattr(holder, name)
    def call(*args, **kwargs):
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return plain(*args, **kwargs)
    setattr(holder, name, call)

old, new = published(Path(sys.argv[1]) / "old", 1), published(Path(sys.argv[1]) / "new", 2)
with store.locked(old) as root:
    picture(root, 2)
# What is tried here is the swap: the tables lie ready.
store.tables = SimpleNamespace(SCHEMAS=store.tables.SCHEMAS, check=lambda table, name: None)
def lay(table, stem):
    for kind in ("csv", "parquet"):
        shutil.copy(new / "tables" / f"{stem.name}.{kind}", stem.parent)
store.write_table = lay
found = dict.fromkeys(store.tables.SCHEMAS)
for step in range(1, int(sys.argv[3]) + 1):
    folder = old.with_name(str(step))
    shutil.copytree(old, folder)
    if os.fork() == 0:
        left = [-1]
        deadly(store, "_sync_folder")
        deadly(shutil, "rmtree")
        for name in ("rename", "unlink", "mkdir"):
            deadly(Path, name)
        with store.locked(folder) as root:
            left[0] = step
            store.publish(root, found, {"P1/V0/qc.png": root / ".work" / "part2" / "qc.png"}, {"number": 2})
        os._exit(0)
    print(os.wait()[1])
"""
"""Publishes over old results and is killed at the nth step that changes the folder."""

STEPS = 30
"""More than there are."""


def files_of(folder: Path) -> dict[str, bytes]:
    there = [folder / "run.json", *(folder / "tables").iterdir(), *(folder / "images").rglob("*.png")]
    return {str(path.relative_to(folder)): path.read_bytes() for path in there}


def test_one_table_is_published_beside_the_others(tmp_path):
    """All else stays to the byte, the pictures and run.json too, and the table reads back."""
    folder = published(tmp_path / "results", 1)
    before = files_of(folder)
    table = tables.check(pd.DataFrame({"patient_id": ["P1"], "situation": ["rescan"]}), "selftest")
    with locked(folder) as root:
        store.publish_table(root, table, "selftest")
    after = files_of(folder)
    assert {name for name in after if after[name] != before[name]} == {"tables/selftest.csv", "tables/selftest.parquet"}
    assert set(after) == set(before)
    pd.testing.assert_frame_equal(read_results(folder).tables["selftest"], table)
    assert number_of(folder) == 1


def test_a_table_that_the_disk_does_not_take_changes_nothing(tmp_path, monkeypatch):
    """The results before stay as they were, and nothing lies around."""
    folder = published(tmp_path / "results", 1)
    before = files_of(folder)

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(store, "write_table", full)
    with (
        locked(folder) as root,
        pytest.raises(StoreError, match=r"table selftest could not be written to .*No space left"),
    ):
        store.publish_table(root, tables.empty("selftest"), "selftest")
    assert files_of(folder) == before
    assert not (folder / store.STAGING).exists()


def test_the_study_is_known_to_its_owner_alone(tmp_path):
    """Where the study lies stands in the work folder, readable by nobody else, and survives the sweep of parts."""
    folder = published(tmp_path / "results", 1)
    store.note_study(folder / store.WORK, tmp_path / "study")
    store.prune(folder / store.WORK, set())
    assert store.noted_study(folder) == tmp_path / "study"
    assert (folder / store.WORK / store.STUDY).stat().st_mode & 0o077 == 0
    (folder / store.WORK / store.STUDY).unlink()
    with pytest.raises(StoreError, match="must know the study"):
        store.noted_study(folder)


def test_a_kill_at_any_step_leaves_old_or_new_results(tmp_path):
    """After kill -9 at each step a reader sees one publication or none, and the next run makes it one whole."""
    command = [sys.executable, "-c", KILLED, str(tmp_path), str(Path(__file__).parents[1]), str(STEPS)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    killed = [int(line) == 9 for line in done.stdout.split()]
    assert killed == sorted(killed, reverse=True)
    assert 15 < sum(killed) < STEPS
    after = []
    for step in range(1, STEPS + 1):
        folder = tmp_path / str(step)
        if (folder / "run.json").exists():
            assert number_of(folder) in (1, 2)
        with locked(folder):
            after.append(number_of(folder))
        assert sorted(path.name for path in folder.iterdir()) == [store.WORK, "images", "run.json", "tables"]
    assert after == sorted(after)
    assert {*after[: sum(killed)]} == {1, 2}


def test_a_finished_part_is_whole_or_absent(tmp_path):
    """A part that fails half way leaves nothing behind; of two equal parts one stays; none can be edited."""
    with locked(tmp_path) as root:
        work = root / store.WORK

        def fails(aside: Path) -> None:
            (aside / "half").write_text("x")
            raise RuntimeError("broken off")

        with pytest.raises(RuntimeError, match="broken off"):
            store.finish(work, "k", fails)
        assert [path.name for path in work.iterdir()] == [store.LOCK]
        for text in ("first", "second"):
            part = store.finish(work, "k", lambda aside, text=text: (aside / "a.txt").write_text(text) and None)
        assert (part / "a.txt").read_text() == "first"
        assert (part / "a.txt").stat().st_mode & 0o222 == 0
        assert sorted(path.name for path in work.iterdir()) == ["k", store.LOCK]
        with pytest.raises(StoreError, match=r"a finished part must be kept in .*nowhere; the disk says: No such file"):
            store.finish(work / "nowhere", "k", fails)


def test_leftovers_of_a_killed_run_are_swept_up(tmp_path):
    """Half parts go when the next run begins; parts that no visit needs go after it."""
    with locked(tmp_path) as root:
        (root / store.WORK / f"{store.PART}abc").mkdir()
        for key in ("a", "b"):
            store.finish(root / store.WORK, key, lambda aside: None)
    with locked(tmp_path) as root:
        assert not (root / store.WORK / f"{store.PART}abc").exists()
        store.prune(root / store.WORK, {"b"})
        assert sorted(path.name for path in (root / store.WORK).iterdir()) == ["b", store.LOCK]


def test_run_json_is_json(tmp_path):
    """NaN and infinity, which JSON does not know, become null."""
    with locked(tmp_path) as root:
        publish(root, results(1), {}, {"a": float("nan"), "b": [1.5, {"c": float("inf")}], "p": Path("x")})
    text = (tmp_path / "run.json").read_text()
    assert json.loads(text, parse_constant=pytest.fail) == {"a": None, "b": [1.5, {"c": None}], "p": "x"}


def test_a_hash_is_of_content_and_names(tmp_path):
    """Changing a byte, a name or the order of parts changes the hash; where a folder lies does not."""
    for name in ("one", "two"):
        (tmp_path / name / "deep").mkdir(parents=True)
        (tmp_path / name / "deep" / "a.dcm").write_bytes(b"abc")
    one, two = tmp_path / "one", tmp_path / "two"
    assert store.content_hash(one) == store.content_hash(two)
    assert len(store.content_hash(one)) == 64
    (two / "deep" / "a.dcm").rename(two / "deep" / "b.dcm")
    assert store.content_hash(one) != store.content_hash(two)
    several = [
        ("ab", "c"),
        ("a", "bc"),
        ("c", "ab"),
        ("abc",),
        (b"abc",),
        (one,),
        (one / "deep",),
        (one / "deep" / "a.dcm",),
        (),
    ]
    assert len({store.content_hash(*parts) for parts in several}) == len(several)
    assert store.content_hash(one, "") != store.content_hash("", one)


def test_the_source_hash_is_stable_and_the_environment_known():
    """Two calls agree, and every package that can move a number is named with its version."""
    assert store.source_hash() == store.source_hash()
    assert set(store.PACKAGES) < set(store.environment())
    assert store.environment()["numpy"] == np.__version__


def like() -> sitk.Image:
    made = sitk.Image((5, 4, 3), sitk.sitkInt16)
    made.SetSpacing((0.7, 0.8, 2.5))
    made.SetOrigin((-10.5, 20.25, 100.125))
    made.SetDirection((0, -1, 0, 1, 0, 0, 0, 0, 1))
    return made


def test_label_maps_lie_on_the_visits_grid(tmp_path):
    """Labels beyond uint8 come back from the file, where they were, with bytes that have no clock in them."""
    labels = np.arange(60).reshape(3, 4, 5).astype(np.uint16) * 1000
    for name in ("a.nii.gz", "b.nii.gz"):
        store.write_labels(tmp_path / name, labels, like())
    one, two = ((tmp_path / name).read_bytes() for name in ("a.nii.gz", "b.nii.gz"))
    assert one == two
    assert gzip.decompress(one)
    read = sitk.ReadImage(str(tmp_path / "a.nii.gz"))
    assert np.array_equal(sitk.GetArrayFromImage(read), labels)
    assert read.GetPixelID() == sitk.sitkUInt16
    for kind in ("Spacing", "Origin", "Direction"):
        assert getattr(read, f"Get{kind}")() == pytest.approx(getattr(like(), f"Get{kind}")(), abs=1e-5)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.nii.gz", "b.nii.gz"]


@pytest.mark.parametrize(
    ("told", "number"), [("itk::ERROR: No space left on device", errno.ENOSPC), ("itk::ERROR: cannot", errno.EIO)]
)
def test_an_error_of_itk_is_one_of_the_disk(tmp_path, monkeypatch, told, number):
    """ITK knows one error for all: number and words say a full disk where it names one, else a failed write."""

    def fails(*_):
        raise RuntimeError(told)

    monkeypatch.setattr(sitk, "WriteImage", fails)
    with pytest.raises(OSError, match=os.strerror(number)) as caught:
        store.write_labels(tmp_path / "a.nii.gz", np.zeros((3, 4, 5), np.uint8), like())
    assert caught.value.errno == number


def bent(*, dtype: type = np.float64) -> Registration:
    """Make a registration with every part: turn, shear, shift and a smooth bend."""
    rng = np.random.default_rng(3)
    field = sitk.GetImageFromArray(rng.normal(0, 0.5, (6, 7, 8, 3)).astype(dtype), isVector=True)
    field.SetSpacing((10.0, 9.0, 8.0))
    field.SetOrigin((-30.0, -20.0, -10.0))
    matrix = np.eye(4)
    matrix[:3] += rng.normal(0, 0.03, (3, 4))
    matrix[:3, 3] = [12.5, -7.25, 1 / 3]
    return Registration(matrix, field, residual_mm=0.4, method="affine, b-spline")


POINTS = np.random.default_rng(5).uniform(-9, 25, (40, 3))


@pytest.mark.parametrize(
    "registration", [bent(), bent(dtype=np.float32), Registration.identity(), Registration(np.eye(4))]
)
def test_a_registration_comes_back(tmp_path, registration):
    """Both directions agree to 1e-5 mm after the round trip, and the bytes are the same each time."""
    folders = [tmp_path / "a", tmp_path / "b"]
    for folder in folders:
        folder.mkdir()
        store.write_transform(folder, registration)
    assert files(folders[0]) == files(folders[1])
    read = store.read_transform(folders[0])
    assert read.from_baseline(POINTS) == pytest.approx(registration.from_baseline(POINTS), abs=1e-5)
    assert read.to_baseline(POINTS) == pytest.approx(registration.to_baseline(POINTS), abs=1e-5)
    assert read.method == registration.method
    assert np.array_equal(read.residual_mm, registration.residual_mm, equal_nan=True)


def test_simpleitk_reads_the_registration_as_the_docstring_says(tmp_path):
    """Independent value: SimpleITK's own transforms, made from the files, map points to the same places."""
    registration = bent(dtype=np.float32)
    store.write_transform(tmp_path, registration)
    field = sitk.Cast(sitk.ReadImage(str(tmp_path / store.DISPLACEMENT)), sitk.sitkVectorFloat64)
    affine = sitk.ReadTransform(str(tmp_path / store.AFFINE))
    both = sitk.CompositeTransform([affine, sitk.DisplacementFieldTransform(field)])
    mapped = np.array([both.TransformPoint(point) for point in POINTS.tolist()])
    assert mapped == pytest.approx(registration.from_baseline(POINTS), abs=1e-5)


def long_table(rows: int) -> pd.DataFrame:
    """Return rows of table ``burden``, ten a patient, sorted by patient."""
    table = pd.DataFrame({"patient_id": [f"P{n // 10:05d}" for n in range(rows)], "value": np.arange(rows) / 7})
    return tables.check(table.assign(quantity=["volume_mm3", "mass_mg"] * (rows // 2)), "burden")


def test_a_long_table_is_written_in_pieces(tmp_path, monkeypatch):
    """Closed form: so many pieces to read, and in CSV every row once under one header; the same bytes again."""
    monkeypatch.setattr(store, "GROUP_ROWS", 100)
    monkeypatch.setattr(store, "CSV_ROWS", 70)
    for name in ("t", "again"):
        store.write_table(long_table(250), tmp_path / name)
    held = pq.ParquetFile(tmp_path / "t.parquet").metadata
    assert [held.row_group(number).num_rows for number in range(held.num_row_groups)] == [100, 100, 50]
    assert (tmp_path / "t.parquet").read_bytes() == (tmp_path / "again.parquet").read_bytes()
    lines = (tmp_path / "t.csv").read_text().splitlines()
    assert len(lines) == 251
    assert lines[-1].startswith("P00024,")
    assert [n for n, line in enumerate(lines) if line.startswith("patient_id,")] == [0]
    long_table(250).to_csv(tmp_path / "plain.csv", index=False, lineterminator="\n")
    assert (tmp_path / "t.csv").read_bytes() == (tmp_path / "plain.csv").read_bytes()


def test_the_results_of_one_patient(tmp_path):
    """The rows of that patient in all tables, and of nobody for one that the results do not know."""
    found = {name: tables.empty(name) for name in tables.SCHEMAS}
    found["patients"] = tables.check(pd.DataFrame({"patient_id": ["P1", "P2"], "arm": ["A", None]}), "patients")
    found["burden"] = long_table(40)
    with locked(tmp_path / "r") as root:
        publish(root, found, {}, {"number": 1})
    one = read_results(tmp_path / "r", patient="P2")
    assert one.tables["patients"]["patient_id"].tolist() == ["P2"]
    assert set(one.tables) == set(tables.SCHEMAS)
    assert one.run == {"number": 1}
    own = read_results(tmp_path / "r", patient="P00003").tables["burden"]
    pd.testing.assert_frame_equal(own, found["burden"].iloc[30:].reset_index(drop=True))
    assert all(table.empty for table in read_results(tmp_path / "r", patient="P' or 1").tables.values())


def test_part_of_a_table(tmp_path):
    """Columns in the order that is asked for; a filter is a value, one of several, or none."""
    found = {name: tables.empty(name) for name in tables.SCHEMAS}
    rows = {"patient_id": ["P1", "P1", "P2", "P3"], "lesion_id": [1, None, None, 2], "verdict": ["a", "b", "b", None]}
    found["changes"] = tables.check(pd.DataFrame(rows), "changes")
    with locked(tmp_path / "r") as root:
        publish(root, found, {}, {})
    table = store.read_table(root, "changes", columns=["verdict", "lesion_id"], filters={"patient_id": ["P1", "P3"]})
    assert list(table.columns) == ["verdict", "lesion_id"]
    assert table["lesion_id"].fillna(0).tolist() == [1, 0, 2]
    coded = store.read_coded(root, "changes", columns=["patient_id", "verdict"], filters={"lesion_id": None})
    assert [str(kind) for kind in coded.dtypes] == ["category", "category"]
    assert coded.astype(str).to_numpy().tolist() == [["P1", "b"], ["P2", "b"]]
    with pytest.raises(ValueError, match="table changes has no column name"):
        store.read_table(root, "changes", columns=["name"])
    with pytest.raises(ValueError, match="a table must be one of"):
        store.read_table(root, "../changes")


def test_results_of_an_older_version(tmp_path):
    """A table or column that came later is empty; one of the contract that is gone is damage."""
    folder = published(tmp_path / "r", 1)
    for name in ("selftest", "events"):
        (folder / "tables" / f"{name}.parquet").unlink()
    path = folder / "tables" / "lesions.parquet"
    pq.write_table(pq.read_table(path).drop_columns(["link_score", "side"]), path)
    found = read_results(folder)
    pd.testing.assert_frame_equal(found.tables["selftest"], tables.empty("selftest"))
    assert found.tables["lesions"]["side"].isna().all()
    assert len(store.read_table(folder, "lesions", filters={"side": None})) == 2
    assert store.read_table(folder, "lesions", filters={"side": "left"}).empty
    coded = store.read_coded(folder, "lesions", columns=["patient_id", "side"])
    assert [str(kind) for kind in coded.dtypes] == ["category", "category"]
    assert store.read_coded(folder, "events").empty
    (folder / "tables" / "burden.parquet").unlink()
    with pytest.raises(StoreError, match="damaged"):
        read_results(folder)
