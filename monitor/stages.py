"""What is done to one visit: looked at, placed in the baseline, measured, pictured; each kept once finished."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from math import hypot, nan
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from monitor import (
    admit,
    anatomy,
    burden,
    change,
    coarser,
    contrast,
    describe,
    figures,
    grid,
    growth,
    lesions,
    registration,
    scan,
    store,
    structures,
)
from monitor.coarser import Protocol
from monitor.record import Coarse, Measured, Subject
from monitor.structures import Structures
from monitor.study import MASKS, Visit
from monitor.types import Anatomy, Crop, Findings, Registration, RegistrationError, Scan

REFUSED = "refused.txt"
"""Stands where a registration was not believable, and says why."""

VOXELS = "voxels.npz"
"""Pieces voxel by voxel, beside the table of what they amount to."""

BLUR = "blur.json"
"""How the scanner blurs in the plane, as the scan's own pieces tell it."""

NO_TUBES = ("heart", "atrial_appendage", "pulmonary")
"""How names of structures of kind vessel begin that have no length: chambers, and trees of vessels."""

CROPPED = ("matrix", "hu", "share", "seen", "tissue_hu")
"""What is kept of a ``Crop``."""

DOUBTFUL_MM = 1.5
"""Residual, mm, from which the way through the visit before is tried: good pairs of a limb or trunk stay below."""

NEW_BEYOND_MM = 2.0
"""What stands this far out of the first visit's bone, beside twice the residuals, is no error of outline, mm."""


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


@dataclass(frozen=True)
class Placed:
    """A visit and its registration to the reference: no folder for the reference itself, a reason where it failed."""

    unit: Unit
    reference: Unit
    folder: Path | None
    refused: str = ""
    parts: tuple[str, ...] = ()
    """Names of all finished parts that led here, to be kept for the next run."""

    def registration(self) -> Registration:
        """Return the map between this visit and the reference."""
        return Registration.identity() if self.folder is None else store.read_transform(self.folder)


def key_of(visit: Visit) -> str:
    """Return the hash of a visit's input bytes, what the study says of it, and this package's source.

    A file that the system does not let us read counts by its name; reading the scan then refuses it.
    """
    masks = [getattr(visit, name) for name in (*MASKS, "structures_mask", "structures_names")]
    said = json.dumps([repr(visit.acquisition), visit.modality, visit.region, visit.side])
    given = [mask if mask is not None else "none" for mask in masks]
    return store.content_hash("look", store.source_hash(), said, visit.path, *given)


def look(unit: Unit) -> None:
    """Read a scan, tell body and skeleton, find mineral: the first pass, on the scan alone.

    Raises
    ------
    ScanError
        If the scan or one of its masks cannot be trusted, those too that the second pass alone needs.
    """
    image = load(unit.visit)
    given = read_masks(unit.visit, image)
    named = read_structures(unit.visit, image)
    found = anatomy.find(image, skeleton=given.get("skeleton_mask"), exclude=given.get("exclude_mask"))
    seen = contrast.find(image, found, said=image.acquisition.contrast)
    if "skeleton_mask" not in given:
        found = replace(found, skeleton=found.skeleton & ~seen.vessels)
    found = replace(found, skeleton=with_bones(unit.visit, found.skeleton, found.body, named))
    pieces = lesions.find(image, found, mask=given.get("lesion_mask"), contrast=seen.vessels, least_hu=seen.least_hu)

    masks = {
        "body": found.body,
        "skeleton": found.skeleton,
        "left_out": found.left_out,
        "mineral": pieces.labels > 0,
        "contrast": seen.vessels,
        **({} if image.imaged is None else {"imaged": image.imaged}),
        **({} if found.field_edge is None else {"field_edge": found.field_edge}),
    }

    def write(folder: Path) -> None:
        packed: dict[str, Any] = {name: np.packbits(mask) for name, mask in masks.items()}
        np.savez_compressed(folder / "masks.npz", noise_blocks=found.noise_blocks_hu, **packed)
        if named is not None:
            store.write_labels(folder / "structures.nii.gz", named.labels, image.image)
        (folder / "look.json").write_text(
            json.dumps(
                {
                    "noise_hu": found.noise_hu,
                    "tissue_hu": found.tissue_hu,
                    "threshold_hu": pieces.threshold_hu,
                    "lod_mm3": pieces.lod_mm3,
                    "contrast_found": seen.phase,
                    "blood_hu": seen.blood_hu,
                    "least_hu": seen.least_hu,
                    "modality": image.modality,
                    "body_mm3": float(found.body.sum() * image.voxel_volume_mm3),
                    "slices": admit.slice_hashes(image.array),
                    "vessels_mm": _vessels_mm(named, image),
                    "structures": {} if named is None else {n: [named.names[n], named.kinds[n]] for n in named.names},
                    **asdict(image.acquisition),
                },
                sort_keys=True,
            )
        )

    store.finish(unit.work, unit.key, write)


