"""The results folder: finished parts kept by hash, tables and pictures published whole or not at all."""

from __future__ import annotations

import contextlib
import csv
import errno
import fcntl
import functools
import gzip
import hashlib
import importlib.metadata
import json
import math
import operator
import os
import platform
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import SimpleITK as sitk

from monitor import grid, tables
from monitor.errors import StoreError
from monitor.types import Registration

WORK = ".work"
"""Finished parts of visits."""

LOCK = "lock"
"""File in ``.work`` that a run holds; what stands in it means nothing."""

PART = ".part-"
"""Begins the name of a part that is being written."""

STAGING, REPLACED = ".staging", ".replaced"
"""A publication on its way, complete once it holds ``run.json``; and what it replaces, until it is removed."""

STUDY = "study"
"""File in ``.work`` that names the study folder of the last run; nothing of ``.work`` is published or exported."""

SHEARED = ".nrrd"
"""Ending of a label map on a sheared grid, beside its .nii.gz."""

READINGS = 3
"""How often results are read again that were published anew meanwhile."""

CONTRACT = ("visits", "lesions", "lineage", "burden", "changes", "trends", "refused")
"""Tables that all results have; the others came with later versions, and older results are without them."""

GROUP_ROWS = 32_768
"""Rows of a table that are read in one piece. The tables are sorted by patient, so that one patient's rows lie in one
piece or two. Of the 8 million changes of 10,000 patients, one patient's take 21 ms of a processor; in pieces of 16,384
rows 36 ms and of 8,192 50 ms, the list of pieces being read too."""

CSV_ROWS = 100_000
"""Rows that are written to CSV at a time: what is made ready for a spreadsheet is a copy."""

PUBLISHED = ("tables", "images")
"""Folders that are swapped in before ``run.json``, which is written last."""

AFFINE, DISPLACEMENT, REGISTRATION = "from_baseline_affine.tfm", "from_baseline_displacement.mha", "registration.json"
"""Files of a registration. SimpleITK's own .h5 would hold both maps in one file, but never the same bytes twice."""

AFFINE_END = "FixedParameters: 0 0 0"
"""Last line of the affine's file: its centre, which is the origin."""

PACKAGES = ("numpy", "scipy", "pandas", "pyarrow", "SimpleITK", "pydicom", "statsmodels")
"""Packages whose version can move a number."""

MOVES_NO_NUMBER = (
    *("cli.py", "export", "index.py", "check.py", "_index", "words.py", "placing.py", "graded.py", "fitted.py"),
)
"""Modules that come before or after measuring: a change in them leaves what is finished as it is."""

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", *map(chr, (0xFF1D, 0xFF0B, 0xFF0D, 0xFF20)))
"""A text cell that begins so is run by spreadsheets; it gets a leading apostrophe in CSV (OWASP). The last four are
the full-width = + - @, which some read as the plain ones."""


Read = TypeVar("Read")
Wanted = Mapping[str, object]
"""By column, the value that a row must have; None: none, a list: one of them. All must hold."""


_KINDS = {
    kind: pd.api.types.pandas_dtype(dtype)
    for kind, dtype in (
        (pa.string(), tables.TEXT),
        (pa.large_string(), tables.TEXT),
        (pa.int64(), tables.WHOLE),
        (pa.bool_(), tables.FLAG),
    )
}
"""Dtypes of the tables by type in the file, where pandas would take another: it is then cast once, not twice."""


class StoreBusyError(StoreError):
    """A results folder that another run holds."""


@dataclass(frozen=True)
class Results:
    """What a run left: its folder, the tables by name, and ``run.json``."""

    folder: Path
    tables: dict[str, pd.DataFrame]
    run: dict[str, object]


def read_results(folder: str | Path, *, patient: str | None = None) -> Results:
    """Read a published results folder; a run that publishes meanwhile is never seen by half.

    Parameters
    ----------
    folder : path
    patient : str, optional
        Read the rows of this patient alone; of nobody where the results do not know the patient.

    Raises
    ------
    StoreError
        If nothing was published there, or it cannot be read.
    """
    filters = None if patient is None else {"patient_id": patient}
    root = Path(folder)
    found, run = steady(root, lambda: {name: read_table(root, name, filters=filters) for name in tables.SCHEMAS})
    return Results(folder=root, tables=found, run=run)


