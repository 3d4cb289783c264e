"""Made-up series of label maps in one space, with who is who: dense fields of nodules, and the phantom's scenes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
from scipy import ndimage
from scipy.ndimage import map_coordinates

from monitor import grid, phantom
from monitor.tracking import Occasion

SPACING_MM = 1.25
"""Voxel of the dense fields, mm."""

SIDE_MM = 95.0
"""Side of the dense fields, mm."""

GAP_MM = 2.2
"""Least gap between nodules, mm: with less their pieces touch on the grid."""

COARSE_MM = (1.8, 1.8, 1.8)
"""Voxel of the phantom's scans."""

Piece = tuple[int, int]
"""Visit and label."""

Edge = tuple[int, int, int, int]
"""From a visit and label to a later visit and label."""


@dataclass
class Truth:
    """Who is who: links between consecutive appearances, merges and splits, each as an edge.

    ``either`` holds those of merges and splits in parts of one size, where the rule does not say who goes on.
    """

    links: set[Edge] = field(default_factory=set)
    merges: set[Edge] = field(default_factory=set)
    splits: set[Edge] = field(default_factory=set)
    either: set[Edge] = field(default_factory=set)


@dataclass(frozen=True)
class Series:
    """Label maps, (z, y, x) on one grid, what each visit sees, (z, y, x) bool, and the truth."""

    name: str
    labels: list[np.ndarray]
    seen: list[np.ndarray]
    spacing_mm: float
    residual_mm: list[float]
    truth: Truth

    def occasions(self) -> list[Occasion]:
        """Return the series as tracking takes it."""
        return [self._occasion(visit) for visit in range(len(self.labels))]

    def _occasion(self, visit: int) -> Occasion:
        labels = self.labels[visit]
        index = np.argwhere(labels > 0)
        owner = labels[tuple(index.T)]
        points = {int(n): index[owner == n][:, ::-1] * self.spacing_mm for n in np.unique(owner)}
        volumes = {n: len(own) * self.spacing_mm**3 for n, own in points.items()}
        return Occasion(
            f"V{visit}", visit == 0, points, volumes, self._sees(visit), 10.0, residual_mm=self.residual_mm[visit]
        )

    def _sees(self, visit: int) -> Callable[[np.ndarray], np.ndarray]:
        seen = self.seen[visit].astype(np.uint8)

        def sees(points_mm: np.ndarray) -> np.ndarray:
            return map_coordinates(seen, (points_mm / self.spacing_mm)[:, ::-1].T, order=0, cval=0) > 0

        return sees


def truth_of(labels: list[np.ndarray], held: list[dict[int, set[int]]]) -> Truth:
    """Return who is who by the contract's rules.

    Parameters
    ----------
    held : list of dict
        For each visit, by label, the atoms that a piece is made of: an atom is what never divides.
    """
    truth = Truth()
    owner: dict[int, int] = {}
    last: dict[int, tuple[int, int, int]] = {}
    for visit, (image, pieces) in enumerate(zip(labels, held, strict=True)):
        size = np.bincount(image.ravel(), minlength=max(pieces, default=0) + 1)
        claims: dict[int, list[int]] = {}
        for label, atoms in pieces.items():
            known = {owner[atom] for atom in atoms if atom in owner}
            if known:
                going = max(known, key=lambda n: last[n][2])
                truth.merges |= {(*last[n][:2], visit, label) for n in known - {going}}
                alike = {(*last[n][:2], visit, label) for n in known if last[n][2] == last[going][2]}
                truth.either |= alike if len(alike) > 1 else set()
                claims.setdefault(going, []).append(label)
            else:
                claims[max([*owner.values(), *claims, 0]) + 1] = [label]
        merged = {n for n in set(owner.values()) for atoms in pieces.values() if _went(n, atoms, owner, claims)}
        for lesion, own in sorted(claims.items()):
            own.sort(key=lambda label: -size[label])
            alike = {(*last[lesion][:2], visit, n) for n in own if lesion in last and size[n] == size[own[0]]}
            truth.either |= alike if len(alike) > 1 else set()
            for rank, label in enumerate(own):
                number = lesion if rank == 0 else max([*owner.values(), *claims, *last]) + 1
                if lesion in last:
                    (truth.links if rank == 0 else truth.splits).add((*last[lesion][:2], visit, label))
                owner |= dict.fromkeys(pieces[label], number)
                if rank:
                    last[number] = (visit, label, int(size[label]))
            largest = own[0]
            now = (visit, largest, int(size[largest]))
            last[lesion] = now
        for lesion in merged - set(claims):
            last.pop(lesion, None)
    for kind in (truth.links, truth.merges, truth.splits):
        kind -= truth.either
    return truth


