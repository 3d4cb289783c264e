"""What is done to one visit: looked at, placed in the baseline, measured, pictured; each kept once finished."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import ndimage

from monitor import anatomy, burden, describe, figures, grid, lesions, registration, scan, store
from monitor.record import Measured
from monitor.study import Visit
from monitor.types import Anatomy, Findings, Registration, RegistrationError, Scan


REFUSED = "refused.txt"
"""Stands where a registration was not believable, and says why."""

BROUGHT_SHARE = 0.7
"""Share of a loose dense piece that must fall onto the reference's skeleton for it to be bone."""


@dataclass(frozen=True)
class Unit:
    """One visit's way through the stages: where its finished parts lie, by the hash of all that they depend on."""

    visit: Visit
    work: Path
    key: str

    @property
    def folder(self) -> Path:
        """Return the folder of the finished part."""
        return self.work / self.key


def key_of(visit: Visit) -> str:
    """Return the hash of a visit's input bytes, what the study says of it, and this package's source."""
    masks = (visit.skeleton_mask, visit.lesion_mask, visit.exclude_mask, visit.compartment_mask)
    said = json.dumps([repr(visit.acquisition), visit.modality, visit.region, visit.side])
    given = [mask if mask is not None else "none" for mask in masks]
    return store.content_hash("look", store.source_hash(), said, visit.path, *given)


def look(unit: Unit) -> None:
    """Read a scan, tell body and skeleton, find mineral: the first pass, on the scan alone.

    Raises
    ------
    ScanError
        If the scan cannot be trusted.
    """
    image = load(unit.visit)
    found = anatomy.find(
        image,
        skeleton=_mask(unit.visit.skeleton_mask, image),
        exclude=_mask(unit.visit.exclude_mask, image),
    )
    pieces = lesions.find(image, found, mask=_mask(unit.visit.lesion_mask, image))

    def write(folder: Path) -> None:
        np.savez_compressed(
            folder / "masks.npz",
            body=np.packbits(found.body),
            skeleton=np.packbits(found.skeleton),
            left_out=np.packbits(found.left_out),
            mineral=np.packbits(pieces.labels > 0),
        )
        acquired = image.acquisition
        (folder / "look.json").write_text(
            json.dumps(
                {
                    "noise_hu": found.noise_hu,
                    "tissue_hu": found.tissue_hu,
                    "threshold_hu": pieces.threshold_hu,
                    "lod_mm3": pieces.lod_mm3,
                    "modality": image.modality,
                    "body_mm3": float(found.body.sum() * image.voxel_volume_mm3),
                    "kvp": acquired.kvp,
                    "kernel": acquired.kernel,
                    "slice_thickness_mm": acquired.slice_thickness_mm,
                    "slice_increment_mm": acquired.slice_increment_mm,
                    "contrast": acquired.contrast,
                    "manufacturer": acquired.manufacturer,
                },
                sort_keys=True,
            )
        )

    store.finish(unit.work, unit.key, write)


def place_and_measure(unit: Unit, reference: Unit) -> Measured:
    """Place a visit in its reference and measure it there; parts that are finished are not done again."""
    is_reference = unit.key == reference.key
    placed = None if is_reference else place(unit, reference)
    refused = "" if placed is None or not (placed / REFUSED).exists() else (placed / REFUSED).read_text()
    believed = None if refused else placed
    return Measured(
        visit=unit.visit,
        looked=unit.folder,
        measured=measure(unit, reference, believed),
        placed=believed,
        is_reference=is_reference,
        refused=refused,
    )


def place(unit: Unit, reference: Unit) -> Path:
    """Register a visit to the reference; return where the transform lies, or why there is none."""
    key = store.content_hash("place", unit.key, reference.key)
    if (unit.work / key).exists():
        return unit.work / key
    one, two = load(reference.visit), load(unit.visit)
    try:
        found = registration.register(
            one,
            two,
            fixed_anatomy=looked(reference, one),
            moving_anatomy=looked(unit, two),
            fixed_mineral=mineral(reference, one),
            moving_mineral=mineral(unit, two),
        )
    except RegistrationError as error:
        reason = str(error)
        return store.finish(unit.work, key, lambda folder: _note(folder / REFUSED, reason))
    return store.finish(unit.work, key, lambda folder: store.write_transform(folder, found))