def steady(folder: str | Path, read: Callable[[], Read]) -> tuple[Read, dict[str, object]]:
    """Read results while they stand still: again where a run published meanwhile.

    Parameters
    ----------
    folder : path
    read : callable
        Reads tables of the folder.

    Returns
    -------
    tuple
        What was read, and ``run.json`` of the run that it is of.

    Raises
    ------
    StoreError
        If nothing was published there, or it cannot be read.
    """
    root = Path(folder)
    for _ in range(READINGS):
        before = _run_text(root)
        try:
            found, run = read(), json.loads(before)
        except (OSError, ValueError) as error:
            if _run_text(root) == before:
                raise StoreError(f"results must be as a run left them; {root} is damaged: {error}") from None
            continue
        if _run_text(root) == before:
            return found, run
    raise StoreError(f"results must stand still to be read; {root} was published anew {READINGS} times: try again")


def read_table(
    folder: str | Path, name: str, *, columns: Sequence[str] | None = None, filters: Wanted | None = None
) -> pd.DataFrame:
    """Read one table of published results, or some of it.

    A table or column that came with a later version than the results are of is empty. A run may publish meanwhile:
    tables that belong together are read within ``steady``.

    Parameters
    ----------
    folder : path
    name : str
        A key of ``tables.SCHEMAS``.
    columns : sequence of str, optional
        Columns to read, in this order; all without.
    filters : Wanted, optional
        Which rows to read.

    Returns
    -------
    DataFrame
        In the dtypes of ``tables``.

    Raises
    ------
    OSError
        If a table that all results have is not there.
    ValueError
        If the table or a column is not in ``tables``, or the file is no such table.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder, locked(folder) as root:
    ...     found = {name: tables.empty(name) for name in tables.SCHEMAS}
    ...     found["patients"] = tables.check(pd.DataFrame({"patient_id": ["P1", "P2"], "arm": ["A", None]}), "patients")
    ...     publish(root, found, {}, {})
    ...     read_table(root, "patients", columns=["patient_id"], filters={"arm": None})["patient_id"].tolist()
    ['P2']
    """
    found = _arrow(folder, name, columns, filters)
    whole = tables.empty(name) if found is None else tables.check(found.to_pandas(types_mapper=_KINDS.get), name)
    return whole if columns is None else whole[list(columns)]


def read_coded(
    folder: str | Path, name: str, *, columns: Sequence[str] | None = None, filters: Wanted | None = None
) -> pd.DataFrame:
    """Read as ``read_table`` does, each text column as a categorical: many rows in a fraction of the room."""
    kinds = {column.name: column.dtype for column in tables.SCHEMAS.get(name, ())}
    texts = [column for column, kind in kinds.items() if kind == tables.TEXT]
    found = _arrow(folder, name, columns, filters, coded=texts)
    if found is None or set(columns or kinds) - set(found.column_names):
        whole = read_table(folder, name, columns=columns, filters=filters)
    else:
        whole = found.unify_dictionaries().to_pandas()
    whole = whole[list(columns or kinds)]
    return whole.astype({column: "category" if column in texts else kinds[column] for column in whole.columns})


def _arrow(
    folder: str | Path, name: str, columns: Sequence[str] | None, filters: Wanted | None, *, coded: Sequence[str] = ()
) -> pa.Table | None:
    """Return what a table's file holds of columns and rows; None where an older version wrote no such table."""
    if name not in tables.SCHEMAS:
        raise ValueError(f"a table must be one of {', '.join(tables.SCHEMAS)}; got {name!r}")
    known = {column.name for column in tables.SCHEMAS[name]}
    if unknown := sorted({*(columns or ()), *(filters or ())} - known):
        raise ValueError(f"table {name} has no column {', '.join(unknown)}")
    path = Path(folder) / "tables" / f"{name}.parquet"
    if name not in CONTRACT and path.parent.is_dir() and not path.exists():
        return None
    held = pq.read_schema(path).names
    wanted = {column: value for column, value in (filters or {}).items() if column in held}
    if any(value is not None for column, value in (filters or {}).items() if column not in held):
        return None
    return pq.read_table(
        path,
        columns=None if columns is None else [column for column in columns if column in held],
        filters=functools.reduce(operator.and_, (_holds(*one) for one in wanted.items())) if wanted else None,
        read_dictionary=[column for column in coded if column in held] or None,
    )


