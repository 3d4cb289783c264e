"""From an export full of names to tables, pictures and reports: nothing that identifies comes through."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pydicom
import pytest

from monitor import cli, phantom
from monitor.phantom import PhantomVisit
from tests.test_index import SECRET_TAGS

pytestmark = pytest.mark.slow

BIRTH = "20110817"


def planted(visits: list[PhantomVisit], folder: Path) -> set[str]:
    """Write visits as an export whose tags, private tags, folders and files name a person; return what to look for."""
    names = [name for name in SECRET_TAGS if not name.endswith("Sequence")]
    secrets = {name: f"Zq{number:02}Xsecret" for number, name in enumerate(names)}
    for number, visit in enumerate(visits):
        phantom.write_dicom(visit, folder / "Zq90Xsecret" / f"Zq91Xsecret {number}")
    for path in folder.rglob("*.dcm"):
        one = pydicom.dcmread(path)
        for name, text in secrets.items():
            setattr(one, name, text)
        one.PatientBirthDate = BIRTH
        del one.PatientIdentityRemoved
        one.private_block(0x0011, "Zq92Xsecret", create=True).add_new(1, "LO", "Zq93Xsecret")
        one.save_as(path.with_name(f"Zq94Xsecret{path.name}"))
        path.unlink()
    return {*secrets.values(), BIRTH, "2011-08-17", *(f"Zq{number}Xsecret" for number in range(90, 95))}


def texts(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Yield what every file holds, packed ones unpacked, with its name."""
    for path in folder.rglob("*"):
        yield str(path.relative_to(folder)), str(path.relative_to(folder)).encode()
        if path.is_dir() or path.name == "identities.csv":
            continue
        yield str(path), path.read_bytes()
        if path.suffix == ".parquet":
            yield str(path), pd.read_parquet(path).to_csv().encode()
        if path.suffix == ".xlsx":
            with zipfile.ZipFile(path) as packed:
                yield from ((f"{path} {name}", packed.read(name)) for name in packed.namelist())


def test_from_export_to_report(limb_visits, tmp_path, monkeypatch, capfd, caplog):
    """A leak scan over 40 tags: index, check, run, selftest, exports and report; files, names, logs and screens."""
    secrets = planted(limb_visits[:2], tmp_path / "export")
    assert len(secrets) >= 40
    out = tmp_path / "out"
    lines = [
        ["index", str(tmp_path / "export"), str(out / "study")],
        ["check", str(out / "study"), "--workers", "1"],
        ["run", str(out / "study"), str(out / "results"), "--workers", "1"],
        ["selftest", str(out / "results"), "--workers", "1"],
        *(["export", str(out / "results"), str(out / form), "--format", form] for form in ("csv", "parquet", "xlsx")),
        ["report", str(out / "results"), "P001", "-o", str(out / "P001.html")],
    ]
    for words in lines:
        monkeypatch.setattr("sys.argv", ["calcitrack", *words])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert ended.value.code == 0, words
    told = [("screen", text.encode()) for text in (*capfd.readouterr(), caplog.text)]
    written = list(texts(out))
    assert len(written) > 100
    assert any(name.endswith("P001.html") for name, _ in written)
    for name, content in [*written, *told]:
        low = content.lower()
        for secret in secrets:
            assert secret.lower().encode() not in low, (secret, name)
            assert secret.lower().encode("utf-16-le") not in low, (secret, name)
    key = (out / "study" / "identities.csv").read_text()
    assert BIRTH in key