def measure(unit: Unit, reference: Unit, placed: Path | None) -> Path:
    """Find mineral once more with the reference's skeleton brought over, and measure it: the second pass."""
    key = store.content_hash("measure", unit.key, reference.key)
    if (unit.work / key).exists():
        return unit.work / key
    image = load(unit.visit)
    found = looked(unit, image)
    if placed is not None and unit.visit.skeleton_mask is None:
        bone = brought(reference, image, store.read_transform(placed), found)
        found = replace(found, skeleton=found.skeleton | bone)
    pieces = lesions.find(image, found, mask=_mask(unit.visit.lesion_mask, image))
    where = describe.describe(image, found, pieces, _labels(unit.visit.compartment_mask, image))
    table = burden.measure(image, found, pieces).merge(where, on="label")

    def write(folder: Path) -> None:
        store.write_labels(folder / "pieces.nii.gz", pieces.labels.astype(np.uint16), image.image)
        store.write_labels(folder / "skeleton.nii.gz", found.skeleton.astype(np.uint8), image.image)
        table.to_parquet(folder / "pieces.parquet")

    return store.finish(unit.work, key, write)


def picture(unit: Unit, reference: Unit, done: Measured, wanted: pd.DataFrame) -> Path:
    """Draw the visit's QC picture and a slice of every lesion, and write the label map by lesion_id.

    Parameters
    ----------
    wanted : DataFrame
        lesion_id, label (missing where there is no piece) and where it is or would be: x_mm, y_mm, z_mm.
    """
    key = store.content_hash("picture", unit.key, done.measured.name, wanted.to_csv(index=False))
    if (unit.work / key).exists():
        return unit.work / key
    image = load(unit.visit)
    found = looked(unit, image)
    pieces = scan.read_mask(done.measured / "pieces.nii.gz", image.image, labels=True)
    skeleton = scan.read_mask(done.measured / "skeleton.nii.gz", image.image)
    lesion_of = np.zeros(int(pieces.max()) + 1, np.uint16)
    there = wanted.dropna(subset=["label"])
    lesion_of[there["label"].astype(int)] = there["lesion_id"].astype(int)
    labels = lesion_of[pieces]
    title = f"{unit.visit.patient_id}  {unit.visit.visit_id}  {unit.visit.date.isoformat()}"
    looking = None
    if done.placed is not None:
        transform = store.read_transform(done.placed)
        looking = figures.Overlay(*registration.for_looking(load(reference.visit), image, transform))

    def write(folder: Path) -> None:
        store.write_labels(folder / "lesions.nii.gz", labels, image.image)
        qc = figures.qc_picture(
            image.image, body=found.body, skeleton=skeleton, lesions=labels, registration=looking, title=title
        )
        (folder / "qc.png").write_bytes(qc)
        (folder / "qc.json").write_text(json.dumps(_checks(unit, done, labels), sort_keys=True))
        for lesion_id, x, y, z in there_or_gone(wanted):
            own = labels == lesion_id
            drawn = figures.lesion_picture(
                image.image,
                own if own.any() else None,
                centre_mm=np.array([x, y, z]),
                others=(labels > 0) & ~own,
                title=f"{title}  lesion {lesion_id}",
            )
            (folder / f"lesion_{lesion_id:04d}.png").write_bytes(drawn)

    return store.finish(unit.work, key, write)


def there_or_gone(wanted: pd.DataFrame) -> list[tuple[int, float, float, float]]:
    """Return lesion_id and place, mm, of each lesion to draw."""
    columns = zip(wanted["lesion_id"], wanted["x_mm"], wanted["y_mm"], wanted["z_mm"], strict=True)
    return [(int(i), float(x), float(y), float(z)) for i, x, y, z in columns]