def _holds(column: str, value: object) -> pc.Expression:
    """Return the condition that a column has a value, one of a list, or none."""
    field = pc.field(column)
    if value is None:
        return field.is_null()
    if isinstance(value, list | tuple):
        # pyarrow finds no type in a list without values.
        return field.isin(list(value)) if value else pc.scalar(False)
    return field == value


@contextlib.contextmanager
def locked(folder: str | Path) -> Iterator[Path]:
    """Hold a results folder alone, creating it and ending what a killed publication began.

    Raises
    ------
    StoreBusyError
        If another run holds it.
    StoreError
        If it cannot be written, or holds something else than results.
    """
    root = Path(folder)
    foreign = [name for name in PUBLISHED if (root / name).exists()]
    if foreign and not (root / WORK).exists() and not (root / "run.json").exists():
        raise StoreError(
            f"a results folder must be new, empty or hold results; {root} holds {', '.join(foreign)} not ours"
        )
    try:
        (root / WORK).mkdir(parents=True, exist_ok=True)
        handle = (root / WORK / LOCK).open("w")
    except OSError as error:
        raise StoreError(f"a results folder must be writable; {root} is not: {error.strerror}") from None
    with handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise StoreBusyError(f"one run may write to a results folder at a time; another holds {root}") from None
        for part in (root / WORK).glob(f"{PART}*"):
            shutil.rmtree(part, ignore_errors=True)
        _recover(root)
        yield root


def finish(work: Path, key: str, write: Callable[[Path], None]) -> Path:
    """Keep one finished part: write it to a folder aside, then give it its name; half a part is never seen.

    Worker processes may call this while their parent holds the lock; of two equal parts one stays.

    Parameters
    ----------
    work : Path
        The folder of finished parts.
    key : str
        Hash of all that the part depends on.
    write : callable
        Writes the part's files into the folder it is given.

    Raises
    ------
    StoreError
        If the disk does not take it.
    """
    try:
        aside = Path(tempfile.mkdtemp(prefix=PART, dir=work))
        try:
            write(aside)
            _seal(aside)
            return _named(aside, work / key)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
    except OSError as error:
        raise StoreError(f"a finished part must be kept in {work}; the disk says: {error.strerror}") from error


def publish(folder: Path, found: dict[str, pd.DataFrame], images: dict[str, Path], run: dict[str, object]) -> None:
    """Publish tables, images and ``run.json`` together; the folder must be ``locked``.

    Parameters
    ----------
    found : dict of str to DataFrame
        Every table of ``tables.SCHEMAS``.
    images : dict of str to Path
        Path below ``images`` to the finished file; hard-linked where the disk allows.
    run : dict
        What ``run.json`` says; NaN becomes null.

    Raises
    ------
    StoreError
        If the disk does not take it: the results before stay as they were.
    """
    text = json.dumps(_plain(run), indent=1, sort_keys=True, allow_nan=False, default=str)
    with _staged(folder, text, "results") as staging:
        for name in PUBLISHED:
            (staging / name).mkdir(parents=True)
        for name in tables.SCHEMAS:
            write_table(tables.check(found[name], name), staging / "tables" / name)
        for name, source in sorted(images.items()):
            _link(source, staging / "images" / name)


def publish_table(folder: Path, table: pd.DataFrame, name: str) -> None:
    """Publish one table anew beside the others, which stay as they are; the folder must be ``locked`` and hold results.

    Raises
    ------
    StoreError
        If nothing was published there, or the disk does not take it: the results before stay as they were.
    """
    with _staged(folder, _run_text(folder), f"table {name}") as staging:
        (staging / "tables").mkdir(parents=True)
        for path in sorted((folder / "tables").iterdir()):
            if path.stem != name:
                _link(path, staging / "tables" / path.name)
        write_table(tables.check(table, name), staging / "tables" / name)