def _vessels_mm(named: Structures | None, image: Scan) -> dict[str, float]:
    """Return the length of each vessel that another program named, as far as it is imaged, mm."""
    if named is None:
        return {}
    vessels = [n for n, kind in named.kinds.items() if kind == "vessel" and not named.names[n].startswith(NO_TUBES)]
    return {named.names[n]: growth.length_mm(named.labels == n, image.spacing_zyx_mm) for n in vessels}


def selftest_key(unit: Unit) -> str:
    """Return the name of the finished selftest whose baseline this is: it depends on nothing else."""
    return store.content_hash("selftest", unit.visit.patient_id, unit.key)


def kept_selftest(unit: Unit) -> pd.DataFrame | None:
    """Return the finished selftest of a baseline; None where there is none."""
    path = unit.work / selftest_key(unit) / "selftest.parquet"
    return pd.read_parquet(path) if path.exists() else None


def entry(unit: Unit, key: bytes) -> admit.Entry:
    """Return what tells whether a scan that was looked at is its patient's own, and is listed once: ``admit.entry``."""
    said = json.loads((unit.folder / "look.json").read_text())
    return admit.entry(unit.visit, said["slices"], key)


def place(unit: Unit, reference: Unit) -> Placed:
    """Register a visit to the reference; parts that are finished are not done again."""
    if unit.key == reference.key:
        return Placed(unit, reference, folder=None)
    key = store.content_hash("place", unit.key, reference.key)
    folder = unit.work / key if (unit.work / key).exists() else _place(unit, reference, key)
    refused = folder / REFUSED
    return Placed(unit, reference, folder, refused.read_text() if refused.exists() else "", parts=(key,))


def _place(unit: Unit, reference: Unit, key: str) -> Path:
    try:
        found = _registered(reference, unit)
    except RegistrationError as error:
        reason = str(error)
        return store.finish(unit.work, key, lambda folder: _note(folder / REFUSED, reason))
    return store.finish(unit.work, key, lambda folder: store.write_transform(folder, found))


def _registered(fixed: Unit, moving: Unit) -> Registration:
    one, two = load(fixed.visit), load(moving.visit)
    return registration.register(
        one,
        two,
        fixed_anatomy=looked(fixed, one),
        moving_anatomy=looked(moving, two),
        fixed_mineral=mineral(fixed, one),
        moving_mineral=mineral(moving, two),
    )


def doubtful(own: Placed) -> bool:
    """Tell whether a visit's way to the reference failed, or is so uncertain that another may be better."""
    if own.folder is None:
        return False
    return bool(own.refused) or own.registration().residual_mm > DOUBTFUL_MM


def relay(own: Placed, between: Placed) -> Placed:
    """Register a visit through the one before; return whichever way has the smaller residual."""
    ways = [str(way.folder and way.folder.name) for way in (own, between)]
    key = store.content_hash("relay", own.unit.key, own.reference.key, between.unit.key, *ways)
    folder = own.unit.work / key if (own.unit.work / key).exists() else _relay(own, between, key)
    if (folder / REFUSED).exists():
        return replace(own, parts=(*own.parts, key))
    return Placed(own.unit, own.reference, folder, parts=(*own.parts, key))


def _relay(own: Placed, between: Placed, key: str) -> Path:
    try:
        last = _registered(between.unit, own.unit)
    except RegistrationError as error:
        reason = str(error)
        return store.finish(own.unit.work, key, lambda folder: _note(folder / REFUSED, reason))
    found = registration.through(between.registration(), last, between.unit.visit.visit_id)
    if not own.refused and found.residual_mm >= own.registration().residual_mm:
        return store.finish(own.unit.work, key, lambda folder: _note(folder / REFUSED, "the direct way is nearer"))
    return store.finish(own.unit.work, key, lambda folder: store.write_transform(folder, found))