def published(done: Measured, drawn: Path) -> dict[str, Path]:
    """Return the files of a visit's images folder by name."""
    files = {path.name: path for path in drawn.iterdir()}
    files["skeleton.nii.gz"] = done.measured / "skeleton.nii.gz"
    if done.placed is not None:
        files |= {path.name: path for path in done.placed.iterdir()}
    return files


def body_mm3(unit: Unit) -> float:
    """Return how much body a scan shows, mm³."""
    return float(json.loads((unit.folder / "look.json").read_text())["body_mm3"])


def parameters() -> dict[str, object]:
    """Return every named threshold of the steps, for ``run.json``."""
    steps = {"anatomy": anatomy, "lesions": lesions, "registration": registration, "burden": burden}
    return {
        f"{name}.{key}": value
        for name, module in steps.items()
        for key, value in vars(module).items()
        if key.isupper() and isinstance(value, (int, float, str, tuple))
    }


def _checks(unit: Unit, done: Measured, labels: np.ndarray) -> dict[str, object]:
    """Return what the QC picture shows, in numbers."""
    said = json.loads((unit.folder / "look.json").read_text())
    residual = store.read_transform(done.placed).residual_mm if done.placed is not None else None
    return {
        "noise_hu": said["noise_hu"],
        "threshold_hu": said["threshold_hu"],
        "lod_mm3": said["lod_mm3"],
        "residual_mm": residual,
        "registration_refused": done.refused,
        "lesions": [int(n) for n in np.unique(labels) if n],
    }


def load(visit: Visit) -> Scan:
    """Read the scan of a visit and hold it to HU."""
    image = scan.read(visit.path, acquisition=visit.acquisition, modality=visit.modality or None)
    scan.require_hu(image)
    return image


def looked(unit: Unit, image: Scan) -> Anatomy:
    """Return the anatomy that ``look`` kept."""
    said = json.loads((unit.folder / "look.json").read_text())
    body, skeleton, left_out = (_unpacked(unit, name, image) for name in ("body", "skeleton", "left_out"))
    return Anatomy(body, skeleton, left_out, noise_hu=said["noise_hu"], tissue_hu=said["tissue_hu"])


def mineral(unit: Unit, image: Scan) -> np.ndarray:
    """Return the mineral of the first pass, (z, y, x) bool."""
    return _unpacked(unit, "mineral", image)


def brought(fixed: Unit, image: Scan, placed: Registration, found: Anatomy) -> np.ndarray:
    """Return loose dense pieces that the reference knows as skeleton, (z, y, x) bool.

    A piece is taken whole where most of it falls onto bone; a nodule beside a bone is not, though an error
    of the registration lays part of it there.
    """
    labels, count = ndimage.label((image.array >= anatomy.BONE_HU) & found.body & ~found.skeleton)
    if count == 0:
        return labels > 0
    reference = load(fixed.visit)
    known = looked(fixed, reference).skeleton.astype(np.float32)
    dense = np.argwhere(labels > 0)
    there = placed.to_baseline(grid.to_mm(image.image, dense))
    bone = grid.sample(reference.image, known, there, order=0, outside=0.0)
    share = ndimage.mean(bone, labels[tuple(dense.T)], np.arange(count + 1))
    return np.asarray(np.nan_to_num(share) >= BROUGHT_SHARE)[labels]


def _unpacked(unit: Unit, name: str, image: Scan) -> np.ndarray:
    shape = image.array.shape
    with np.load(unit.folder / "masks.npz") as kept:
        return np.unpackbits(kept[name], count=int(np.prod(shape))).reshape(shape).astype(bool)


def _mask(path: Path | None, image: Scan) -> np.ndarray | None:
    return None if path is None else scan.read_mask(path, image.image)


def _labels(path: Path | None, image: Scan) -> np.ndarray | None:
    return None if path is None else scan.read_mask(path, image.image, labels=True)


def _note(path: Path, text: str) -> None:
    path.write_text(text)