@contextlib.contextmanager
def _staged(folder: Path, run_text: str, what: str) -> Iterator[Path]:
    """Give an empty folder to fill; with ``run.json``, its last file, what is in it is published, or nothing is."""
    staging = folder / STAGING
    shutil.rmtree(staging, ignore_errors=True)
    try:
        yield staging
        _sync(staging)
        _write(staging / "run.json.part", run_text.encode())
        (staging / "run.json.part").rename(staging / "run.json")
    except OSError as error:
        raise StoreError(f"{what} could not be written to {folder}: {error.strerror}; nothing was published") from None
    finally:
        if not (staging / "run.json").exists():
            shutil.rmtree(staging, ignore_errors=True)
    _recover(folder)


def note_study(work: Path, study: Path) -> None:
    """Keep where the study of these results lies, for its owner alone."""
    path = work / STUDY
    path.touch(mode=0o600)
    _write(path, os.fsencode(study.absolute()))


def noted_study(folder: str | Path) -> Path:
    """Return the study folder of the last run.

    Raises
    ------
    StoreError
        If the results do not know it.
    """
    path = Path(folder) / WORK / STUDY
    try:
        return Path(os.fsdecode(path.read_bytes()))
    except OSError:
        raise StoreError("results must know the study that they are of, and these do not: name it (--study)") from None


def write_table(table: pd.DataFrame, stem: Path) -> None:
    """Write a table as parquet and CSV beside each other; equal tables give equal bytes."""
    schema = pa.Schema.from_pandas(table, preserve_index=False).remove_metadata()
    with pq.ParquetWriter(f"{stem}.parquet", schema) as stream:
        # Piece by piece: what is made ready to be written is a copy.
        for start in range(0, max(len(table), 1), GROUP_ROWS):
            rows = table.iloc[start : start + GROUP_ROWS]
            stream.write_table(pa.Table.from_pandas(rows, schema=schema, preserve_index=False), GROUP_ROWS)
    write_csv(table, stem.with_name(f"{stem.name}.csv"))


def write_csv(table: pd.DataFrame, path: Path) -> None:
    """Write a table as CSV: ISO days, words for flags, and texts that no spreadsheet runs."""
    with path.open("w", encoding="utf-8", newline="") as stream:
        for start in range(0, max(len(table), 1), CSV_ROWS):
            _plain_texts(table.iloc[start : start + CSV_ROWS]).to_csv(
                stream, index=False, header=start == 0, lineterminator="\n", quoting=csv.QUOTE_MINIMAL
            )


def _plain_texts(table: pd.DataFrame) -> pd.DataFrame:
    """Return rows as CSV shows them."""
    plain = table.copy()
    for name in plain.columns:
        kind = str(plain[name].dtype)
        if kind == "boolean":
            plain[name] = plain[name].map({True: "true", False: "false"})
        elif kind.startswith("datetime"):
            plain[name] = plain[name].dt.strftime("%Y-%m-%d")
        elif kind in ("string", "str", "object"):
            plain[name] = plain[name].map(harmless, na_action="ignore")
    return plain


def harmless(text: object) -> object:
    """Return a text that no spreadsheet runs; a lone CR would end the row, and becomes a line feed."""
    if not isinstance(text, str):
        return text
    plain = text.replace("\r\n", "\n").replace("\r", "\n")
    return f"'{plain}" if text.startswith(FORMULA_STARTS) else plain


def write_labels(path: Path, labels_zyx: np.ndarray, like: sitk.Image) -> None:
    """Write a label map as .nii.gz on the grid of ``like``; equal maps give equal bytes.

    ITK straightens a sheared grid when it writes NIfTI, and does not read one back. For a scan with a tilted gantry
    the .nii.gz therefore holds the shear in its sform (nibabel reads it), and a .nrrd beside it, which ITK reads.
    """
    image = grid.image_like(labels_zyx, like)
    if grid.is_sheared(like):
        _write_sheared(path, image)
        return
    with tempfile.TemporaryDirectory(dir=path.parent) as aside:
        plain = Path(aside) / "labels.nii"
        _by_itk(plain, lambda: sitk.WriteImage(image, str(plain)))
        if plain.stat().st_size < labels_zyx.nbytes:  # ITK does not notice a full disk
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        with (
            plain.open("rb") as whole,
            path.open("wb") as raw,
            gzip.GzipFile("", "wb", compresslevel=1, fileobj=raw, mtime=0) as packed,
        ):
            shutil.copyfileobj(whole, packed, 1 << 20)