def measure(own: Placed, first: Placed) -> Measured:
    """Find mineral once more with what other visits know of the skeleton, and measure it: the second pass.

    Parameters
    ----------
    own, first : Placed
        This visit, and the earliest of the same patient and region.
    """
    unit = own.unit
    ways = [str(way.folder and way.folder.name) for way in (own, first)]
    key = store.content_hash("measure", unit.key, own.reference.key, first.unit.key, *ways)
    folder = unit.work / key if (unit.work / key).exists() else _measure(own, first, key)
    return Measured(
        visit=unit.visit,
        looked=unit.folder,
        measured=folder,
        placed=None if own.refused else own.folder,
        is_reference=own.folder is None,
        refused=own.refused,
        parts=own.parts,
    )


def _measure(own: Placed, first: Placed, key: str) -> Path:
    unit = own.unit
    image = load(unit.visit)
    found = looked(unit, image)
    if unit.visit.skeleton_mask is None and first.unit.key != unit.key and not (own.refused or first.refused):
        found = known_skeleton(own, first, image, found)
        found = replace(found, skeleton=found.skeleton & ~medium(unit, image)[0])
    given = read_masks(unit.visit, image)
    seen, least_hu = medium(unit, image)
    named = known_structures(unit)
    found = replace(found, skeleton=with_bones(unit.visit, found.skeleton, found.body, named))
    pieces = lesions.find(image, found, mask=given.get("lesion_mask"), contrast=seen, least_hu=least_hu)
    where = _described(unit, image, found, pieces, given.get("compartment_mask"), named)
    amounts, crops, blur = burden.measure_voxels(image, found, pieces)
    table = amounts.merge(where, on="label")

    def write(folder: Path) -> None:
        store.write_labels(folder / "pieces.nii.gz", pieces.labels.astype(np.uint16), image.image)
        store.write_labels(folder / "skeleton.nii.gz", found.skeleton.astype(np.uint8), image.image)
        if pieces.left_out is not None:
            store.write_labels(folder / "left_out.nii.gz", pieces.left_out.astype(np.uint8), image.image)
        table.to_parquet(folder / "pieces.parquet")
        voxels = {f"{name}_{label}": getattr(crop, name) for label, crop in crops.items() for name in CROPPED}
        np.savez_compressed(folder / VOXELS, **voxels)
        (folder / BLUR).write_text(json.dumps({"sigma_mm": blur.sigma_mm if blur.measured else None}))

    return store.finish(unit.work, key, write)


def protocols(visits: Sequence[Measured]) -> dict[tuple[int, int], Protocol]:
    """Return, for two of a patient's scans that differ in kernel and slices alone, how both can be shown alike."""
    said = [json.loads((one.looked / "look.json").read_text()) for one in visits]
    known = [shown(one) for one in visits]
    found = {}
    for at, one in enumerate(said):
        for later, two in enumerate(said[at + 1 :], start=at + 1):
            if change.coarser_would_do(one, two):
                wanted = coarser.common(known[at], known[later], kernels=change.kernels_differ(one, two))
                if wanted is not None:
                    found[at, later] = wanted
    return found


def shown(one: Measured) -> dict[str, float]:
    """Return slice_thickness_mm, slice_increment_mm and sigma_mm of a scan, NaN where unknown: ``coarser.common``."""
    said = json.loads((one.looked / "look.json").read_text())
    sigma = json.loads((one.measured / BLUR).read_text())["sigma_mm"]
    known = {name: said[name] for name in ("slice_thickness_mm", "slice_increment_mm")} | {"sigma_mm": sigma}
    return {name: nan if value is None else float(value) for name, value in known.items()}


def coarsen(unit: Unit, one: Measured, wanted: Protocol) -> Coarse:
    """Measure what was found in a scan once more, the scan shown as a coarser protocol would have shown it."""
    key = store.content_hash("coarser", one.measured.name, repr(wanted))
    folder = unit.work / key if (unit.work / key).exists() else _coarsen(unit, one, wanted, key)
    return Coarse(pd.read_parquet(folder / "pieces.parquet"), key)