def _went(lesion: int, atoms: set[int], owner: dict[int, int], claims: dict[int, list[int]]) -> bool:
    return lesion not in claims and any(owner.get(atom) == lesion for atom in atoms)


# Dense fields.


@dataclass(frozen=True)
class _Ball:
    """A nodule: where, radius at each visit (0 where it is not there), and the group that it may be bridged with."""

    centre_mm: np.ndarray
    radius_mm: np.ndarray
    group: int


def dense(seed: int, sd_mm: float) -> Series:
    """Draw 20 to 60 nodules over 3 to 6 visits: they grow, fade, come back, merge, split; a visit may see a part."""
    rng = np.random.default_rng([seed, 77])
    visits = int(rng.integers(3, 7))
    balls = _balls(rng, int(rng.integers(20, 61)), visits)
    bridged = _bridges(rng, balls, visits)
    axis = np.arange(round(SIDE_MM / SPACING_MM)) * SPACING_MM
    points = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1)[..., ::-1]
    images, fields, held, residual = [], [], [], []
    for visit in range(visits):
        error = _error(rng, points.shape[:3], sd_mm * (visit > 0), SPACING_MM)
        places = points + error
        jitter = rng.normal(scale=0.3, size=(len(balls), 3))
        seen = np.ones(points.shape[:3], bool)
        if visit and rng.random() < 0.3:
            low = rng.random() < 0.5
            seen = points[..., 0] >= SIDE_MM / 3 if low else points[..., 0] <= 2 * SIDE_MM / 3
        image, atoms = _drawn(places, balls, jitter, visit, bridged[visit])
        image = np.where(seen, image, 0)
        images.append(image)
        fields.append(seen)
        held.append({n: own for n, own in atoms.items() if (image == n).any()})
        residual.append(1.6 * sd_mm * rng.uniform(0.7, 1.3) * (visit > 0))
    shuffled = [rng.permutation(len(balls)) + 1 for _ in images]
    images = [np.concatenate([[0], new])[one].astype(np.uint16) for one, new in zip(images, shuffled, strict=True)]
    held = [{int(new[n - 1]): own for n, own in one.items()} for one, new in zip(held, shuffled, strict=True)]
    return Series(f"dense {seed}", images, fields, SPACING_MM, residual, truth_of(images, held))


def _balls(rng: np.random.Generator, count: int, visits: int) -> list[_Ball]:
    """Place nodules apart from each other: singles, like twins 5 mm apart and more, and groups in the middle third."""
    placed: list[tuple[np.ndarray, float, int]] = []
    group = 0
    for _ in range(40 * count):
        if len(placed) >= count:
            break
        kind = rng.choice(["single", "twin", "pair", "three"], p=[0.6, 0.25, 0.1, 0.05])
        radius = float(np.clip(rng.lognormal(0.9, 0.3), 1.6, 5.0))
        size = {"single": 1, "twin": 2, "pair": 2, "three": 3}[kind]
        low, high = (SIDE_MM * 0.4, SIDE_MM * 0.6) if kind in ("pair", "three") else (8.0, SIDE_MM - 8.0)
        centres = [np.array([rng.uniform(low, high), *rng.uniform(8.0, SIDE_MM - 8.0, 2)])]
        radii = [radius * (1.0 if kind == "twin" else rng.uniform(0.6, 1.0)) for _ in range(size)]
        radii[0] = radius
        way = rng.normal(size=3)
        way /= np.linalg.norm(way)
        for k in range(1, size):
            step = max(5.0, radii[k - 1] + radii[k] + GAP_MM + rng.uniform(0.2, 1.5))
            centres.append(centres[-1] + way * step)
        others = [(c, r) for c, r, _ in placed]
        apart = [np.linalg.norm(a - c) - r - s for a, s in zip(centres, radii, strict=True) for c, r in others]
        clear = min(apart, default=np.inf) > GAP_MM
        inside = all((c > 7).all() and (c < SIDE_MM - 7).all() for c in centres)
        if clear and inside:
            group += 1
            marked = group if kind in ("pair", "three") else 0
            placed += [(c, r, marked) for c, r in zip(centres, radii, strict=True)]
    return [_Ball(c, _course(rng, r, visits, _room(k, placed), g), g) for k, (c, r, g) in enumerate(placed)]


