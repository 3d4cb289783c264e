"""The results folder: finished parts kept by hash, tables and pictures published whole or not at all."""

from __future__ import annotations

import contextlib
import csv
import fcntl
import gzip
import hashlib
import importlib.metadata
import json
import os
import platform
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import SimpleITK as sitk

from monitor import grid, tables
from monitor.types import Registration

WORK = ".work"
"""Finished parts of visits."""

STAGING = ".staging"
"""A publication on its way; complete once it holds ``run.json``."""

PUBLISHED = ("tables", "images", "run.json")
"""What is swapped in, in this order: ``run.json`` is written last."""

AFFINE = "from_baseline_affine.tfm"
"""Affine part of a registration, as SimpleITK writes it."""

PACKAGES = ("numpy", "scipy", "pandas", "pyarrow", "SimpleITK", "pydicom", "statsmodels")
"""Packages whose version can move a number."""

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
"""A text cell that begins so is run by spreadsheets; it gets a leading apostrophe in CSV (OWASP)."""


class StoreError(RuntimeError):
    """A results folder that cannot be used."""


@dataclass(frozen=True)
class Results:
    """What a run left: its folder, the tables by name, and ``run.json``."""

    folder: Path
    tables: dict[str, pd.DataFrame]
    run: dict[str, object]


def read_results(folder: str | Path) -> Results:
    """Read a published results folder.

    Raises
    ------
    StoreError
        If nothing was published there.
    """
    root = Path(folder)
    if not (root / "run.json").exists():
        raise StoreError(f"a results folder must hold run.json, which is written last; {root} does not: run again")
    run = json.loads((root / "run.json").read_text())
    found = {name: tables.check(pd.read_parquet(root / "tables" / f"{name}.parquet"), name) for name in tables.SCHEMAS}
    return Results(folder=root, tables=found, run=run)


@contextlib.contextmanager
def locked(folder: str | Path) -> Iterator[Path]:
    """Hold a results folder alone, creating it and ending what a killed publication began.

    Raises
    ------
    StoreError
        If another run holds it, or it cannot be written.
    """
    root = Path(folder)
    try:
        (root / WORK).mkdir(parents=True, exist_ok=True)
        handle = (root / WORK / "lock").open("w")
    except OSError as error:
        raise StoreError(f"a results folder must be writable; {root} is not: {error.strerror}") from None
    with handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise StoreError(f"one run may write to a results folder at a time; another holds {root}") from None
        _recover(root)
        yield root


def finish(work: Path, key: str, write: Callable[[Path], None]) -> Path:
    """Keep one finished part: write it to a folder aside, then give it its name; half a part is never seen.

    Parameters
    ----------
    work : Path
        The folder of finished parts.
    key : str
        Hash of all that the part depends on.
    write : callable
        Writes the part's files into the folder it is given.
    """
    aside = Path(tempfile.mkdtemp(prefix=".part-", dir=work))
    try:
        write(aside)
        _sync(aside)
        aside.chmod(0o755)
        with contextlib.suppress(OSError):
            aside.rename(work / key)  # an equal part that stands there already is as good
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    if not (work / key).is_dir():
        raise StoreError(f"a finished part must be kept under its key; {work / key} could not be made")
    return work / key


def publish(folder: Path, found: dict[str, pd.DataFrame], images: dict[str, Path], run: dict[str, object]) -> None:
    """Publish tables, images and ``run.json`` together; the folder must be ``locked``.

    Parameters
    ----------
    found : dict of str to DataFrame
        Every table of ``tables.SCHEMAS``.
    images : dict of str to Path
        Path below ``images`` to the finished file; hard-linked where the disk allows.
    """
    staging = folder / STAGING
    shutil.rmtree(staging, ignore_errors=True)
    try:
        (staging / "tables").mkdir(parents=True)
        (staging / "images").mkdir()
        for name in tables.SCHEMAS:
            write_table(tables.check(found[name], name), staging / "tables" / name)
        for name, source in sorted(images.items()):
            _link(source, staging / "images" / name)
        _sync(staging)
        _write(staging / "run.json.part", json.dumps(run, indent=1, sort_keys=True, default=str).encode())
        (staging / "run.json.part").rename(staging / "run.json")
    except OSError as error:
        shutil.rmtree(staging, ignore_errors=True)
        raise StoreError(f"results could not be written to {folder}: {error.strerror}; nothing was published") from None
    _recover(folder)


def write_table(table: pd.DataFrame, stem: Path) -> None:
    """Write a table as parquet and CSV beside each other; equal tables give equal bytes."""
    pq.write_table(pa.Table.from_pandas(table, preserve_index=False).replace_schema_metadata(None), f"{stem}.parquet")
    plain = table.copy()
    for name in plain.columns:
        kind = str(plain[name].dtype)
        if kind == "boolean":
            plain[name] = plain[name].map({True: "true", False: "false"})
        elif kind.startswith("datetime"):
            plain[name] = plain[name].dt.strftime("%Y-%m-%d")
        elif kind in ("string", "str", "object"):
            plain[name] = plain[name].map(_harmless, na_action="ignore")
    plain.to_csv(f"{stem}.csv", index=False, lineterminator="\n", quoting=csv.QUOTE_MINIMAL)