def _coarsen(unit: Unit, one: Measured, wanted: Protocol, key: str) -> Path:
    image = load(unit.visit)
    skeleton = grid.array(store.read_labels(one.measured / "skeleton.nii.gz")) > 0
    found = replace(looked(unit, image), skeleton=skeleton)
    said = json.loads((one.looked / "look.json").read_text())
    labels = grid.array(store.read_labels(one.measured / "pieces.nii.gz"))
    pieces = Findings(labels, said["threshold_hu"], said["lod_mm3"])
    table = burden.measure(*coarser.show(image, found, pieces, wanted, sigma_mm=shown(one)["sigma_mm"]))
    return store.finish(unit.work, key, lambda folder: table.to_parquet(folder / "pieces.parquet"))


def exchange(
    work: Path, later: Measured, earlier: Sequence[tuple[Measured, tuple[Subject, ...]]]
) -> list[tuple[str, dict[Subject, dict[str, float]]]]:
    """Compare a visit voxel by voxel with earlier ones; pairs that are finished are not compared again.

    Parameters
    ----------
    work : Path
        The folder of finished parts.
    later : Measured
        The visit.
    earlier : sequence of (Measured, tuple of Subject)
        Visits before, each with the labels of the pieces at both that are compared as one.

    Returns
    -------
    list of (str, dict)
        For each earlier visit the name of the finished part and, by subject, ``change.EXCHANGED``.
    """
    found = []
    for one, subjects in earlier:
        key = store.content_hash("exchange", one.measured.name, later.measured.name, json.dumps(subjects))
        folder = work / key if (work / key).exists() else _exchange(work, key, (one, later), subjects)
        rows = pd.read_parquet(folder / "exchange.parquet").to_dict("records")
        answers = {
            s: {name: float(row[name]) for name in change.EXCHANGED} for s, row in zip(subjects, rows, strict=True)
        }
        found.append((key, answers))
    return found


def _exchange(work: Path, key: str, both: tuple[Measured, Measured], subjects: tuple[Subject, ...]) -> Path:
    said = [json.loads((one.looked / "look.json").read_text()) for one in both]
    ways = [Registration.identity() if one.placed is None else store.read_transform(one.placed) for one in both]
    pieces = [pd.read_parquet(one.measured / "pieces.parquet").set_index("label") for one in both]
    residual_mm = hypot(*(_finite(way.residual_mm) for way in ways))
    densities, _ = change.comparable(*said)
    crops = [_crops(one, {n for subject in subjects for n in subject[at]}) for at, one in enumerate(both)]

    def side(at: int, labels: tuple[int, ...]) -> change.Side:
        def to_other(points_mm: np.ndarray) -> np.ndarray:
            return ways[1 - at].from_baseline(ways[at].to_baseline(points_mm))

        own = pieces[at].loc[[*labels]]
        return change.Side(
            tuple(crops[at][n] for n in labels),
            tuple(own["volume_mm3"].astype(float)),
            tuple(own["volume_rule"] == "outline"),
            to_other,
            said[at]["noise_hu"],
        )

    rows = [
        dict.fromkeys(change.EXCHANGED, nan)
        if change.presence_only(*said)
        else change.exchange(side(0, one), side(1, two), residual_mm=residual_mm, densities=densities)
        for one, two in subjects
    ]
    table = pd.DataFrame(rows, columns=list(change.EXCHANGED))
    return store.finish(work, key, lambda folder: table.to_parquet(folder / "exchange.parquet"))


def _crops(one: Measured, labels: set[int]) -> dict[int, Crop]:
    """Return pieces voxel by voxel, as ``measure`` kept them."""
    with np.load(one.measured / VOXELS) as kept:
        return {label: Crop(**{name: kept[f"{name}_{label}"] for name in CROPPED}) for label in sorted(labels)}


def _described(
    unit: Unit,
    image: Scan,
    found: Anatomy,
    pieces: Findings,
    compartments: np.ndarray | None,
    named: Structures | None,
) -> pd.DataFrame:
    """Describe the pieces; a reader's compartments win over given structures, and these over what voxels tell."""
    if compartments is not None or named is None:
        return describe.describe(image, found, pieces, compartments, given_side=unit.visit.side)
    names = {str(label): name for label, name in named.names.items()}
    where = describe.describe(image, found, pieces, named.labels, given_side=unit.visit.side)
    return where.replace({"compartment": names})