def _room(number: int, placed: list[tuple[np.ndarray, float, int]]) -> float:
    """Return to which radius a nodule may grow: half of the room to each neighbour is its own."""
    here, radius, _ = placed[number]
    gaps = [np.linalg.norm(here - c) - radius - r - GAP_MM for k, (c, r, _) in enumerate(placed) if k != number]
    return radius + max(0.0, min(gaps, default=5.0) / 2)


def _course(rng: np.random.Generator, radius: float, visits: int, most: float, group: int) -> np.ndarray:
    steps = np.cumprod([1.0, *rng.normal(1.0, 0.1, visits - 1)])
    radii = np.clip(radius * steps, 1.5, min(most, 6.0))
    kind = "stays" if group else rng.choice(["stays", "comes", "goes", "fades"], p=[0.7, 0.1, 0.1, 0.1])
    if kind == "comes":
        radii[: rng.integers(1, visits)] = 0
    elif kind == "goes":
        radii[rng.integers(1, visits) :] = 0
    elif kind == "fades" and visits > 2:
        start = int(rng.integers(1, visits - 1))
        radii[start : rng.integers(start + 1, visits)] = 0
    return radii


def _bridges(rng: np.random.Generator, balls: list[_Ball], visits: int) -> list[set[int]]:
    """Return which groups are bridged at each visit: each changes once or twice."""
    found: list[set[int]] = [set() for _ in range(visits)]
    for group in sorted({ball.group for ball in balls} - {0}):
        state = rng.random() < 0.5
        turns = set(rng.choice(np.arange(1, visits), size=min(visits - 1, int(rng.integers(1, 3))), replace=False))
        for visit in range(visits):
            state = state != (visit in turns)
            if state:
                found[visit].add(group)
    return found


def _drawn(
    places: np.ndarray, balls: list[_Ball], jitter: np.ndarray, visit: int, bridged: set[int]
) -> tuple[np.ndarray, dict[int, set[int]]]:
    image = np.zeros(places.shape[:3], np.int64)
    held: dict[int, set[int]] = {}
    for number, ball in enumerate(balls):
        radius = ball.radius_mm[visit]
        if radius == 0:
            continue
        mates = [k for k, one in enumerate(balls) if one.group == ball.group] if ball.group in bridged else [number]
        label = mates[0] + 1
        centre = ball.centre_mm + (jitter[number] if ball.group == 0 else 0)
        box = _box(centre, radius + 12)
        near = places[box]
        inside = np.linalg.norm(near - centre, axis=-1) <= radius
        after = [k for k in mates if k > number]
        if after:
            mate = balls[after[0]]
            inside |= _capsule(near, centre, mate.centre_mm, 0.7 * min(radius, mate.radius_mm[visit]))
        image[box][inside & (image[box] == 0)] = label
        held.setdefault(label, set()).add(number)
    return image, held