def write_labels(path: Path, labels_zyx: np.ndarray, like: sitk.Image) -> None:
    """Write a label map as .nii.gz on the grid of ``like``; equal maps give equal bytes."""
    image = grid.image_like(labels_zyx, like)
    with tempfile.TemporaryDirectory(dir=path.parent) as aside:
        plain = Path(aside) / "labels.nii"
        sitk.WriteImage(image, str(plain))
        with path.open("wb") as raw, gzip.GzipFile("", "wb", compresslevel=1, fileobj=raw, mtime=0) as packed:
            packed.write(plain.read_bytes())


def write_transform(folder: Path, registration: Registration) -> None:
    """Write a registration in forms that SimpleITK reads: an affine ``.tfm`` and a displacement image.

    A point x of the baseline lies at affine(x + displacement(x)) of the visit, all LPS mm.
    """
    affine = sitk.AffineTransform(3)
    affine.SetMatrix([float(v) for v in registration.matrix[:3, :3].ravel()])
    affine.SetTranslation([float(v) for v in registration.matrix[:3, 3]])
    sitk.WriteTransform(affine, str(folder / AFFINE))
    if registration.field_mm is not None:
        sitk.WriteImage(registration.field_mm, str(folder / "from_baseline_displacement.mha"), True)
    said = {"residual_mm": registration.residual_mm, "method": registration.method}
    (folder / "registration.json").write_text(json.dumps(said, sort_keys=True))


def read_transform(folder: Path) -> Registration:
    """Read what ``write_transform`` wrote."""
    affine = sitk.AffineTransform(sitk.ReadTransform(str(folder / AFFINE)))
    matrix = np.eye(4)
    matrix[:3, :3] = np.array(affine.GetMatrix()).reshape(3, 3)
    matrix[:3, 3] = affine.TransformPoint((0.0, 0.0, 0.0))
    bend = folder / "from_baseline_displacement.mha"
    said = json.loads((folder / "registration.json").read_text())
    return Registration(
        matrix=matrix,
        field_mm=sitk.ReadImage(str(bend)) if bend.exists() else None,
        residual_mm=float(said["residual_mm"]),
        method=str(said["method"]),
    )


def content_hash(*parts: str | Path) -> str:
    """Return the SHA-256 of texts and of files; a folder counts with the names and bytes of its files."""
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, str):
            digest.update(b"t" + hashlib.sha256(part.encode()).digest())
        else:
            for name, path in _files(part):
                digest.update(b"f" + hashlib.sha256(name.encode()).digest())
                with path.open("rb") as stream:
                    digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()


def source_hash() -> str:
    """Return the hash of this package's own source and of the packages whose version can move a number."""
    here = Path(__file__).parent
    sources = [path for path in sorted(here.rglob("*.py")) if "__pycache__" not in path.parts]
    return content_hash(json.dumps(environment(), sort_keys=True), *sources)


def environment() -> dict[str, str]:
    """Return the versions of Python and of what a number may depend on."""
    versions = {name: importlib.metadata.version(name) for name in PACKAGES}
    return {"python": platform.python_version(), "machine": platform.machine(), **versions}


def prune(work: Path, keep: set[str]) -> None:
    """Remove finished parts that no visit of the last run needs."""
    for path in work.iterdir():
        if path.is_dir() and path.name not in keep:
            shutil.rmtree(path, ignore_errors=True)


def _recover(root: Path) -> None:
    """Swap in a complete staging folder, or sweep up an incomplete one.

    ``run.json`` of the old results goes first and that of the new ones comes last, so that a reader never
    sees a mixture; a kill in between leaves the staging folder, and the next run swaps the rest in.
    """
    staging = root / STAGING
    if not (staging / "run.json").exists():
        shutil.rmtree(staging, ignore_errors=True)
        return
    (root / "run.json").unlink(missing_ok=True)
    for name in PUBLISHED:
        if (staging / name).exists():
            if (root / name).is_dir():
                shutil.rmtree(root / name)
            (staging / name).rename(root / name)
    shutil.rmtree(staging, ignore_errors=True)


def _files(path: Path) -> list[tuple[str, Path]]:
    if path.is_dir():
        return [(str(one.relative_to(path)), one) for one in sorted(path.rglob("*")) if one.is_file()]
    return [(path.name, path)]


def _harmless(text: object) -> object:
    return f"'{text}" if isinstance(text, str) and text.startswith(FORMULA_STARTS) else text


def _link(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _write(path: Path, content: bytes) -> None:
    with path.open("wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())


def _sync(folder: Path) -> None:
    """Bring a folder's files to the disk before it gets its name."""
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as stream:
                os.fsync(stream.fileno())