def read_labels(path: Path) -> sitk.Image:
    """Read what ``write_labels`` wrote."""
    beside = path.with_name(path.name.replace(".nii.gz", SHEARED))
    return sitk.ReadImage(str(beside if beside.exists() else path))


def _write_sheared(path: Path, image: sitk.Image) -> None:
    # Only a tilted gantry needs it, and few scans have one: all other runs are spared the loading.
    import nibabel  # noqa: PLC0415

    matrix = np.eye(4)
    matrix[:3] = np.diag([-1.0, -1.0, 1.0]) @ grid.affine(image)[:3][:, [2, 1, 0, 3]]
    held = nibabel.Nifti1Image(grid.array(image).T, matrix)
    held.set_qform(None, code=0)
    held.header.set_xyzt_units("mm")
    with path.open("wb") as raw, gzip.GzipFile("", "wb", compresslevel=1, fileobj=raw, mtime=0) as packed:
        packed.write(held.to_bytes())
    beside = path.with_name(path.name.replace(".nii.gz", SHEARED))
    _by_itk(beside, lambda: sitk.WriteImage(image, str(beside), True))


def write_transform(folder: Path, registration: Registration) -> None:
    """Write a registration in forms that SimpleITK reads: an affine ``.tfm`` and a displacement image.

    A point x of the baseline lies at affine(x + displacement(x)) of the visit, all LPS mm. In SimpleITK that is
    ``CompositeTransform([affine, DisplacementFieldTransform(displacement)])``, the field cast to float64;
    outside the field SimpleITK takes no displacement, where a ``Registration`` takes that of the border.
    """
    affine = sitk.AffineTransform(3)
    affine.SetMatrix([float(v) for v in registration.matrix[:3, :3].ravel()])
    affine.SetTranslation([float(v) for v in registration.matrix[:3, 3]])
    _by_itk(folder / AFFINE, lambda: sitk.WriteTransform(affine, str(folder / AFFINE)))
    if not (folder / AFFINE).read_text().rstrip().endswith(AFFINE_END):  # ITK does not notice a full disk
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder / AFFINE))
    field = registration.field_mm
    if field is not None:
        _by_itk(folder / DISPLACEMENT, lambda: sitk.WriteImage(field, str(folder / DISPLACEMENT), True))
    said = _plain({key: getattr(registration, key) for key in ("residual_mm", "residual_hi_mm", "method")})
    _write(folder / REGISTRATION, json.dumps(said, sort_keys=True, allow_nan=False).encode())


def _by_itk(path: Path, write: Callable[[], None]) -> None:
    """Have ITK write a file; its error is one of the disk, for what it is given can be written."""
    try:
        write()
    except RuntimeError as error:
        number = errno.ENOSPC if "space" in str(error) else errno.EIO
        raise OSError(number, os.strerror(number), str(path)) from error


def read_transform(folder: Path) -> Registration:
    """Read what ``write_transform`` wrote."""
    affine = sitk.AffineTransform(sitk.ReadTransform(str(folder / AFFINE)))
    matrix = np.eye(4)
    matrix[:3, :3] = np.array(affine.GetMatrix()).reshape(3, 3)
    matrix[:3, 3] = affine.TransformPoint((0.0, 0.0, 0.0))
    bend = folder / DISPLACEMENT
    said = json.loads((folder / REGISTRATION).read_text())
    return Registration(
        matrix=matrix,
        field_mm=sitk.ReadImage(str(bend)) if bend.exists() else None,
        residual_mm=_number(said["residual_mm"]),
        residual_hi_mm=_number(said["residual_hi_mm"]),
        method=str(said["method"]),
    )


def _number(said: float | None) -> float:
    """Return a number; JSON says null for NaN."""
    return float("nan") if said is None else float(said)


def content_hash(*parts: bytes | str | Path) -> str:
    """Return the SHA-256, in hex, of bytes, texts and files; a folder counts with its files' names and bytes.

    Each part is hashed on its own first, so that no two lists of parts run together.
    """
    digest = hashlib.sha256()
    for part in parts:
        kind, content = _hashed(part)
        digest.update(kind + content)
    return digest.hexdigest()