def picture(unit: Unit, reference: Unit, done: Measured, wanted: pd.DataFrame, framed: pd.DataFrame) -> Path:
    """Draw the visit's QC picture, slices of every lesion, and write the label map by lesion_id.

    Parameters
    ----------
    wanted : DataFrame
        lesion_id, label (missing where there is no piece) and where it is or would be: x_mm, y_mm, z_mm.
    framed : DataFrame
        Every lesion of the patient in the frame of ``reference``: lesion_id, label, x_mm, y_mm, z_mm, half_width_mm;
        no rows where the visit has no believable registration, and then no picture in that frame.
    """
    asked = [wanted.to_csv(index=False), framed.to_csv(index=False), reference.visit.visit_id]
    key = store.content_hash("picture", unit.key, done.measured.name, *asked)
    if (unit.work / key).exists():
        return unit.work / key
    image = load(unit.visit)
    found = looked(unit, image)
    labels = _by_lesion(grid.array(store.read_labels(done.measured / "pieces.nii.gz")), wanted)
    skeleton = grid.array(store.read_labels(done.measured / "skeleton.nii.gz")) > 0
    left_out = _left_out(done)
    title = f"{unit.visit.patient_id}  {unit.visit.visit_id}  {unit.visit.date.isoformat()}"
    looking = None
    if done.placed is not None:
        transform = store.read_transform(done.placed)
        looking = figures.Overlay(*registration.for_looking(load(reference.visit), image, transform))

    def write(folder: Path) -> None:
        store.write_labels(folder / "lesions.nii.gz", labels, image.image)
        qc = figures.qc_picture(
            image.image,
            body=found.body,
            skeleton=skeleton,
            lesions=labels,
            left_out=left_out,
            registration=looking,
            title=title,
        )
        (folder / "qc.png").write_bytes(qc)
        amounts = None if left_out is None else figures.left_out_amounts(left_out, image.voxel_volume_mm3)
        checks = {**_checks(unit, done, labels), "left_out": amounts}
        checks |= {"reference_visit_id": reference.visit.visit_id, "frames": [int(n) for n in framed["lesion_id"]]}
        (folder / "qc.json").write_text(json.dumps(checks, sort_keys=True))
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
        _draw_frames(folder, image, done, framed, reference.visit.visit_id)

    return store.finish(unit.work, key, write)


def _draw_frames(folder: Path, image: Scan, done: Measured, framed: pd.DataFrame, reference_visit_id: str) -> None:
    """Draw every lesion of the patient at its place in the common frame, as this visit shows it there."""
    if framed.empty:
        return
    way = Registration.identity() if done.placed is None else store.read_transform(done.placed)
    # Pieces that the field cut are no part of the published label map, and can be seen all the same.
    labels = _by_lesion(grid.array(store.read_labels(done.measured / "pieces.nii.gz")), framed)
    visited = figures.Visited(image.image, labels, image.imaged, way.from_baseline)
    for row in framed.to_dict("records"):
        drawn = figures.frame_picture(
            visited,
            int(row["lesion_id"]),
            centre_mm=np.array([row["x_mm"], row["y_mm"], row["z_mm"]], float),
            half_width_mm=float(row["half_width_mm"]),
            reference_visit_id=reference_visit_id,
        )
        (folder / f"frame_{int(row['lesion_id']):04d}.png").write_bytes(drawn)


def label_map(unit: Unit, _: Unit, done: Measured, wanted: pd.DataFrame, __: pd.DataFrame) -> Path:
    """Write the label map by lesion_id alone, for who needs no picture; arguments as for ``picture``."""
    key = store.content_hash("label map", unit.key, done.measured.name, wanted.to_csv(index=False))
    if (unit.work / key).exists():
        return unit.work / key
    pieces = store.read_labels(done.measured / "pieces.nii.gz")
    labels = _by_lesion(grid.array(pieces), wanted)
    return store.finish(unit.work, key, lambda folder: store.write_labels(folder / "lesions.nii.gz", labels, pieces))


def _by_lesion(pieces: np.ndarray, wanted: pd.DataFrame) -> np.ndarray:
    """Return the label map of a visit by lesion_id, (z, y, x) uint16."""
    lesion_of = np.zeros(int(pieces.max()) + 1, np.uint16)
    there = wanted.dropna(subset=["label"])
    lesion_of[there["label"].astype(int)] = there["lesion_id"].astype(int)
    return lesion_of[pieces]


