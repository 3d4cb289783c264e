"""What is done to one visit: looked at, placed in the baseline, measured, pictured; each kept once finished."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import ndimage

from monitor import anatomy, burden, describe, figures, grid, lesions, registration, scan, store
from monitor.study import Visit
from monitor.types import Anatomy, Findings, Registration, RegistrationError, Scan


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


def place(unit: Unit, fixed: Unit, key: str) -> None:
    """Register a visit to the reference and keep the transform, or why there is none."""
    one, two = load(fixed.visit), load(unit.visit)
    one_anatomy, two_anatomy = looked(fixed, one), looked(unit, two)
    try:
        found = registration.register(
            one,
            two,
            fixed_anatomy=one_anatomy,
            moving_anatomy=two_anatomy,
            fixed_mineral=mineral(fixed, one),
            moving_mineral=mineral(unit, two),
        )
    except RegistrationError as error:
        reason = str(error)
        store.finish(unit.work, key, lambda folder: _note(folder / "refused.txt", reason))
        return
    store.finish(unit.work, key, lambda folder: store.write_transform(folder, found))


def measure(unit: Unit, fixed: Unit, placed: Path | None, key: str) -> None:
    """Find mineral once more with the reference's skeleton brought over, and measure it: the second pass."""
    image = load(unit.visit)
    found = looked(unit, image)
    bone = None
    if placed is not None and unit.visit.skeleton_mask is None:
        bone = brought(fixed, image, store.read_transform(placed), found)
        found = replace(found, skeleton=found.skeleton | bone)
    pieces = lesions.find(image, found, mask=_mask(unit.visit.lesion_mask, image))
    table = burden.measure(image, found, pieces)
    table = table.merge(describe.describe(image, found, pieces, _labels(unit.visit.compartment_mask, image)), on="label")

    def write(folder: Path) -> None:
        store.write_labels(folder / "pieces.nii.gz", pieces.labels.astype(np.uint16), image.image)
        store.write_labels(folder / "skeleton.nii.gz", found.skeleton.astype(np.uint8), image.image)
        table.to_parquet(folder / "pieces.parquet")
        _note(folder / "qc.json", json.dumps({"threshold_hu": pieces.threshold_hu, "pieces": len(table)}))

    store.finish(unit.work, key, write)


def picture(
    unit: Unit, fixed: Unit, *, measured: Path, placed: Path | None, wanted: pd.DataFrame, title: str, key: str
) -> None:
    """Draw the visit's QC picture and a slice of every lesion, and write the label map by lesion_id.

    Parameters
    ----------
    wanted : DataFrame
        lesion_id, label (missing where there is no piece) and where it is or would be: x_mm, y_mm, z_mm.
    """
    image = load(unit.visit)
    found = looked(unit, image)
    pieces = np.asarray(scan.read_mask(measured / "pieces.nii.gz", image.image, labels=True))
    by_label = np.zeros(int(pieces.max()) + 1, np.uint16)
    for row in wanted.dropna(subset=["label"]).itertuples():
        by_label[int(row.label)] = int(row.lesion_id)
    labels = by_label[pieces]

    def write(folder: Path) -> None:
        store.write_labels(folder / "lesions.nii.gz", labels, image.image)
        moved = _looked_alike(unit, fixed, placed)
        qc = figures.qc_picture(
            image.image, body=found.body, skeleton=found.skeleton, lesions=labels, registration=moved, title=title
        )
        (folder / "qc.png").write_bytes(qc)
        for row in wanted.itertuples():
            there = labels == row.lesion_id
            drawn = figures.lesion_picture(
                image.image,
                there if there.any() else None,
                centre_mm=(row.x_mm, row.y_mm, row.z_mm),
                others=(labels > 0) & ~there,
                title=f"{title}  lesion {row.lesion_id}",
            )
            (folder / f"lesion_{row.lesion_id:04d}.png").write_bytes(drawn)

    store.finish(unit.work, key, write)


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


def _looked_alike(unit: Unit, fixed: Unit, placed: Path | None) -> dict[str, object] | None:
    """Return the reference and the visit resampled to it, before and after, for looking at only."""
    if placed is None:
        return None
    return registration.for_looking(load(fixed.visit), load(unit.visit), store.read_transform(placed))


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