def _box(centre: np.ndarray, reach: float) -> tuple[slice, ...]:
    low = np.floor((centre[::-1] - reach - 8) / SPACING_MM).astype(int)
    high = np.ceil((centre[::-1] + reach + 8) / SPACING_MM).astype(int)
    return tuple(slice(max(a, 0), max(b, 0)) for a, b in zip(low, high, strict=True))


def _capsule(points: np.ndarray, start: np.ndarray, end: np.ndarray, radius: float) -> np.ndarray:
    way = end - start
    along = np.clip((points - start) @ way / (way @ way), 0, 1)
    return np.linalg.norm(points - start - along[..., None] * way, axis=-1) <= max(radius, 1.3)


def _error(rng: np.random.Generator, shape: tuple[int, ...], sd_mm: float, spacing_mm: float) -> np.ndarray:
    """Return a smooth random displacement, (z, y, x, 3) mm, alike over 15 to 30 mm, with this SD along an axis."""
    smooth = rng.uniform(15.0, 30.0)
    coarse = 4.0
    size = [int(np.ceil(n * spacing_mm / coarse)) + 8 for n in shape]
    noise = rng.normal(size=(3, *size))
    if sd_mm == 0:
        return np.zeros((*shape, 3))
    whole = [ndimage.gaussian_filter(one, smooth / coarse, mode="reflect") for one in noise]
    index = np.stack(np.meshgrid(*[np.arange(n) * spacing_mm / coarse + 4 for n in shape], indexing="ij"))
    scale = sd_mm / np.std(whole)
    return np.stack([scale * map_coordinates(one, index, order=1) for one in whole], axis=-1)


# The phantom's scenes.


def scanner(rng: np.random.Generator) -> dict[str, float]:
    """Draw noise, kernel and voltage, as ``phantom.series`` takes them."""
    return {
        "noise_hu": float(rng.choice([8.0, 15.0, 22.0, 30.0])),
        "blur_sigma_mm": float(rng.uniform(0.5, 0.9)),
        "kvp": float(rng.choice([80.0, 100.0, 120.0])),
    }


def scenes(seed: int, sds_mm: tuple[float, ...]) -> Iterator[Series]:
    """Yield a scene of the phantom, 3 to 6 visits, under maps that are off by each SD; one of its visits may be cut."""
    rng = np.random.default_rng([seed, 78])
    scene = phantom.SCENES[seed % len(phantom.SCENES)]
    count = int(rng.integers(3, 7))
    cut = {int(rng.integers(1, count)): float(rng.choice([-1, 1])) / 3} if rng.random() < 0.5 else {}
    visits = phantom.series(scene, seed=seed, visits=count, spacing_mm=COARSE_MM, cut=cut)
    image = visits[0].scan.image
    shape = visits[0].labels.shape
    points = grid.to_mm(image, np.argwhere(np.ones(shape, bool)))
    for sd in sds_mm:
        labels, seen, held, residual = [], [], [], []
        for number, visit in enumerate(visits):
            error = _error(rng, shape, sd * (number > 0), COARSE_MM[0]).reshape(-1, 3)
            there = visit.from_baseline(points + error)
            found = grid.sample(visit.scan.image, visit.labels.astype(np.float32), there, order=0, outside=0.0)
            labels.append(found.reshape(shape).astype(np.uint16))
            seen.append(grid.inside(visit.scan.image, there).reshape(shape))
            held.append(_atoms(visit, labels[-1]))
            residual.append(1.6 * sd * rng.uniform(0.7, 1.3) * (number > 0))
        yield Series(f"{scene} {seed}", labels, seen, COARSE_MM[0], residual, truth_of(labels, held))


def _atoms(visit: phantom.PhantomVisit, labels: np.ndarray) -> dict[int, set[int]]:
    names = dict(zip(visit.lesions["lesion"], visit.lesions["lesion_number"], strict=True))
    found = {int(n): {int(n)} for n in np.unique(labels[labels > 0])}
    for row in visit.lesions.to_dict("records"):
        if row["merged_into"] and int(names[row["merged_into"]]) in found:
            found[int(names[row["merged_into"]])].add(int(row["lesion_number"]))
    return found