def _left_out(done: Measured) -> np.ndarray | None:
    """Return why what is dense is no lesion, (z, y, x) uint8; None where nothing was asked."""
    path = done.measured / "left_out.nii.gz"
    return grid.array(store.read_labels(path)) if path.exists() else None


def there_or_gone(wanted: pd.DataFrame) -> list[tuple[int, float, float, float]]:
    """Return lesion_id and place, mm, of each lesion to draw."""
    columns = zip(wanted["lesion_id"], wanted["x_mm"], wanted["y_mm"], wanted["z_mm"], strict=True)
    return [(int(i), float(x), float(y), float(z)) for i, x, y, z in columns]


def published(done: Measured, drawn: Path) -> dict[str, Path]:
    """Return the files of a visit's images folder by name."""
    files = {path.name: path for path in drawn.iterdir()}
    files |= {path.name: path for part in ("skeleton", "left_out") for path in done.measured.glob(f"{part}.*")}
    if done.placed is not None:
        files |= {path.name: path for path in done.placed.iterdir()}
    return files


def body_mm3(unit: Unit) -> float:
    """Return how much body a scan shows, mm³."""
    return float(json.loads((unit.folder / "look.json").read_text())["body_mm3"])


def lod_mm3(unit: Unit) -> float:
    """Return the volume of dense mineral that a scan shows with 90 % power, mm³."""
    return float(json.loads((unit.folder / "look.json").read_text())["lod_mm3"])


def parameters() -> dict[str, object]:
    """Return every named threshold of the steps, for ``run.json``."""
    steps = {"anatomy": anatomy, "contrast": contrast, "lesions": lesions, "registration": registration}
    steps |= {"burden": burden, "describe": describe, "change": change, "coarser": coarser}
    for name, parts in (
        ("anatomy", anatomy.PARTS),
        ("lesions", lesions.PARTS),
        ("registration", registration.PARTS),
        ("describe", describe.PARTS),
        ("burden", burden.PARTS),
        ("change", change.PARTS),
    ):
        steps |= {f"{name}.{part.__name__.rpartition('.')[2]}": part for part in parts}
    return {
        f"{name}.{key}": value
        for name, module in steps.items()
        for key, value in vars(module).items()
        if key.isupper() and _is_plain(value)
    }


def _is_plain(value: object) -> bool:
    """Tell a number, a word or some of them from what only a program can read, which would name places of a machine."""
    return all(map(_is_plain, value)) if isinstance(value, tuple) else isinstance(value, (int, float, str))


def _checks(unit: Unit, done: Measured, labels: np.ndarray) -> dict[str, object]:
    """Return what the QC picture shows, in numbers."""
    said = json.loads((unit.folder / "look.json").read_text())
    found = store.read_transform(done.placed) if done.placed is not None else None
    return {
        "noise_hu": said["noise_hu"],
        "threshold_hu": said["threshold_hu"],
        "lod_mm3": said["lod_mm3"],
        "residual_mm": found.residual_mm if found else None,
        "residual_hi_mm": found.residual_hi_mm if found else None,
        "registration": found.method if found else "",
        "registration_refused": done.refused,
        "lesions": [int(n) for n in np.unique(labels) if n],
    }


def load(visit: Visit) -> Scan:
    """Read the scan of a visit and hold it to HU."""
    image = scan.read(visit.path, acquisition=visit.acquisition, modality=visit.modality or None)
    scan.require_hu(image)
    return image


def read_masks(visit: Visit, image: Scan) -> dict[str, np.ndarray]:
    """Read the masks that the study names for a scan, by column of ``visits.csv``: bool, compartments as labels.

    Raises
    ------
    ScanError
        If one cannot be read, or does not lie on the scan's grid.
    """
    given = {name: path for name in MASKS if (path := getattr(visit, name)) is not None}
    return {name: scan.read_mask(path, image.image, labels=name == "compartment_mask") for name, path in given.items()}


def read_structures(visit: Visit, image: Scan) -> Structures | None:
    """Read the structures that another program found in a scan; None where the study gives none.

    Raises
    ------
    ScanError
        If they cannot be read, lie elsewhere, overlap, or have no names that are known.
    """
    if visit.structures_mask is None:
        return None
    return structures.read(visit.structures_mask, visit.structures_names, image.image)