@functools.cache
def source_hash() -> str:
    """Return the hash of the package's own source and data, and of the packages whose version can move a number."""
    here = Path(__file__).parent
    parts = (path for path in here.rglob("*.py") if path.relative_to(here).parts[0] not in MOVES_NO_NUMBER)
    sources = [*parts, *(path for kind in ("toml", "csv") for path in (here / "data").rglob(f"*.{kind}"))]
    named = [(str(path.relative_to(here)), path) for path in sorted(sources)]
    return content_hash(json.dumps(environment(), sort_keys=True), *(part for pair in named for part in pair))


def environment() -> dict[str, str]:
    """Return the versions of Python and of what a number may depend on."""
    versions = {name: importlib.metadata.version(name) for name in PACKAGES}
    return {"python": platform.python_version(), "machine": platform.machine(), **versions}


def prune(work: Path, keep: set[str]) -> None:
    """Remove finished parts that no visit of the last run needs."""
    for path in work.iterdir():
        if path.is_dir() and path.name not in keep:
            shutil.rmtree(path, ignore_errors=True)


def _seal(part: Path) -> None:
    """Make a part's files read-only and bring them to the disk: published files are links to these."""
    for path in part.rglob("*"):
        if path.is_file():
            path.chmod(0o444)
    part.chmod(0o755)
    _sync(part)


def _named(part: Path, kept: Path) -> Path:
    try:
        part.rename(kept)
    except OSError:
        if not kept.is_dir():  # else an equal part stands there already
            raise
    return kept


def _recover(root: Path) -> None:
    """Swap in a complete staging folder, or sweep up an incomplete one.

    ``run.json`` of the old results goes first and that of the new ones comes last, so that a reader never
    sees a mixture; a kill in between leaves the staging folder, and the next run swaps the rest in.
    """
    staging, replaced = root / STAGING, root / REPLACED
    try:
        shutil.rmtree(replaced, ignore_errors=True)
        if (staging / "run.json").exists():
            replaced.mkdir()
            (root / "run.json").unlink(missing_ok=True)
            for name in PUBLISHED:
                if (staging / name).exists():
                    if (root / name).exists():
                        (root / name).rename(replaced / name)
                    (staging / name).rename(root / name)
            _sync_folder(root)
            (staging / "run.json").rename(root / "run.json")
            _sync_folder(root)
    except OSError as error:
        raise StoreError(f"results must be movable within {root}: {error.strerror}; run again to go on") from None
    for rest in (staging, replaced):
        shutil.rmtree(rest, ignore_errors=True)


def _run_text(root: Path) -> str:
    try:
        return (root / "run.json").read_text(encoding="utf-8")
    except OSError:
        raise StoreError(
            f"a results folder must hold run.json, which is written last; {root} does not: run again"
        ) from None


def _hashed(part: bytes | str | Path) -> tuple[bytes, bytes]:
    """Return what kind of part it is and its digest."""
    if isinstance(part, bytes):
        return b"b", hashlib.sha256(part).digest()
    if isinstance(part, str):
        return b"t", hashlib.sha256(part.encode()).digest()
    if not part.is_dir():
        try:
            with part.open("rb") as stream:
                return b"f", hashlib.file_digest(stream, "sha256").digest()
        except OSError as error:  # not readable: whoever reads it says so, with the scan's name
            return b"e", hashlib.sha256(str(error.errno).encode()).digest()
    inner = hashlib.sha256()
    for path in sorted(path for path in part.rglob("*") if path.is_file()):
        inner.update(hashlib.sha256(os.fsencode(path.relative_to(part))).digest() + _hashed(path)[1])
    return b"d", inner.digest()


def _plain(value: object) -> object:
    """Return what JSON can hold: NaN and infinity, which it does not know, become null."""
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


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
    """Bring a folder's files and names to the disk before it gets its own name."""
    for path in [folder, *folder.rglob("*")]:
        if path.is_dir():
            _sync_folder(path)
        else:
            with path.open("rb") as stream:
                os.fsync(stream.fileno())


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