def known_structures(unit: Unit) -> Structures | None:
    """Return the structures that ``look`` kept."""
    if unit.visit.structures_mask is None:
        return None
    said = json.loads((unit.folder / "look.json").read_text())["structures"]
    labels = grid.array(store.read_labels(unit.folder / "structures.nii.gz"))
    names, kinds = ({int(label): words[n] for label, words in said.items()} for n in (0, 1))
    return Structures(labels, names, kinds)


def with_bones(visit: Visit, skeleton: np.ndarray, body: np.ndarray, named: Structures | None) -> np.ndarray:
    """Add the bones of given structures to a skeleton, (z, y, x) bool; a reader's own skeleton stays as it is."""
    if named is None or visit.skeleton_mask is not None:
        return skeleton
    return skeleton | (named.of_kind("bone") & body)


def looked(unit: Unit, image: Scan) -> Anatomy:
    """Return the anatomy that ``look`` kept."""
    said = json.loads((unit.folder / "look.json").read_text())
    body, skeleton, left_out = (_unpacked(unit, name, image) for name in ("body", "skeleton", "left_out"))
    with np.load(unit.folder / "masks.npz") as kept:
        blocks = kept["noise_blocks"]
        edge = _unpacked(unit, "field_edge", image) if "field_edge" in kept else None
    return Anatomy(body, skeleton, left_out, said["noise_hu"], said["tissue_hu"], blocks, edge)


def mineral(unit: Unit, image: Scan) -> np.ndarray:
    """Return the mineral of the first pass, (z, y, x) bool."""
    return _unpacked(unit, "mineral", image)


def medium(unit: Unit, image: Scan) -> tuple[np.ndarray, float]:
    """Return where contrast medium is, (z, y, x) bool, and the least HU of mineral beside it; NaN without medium."""
    least_hu = float(json.loads((unit.folder / "look.json").read_text())["least_hu"])
    return _unpacked(unit, "contrast", image), least_hu


def known_skeleton(own: Placed, first: Placed, image: Scan, found: Anatomy) -> Anatomy:
    """Return this scan's anatomy as the earliest visit corrects it."""
    before = load(first.unit.visit)
    ways = own.registration(), first.registration()

    def to_first(points_mm: np.ndarray) -> np.ndarray:
        return ways[1].from_baseline(ways[0].to_baseline(points_mm))

    error = sum(_finite(way.residual_mm) for way in ways)
    return corrected(image, found, before, looked(first.unit, before).skeleton, to_first, error_mm=error)


def corrected(
    image: Scan,
    found: Anatomy,
    before: Scan,
    known: np.ndarray,
    to_first: Callable[[np.ndarray], np.ndarray],
    *,
    error_mm: float,
) -> Anatomy:
    """Return a scan's anatomy as an earlier visit corrects it.

    Loose dense pieces that lie on bone of the first visit are bone. What stands out of it now, solid and
    farther than the registration errs, has come since, and normal bone does not come: it is mineral.

    Parameters
    ----------
    image, found : Scan, Anatomy
        The later scan.
    before : Scan
        The earlier one, with its skeleton ``known``, (z, y, x) bool.
    to_first : callable
        Carries points of the later scan, (N, 3) LPS mm, to the earlier one.
    error_mm : float
        Of that map.
    """
    away = grid.distance_mm(known, before.spacing_zyx_mm)

    def distance(mask: np.ndarray) -> np.ndarray:
        there = to_first(grid.to_mm(image.image, np.argwhere(mask)))
        # Out of the first visit's field nothing is known: there this scan's own answer stands.
        return np.nan_to_num(grid.sample(before.image, away, there))

    reach = NEW_BEYOND_MM + 2 * error_mm
    skeleton = anatomy.without_new(found.skeleton, distance, image.spacing_zyx_mm, reach_mm=reach)
    dense = (image.array >= anatomy.BONE_HU) & found.body & ~found.skeleton
    return replace(found, skeleton=anatomy.with_known(skeleton, dense, distance))


def _finite(value: float) -> float:
    return value if np.isfinite(value) else 0.0


def _unpacked(unit: Unit, name: str, image: Scan) -> np.ndarray:
    shape = image.array.shape
    with np.load(unit.folder / "masks.npz") as kept:
        return np.unpackbits(kept[name], count=int(np.prod(shape))).reshape(shape).astype(bool)


def _note(path: Path, text: str) -> None:
    path.write_text(text)
