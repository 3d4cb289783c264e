"""The bending part of a map: smooth everywhere, rigid in bone, found by Gauss-Newton steps from coarse to fine."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import ndimage, sparse

from monitor import grid
from monitor._registration import match
from monitor._registration.scales import Scale, parts_of

SMOOTH_MM2 = 150.0
"""Weight of curvature, mm²: the field follows edges over about its fourth root of edges' error, 5 mm."""

STRETCH = 0.03
"""Weight of strain everywhere: what no edge tells keeps to the linear map."""

ANCHOR_PER_MM2 = 1e-4
"""Weight of displacement itself, 1/mm²: a limb without features does not slide along itself."""

RIGID = 1.0
"""Weight of strain within bone: it moves as one, and still gives where the data of both its ends insist."""

NODE_VOXELS, NODE_MM = 8.0, (4.0, 12.0)
"""Distance of nodes at the finest scale, in voxels, and its limits, mm."""

NODES_PER_VOXEL = 2.0
"""Least distance of nodes, in voxels of the scale: less is not told apart."""

MOST_NODES = 150_000
"""The lattice is coarsened to hold no more nodes than this."""

MOST_POINTS = 500_000
"""Most points that are compared at a scale: with half of them errors grew by a fifth, with all they stayed."""

MOST_STEPS = (20, 12, 8)
"""Most steps at the coarsest scale, the next, and all others."""

ENOUGH_VOXELS = 0.03
"""Steps end when nodes move by less than this in the root mean square, in voxels of the scale."""

LONGEST_VOXELS = 2.0
"""Longest step of a node, in voxels: farther, edges of this scale do not tell where to."""

AGAIN_VOXELS = 0.3
"""The moving scan's gradient is sampled anew when the nodes have moved by this, in voxels."""

SOLVER_STEPS, SOLVER_ENOUGH = 25, 0.02
"""Most conjugate-gradient steps for one Gauss-Newton step, and the part of the residual at which they end."""

_PAIRS = ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2))


@dataclass(frozen=True)
class Lattice:
    """Nodes over the field of a scan, isotropic, along its axes; ``matrix`` leads from index (z, y, x) to mm."""

    shape: tuple[int, int, int]
    matrix: np.ndarray
    side_mm: float

    @classmethod
    def over(cls, scale: Scale, side_mm: float) -> Lattice:
        """Return the nodes about this far apart that cover a scan."""
        axes = np.linalg.qr(scale.matrix[:3, :3])[0]
        # Slices of a tilted gantry stand askew; the lattice stands straight around all corners.
        axes *= np.sign(np.einsum("ij,ij->j", axes, scale.matrix[:3, :3]))
        corners = np.array(np.meshgrid(*[[-0.5, n - 0.5] for n in scale.hu.shape])).reshape(3, -1).T
        along = grid.apply_affine(scale.matrix, corners) @ axes
        extent, middle = np.ptp(along, axis=0), (along.min(axis=0) + along.max(axis=0)) / 2
        side = max(side_mm, float((np.prod(extent) / MOST_NODES) ** (1 / 3)))
        shape = np.maximum(3, np.ceil(extent / side).astype(int) + 1)
        matrix = np.eye(4)
        matrix[:3, :3] = axes * side
        matrix[:3, 3] = axes @ (middle - (shape - 1) * side / 2)
        return cls((int(shape[0]), int(shape[1]), int(shape[2])), matrix, side)

    @cached_property
    def nodes_mm(self) -> np.ndarray:
        """Places of all nodes, (K, 3) LPS mm."""
        return grid.apply_affine(self.matrix, np.indices(self.shape).reshape(3, -1).T)

    def spread(self, points_mm: np.ndarray) -> sparse.csr_matrix:
        """Return the trilinear weights, (N, K), that carry values of nodes to points; the border's value outside."""
        count, size, back = len(points_mm), np.array(self.shape), np.linalg.inv(self.matrix)
        columns = np.empty((count, 8), np.int32)
        values = np.empty((count, 8), np.float32)
        for some in parts_of(count):
            place = np.clip(grid.apply_affine(back, points_mm[some]), 0, size - 1 - 1e-6)
            low = np.floor(place).astype(np.int64)
            part = (place - low).astype(np.float32)
            for number, corner in enumerate(np.ndindex(2, 2, 2)):
                columns[some, number] = np.ravel_multi_index(tuple((low + corner).T), self.shape)
                values[some, number] = np.prod(np.where(corner, part, 1 - part), axis=1)
        starts = np.arange(0, 8 * count + 1, 8, dtype=np.int32)
        return sparse.csr_matrix((values.ravel(), columns.ravel(), starts), shape=(count, int(size.prod())))

    def sampled(self, values: np.ndarray, points_mm: np.ndarray) -> np.ndarray:
        """Sample vectors of nodes, (K, 3), at points, (N, 3); the border's value outside."""
        index = grid.apply_affine(np.linalg.inv(self.matrix), points_mm).T
        parts = [ndimage.map_coordinates(part.reshape(self.shape), index, order=1, mode="nearest") for part in values.T]
        return np.stack(parts, axis=1)

    def edges(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """Return the numbers of neighbouring nodes along each axis."""
        number = np.arange(np.prod(self.shape)).reshape(self.shape)
        pairs = []
        for axis in range(3):
            line = np.moveaxis(number, axis, 0)
            pairs.append((line[:-1].ravel(), line[1:].ravel()))
        return pairs


@dataclass(frozen=True)
class Way:
    """A map in one direction: x goes to matrix · (x + u(x)), with the displacement u, (K, 3) mm, at nodes."""

    matrix: np.ndarray
    lattice: Lattice
    field: np.ndarray
    scales: int
    """How many scales, from coarse, it was found at."""

    def carry(self, points_mm: np.ndarray) -> np.ndarray:
        """Carry points of the fixed scan, (N, 3) mm, to the moving one."""
        return grid.apply_affine(self.matrix, points_mm + self.lattice.sampled(self.field, points_mm))


def bend(scales: list[tuple[Scale, Scale]], matrix: np.ndarray, coarser: Way | None = None) -> Way:
    """Find the displacement u with moving(matrix · (x + u(x))) like fixed(x).

    Parameters
    ----------
    scales : list of (fixed, moving)
        From coarse to fine.
    matrix : (4, 4) array
        Fixed mm to moving mm.
    coarser : Way, optional
        What was found at the first of the scales, with the same matrix: only the others are gone through.

    Notes
    -----
    The sum of weighted squares is minimised together with ``SMOOTH_MM2`` times the squared Laplacian of u, ``STRETCH``
    times its squared gradient and, within bone, ``RIGID`` times its squared distance from a turn and a growth common
    to all bones (Sorkine and Alexa 2007), so that a bone turns freely and keeps its shape: bones on both sides of a
    joint move each on its own. The normal matrix of the data is lumped to its nodes, which is never less than the
    whole one (Jensen), so that no step goes too far; minima are the same.
    """
    finest = scales[-1][0]
    side_mm = float(np.clip(NODE_VOXELS * finest.voxel_mm, *NODE_MM))
    lattice = coarser.lattice if coarser else Lattice.over(finest, side_mm)
    field = coarser.field if coarser else np.zeros((len(lattice.nodes_mm), 3))
    for number in range(coarser.scales if coarser else 0, len(scales)):
        fixed, moving = scales[number]
        here = Lattice.over(fixed, max(side_mm, NODES_PER_VOXEL * fixed.voxel_mm))
        steps = MOST_STEPS[min(number, len(MOST_STEPS) - 1)]
        start = lattice.sampled(field, here.nodes_mm)
        lattice, field = here, _Level(here, fixed, moving, matrix).improved(start, steps)
    return Way(matrix, lattice, field, len(scales))


class _Level:
    """One scale: the points, how nodes carry them, and what bending costs."""

    def __init__(self, lattice: Lattice, fixed: Scale, moving: Scale, matrix: np.ndarray) -> None:
        self.lattice, self.moving, self.matrix = lattice, moving, matrix
        self.points = match.choose(fixed, MOST_POINTS)
        self.spread = lattice.spread(self.points.mm)
        self.gather = self.spread.T
        self.edges = lattice.edges()
        share = _bone_share(fixed, lattice)
        self.rigid = [RIGID * lattice.side_mm * np.sqrt(share[a] * share[b]) for a, b in self.edges]
        count = len(share)
        even = _laplacian(self.edges, [np.ones(len(a)) for a, _ in self.edges], count)
        soft = (even.T @ even) * (SMOOTH_MM2 / lattice.side_mm) + even * (STRETCH * lattice.side_mm)
        anchor = sparse.identity(count, format="csr") * (ANCHOR_PER_MM2 * lattice.side_mm**3)
        self.stiffness = (soft + anchor + _laplacian(self.edges, self.rigid, count)).tocsr()
        self.bony = np.flatnonzero(share > 0)

    def improved(self, field: np.ndarray, steps: int) -> np.ndarray:
        """Return the displacement after at most so many Gauss-Newton steps."""
        voxel = self.moving.voxel_mm
        moved = np.inf
        gradient = np.zeros(0)
        for _ in range(steps):
            there = self._carried(field)
            if moved > AGAIN_VOXELS * voxel:
                gradient = np.zeros(0)
                gradient, moved = match.slope(self.points, self.moving, there, self.matrix[:3, :3]), 0.0
            gap = match.difference(self.points, self.moving, there)
            del there
            pull, blocks = self._forces(gap, gradient)
            step = _solved(self.stiffness, blocks, pull - self.stiffness @ field + self._turned(field))
            longest = float(np.abs(step).max())
            step *= min(1.0, LONGEST_VOXELS * voxel / max(longest, 1e-9))
            field = field + step
            moved += min(longest, LONGEST_VOXELS * voxel)
            if np.sqrt(np.square(step).sum(axis=1).mean()) < ENOUGH_VOXELS * voxel:
                break
        return field

    def _carried(self, field: np.ndarray) -> np.ndarray:
        """Return where the points lie in the moving scan, (N, 3) mm."""
        there = self.spread @ field
        there += self.points.mm
        return grid.apply_affine(self.matrix, there)

    def _forces(self, gap: np.ndarray, gradient: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return how edges pull at each node, (K, 3), and how firmly they hold it, (K, 3, 3)."""
        weight = match.weights(gap, gradient, self.moving.voxel_mm) * np.float32(self.points.mm3)
        pull = self.gather @ (gradient * (-weight * np.nan_to_num(gap))[:, None])
        blocks = np.empty((len(pull), 3, 3))
        for a, b in _PAIRS:
            # One product at a time: all six at once are as large as what carries them to the nodes.
            blocks[:, a, b] = blocks[:, b, a] = self.gather @ (gradient[:, a] * gradient[:, b] * weight)
        return pull, blocks

    def _turned(self, field: np.ndarray) -> np.ndarray:
        """Return the force, (K, 3), that comes from bone being turned rather than strained."""
        turn = np.broadcast_to(np.eye(3), (len(field), 3, 3)).copy()
        turn[self.bony] = _turns(field, self.lattice, self.bony)
        force = np.zeros_like(field)
        for axis, ((a, b), stiff) in enumerate(zip(self.edges, self.rigid, strict=True)):
            bony = np.flatnonzero(stiff)
            one, two = a[bony], b[bony]
            wanted = ((turn[one] + turn[two]) / 2 - np.eye(3)) @ self.lattice.matrix[:3, axis]
            # A node is the first of one edge along an axis at most, and the second of one at most.
            force[two] += stiff[bony][:, None] * wanted
            force[one] -= stiff[bony][:, None] * wanted
        return force


def _bone_share(fixed: Scale, lattice: Lattice) -> np.ndarray:
    """Return how much of the surroundings of each node is bone, (K,), 1 from half on."""
    sigma = lattice.side_mm / 2.5 / fixed.sides_mm
    soft = ndimage.gaussian_filter(fixed.bone.astype(np.float32), sigma, truncate=2.5)
    index = grid.apply_affine(np.linalg.inv(fixed.matrix), lattice.nodes_mm)
    share = np.clip(2 * ndimage.map_coordinates(soft, index.T, order=1, mode="constant"), 0, 1)
    return np.where(share > 0.02, share, 0.0)


def _laplacian(edges: list[tuple[np.ndarray, np.ndarray]], stiff: list[np.ndarray], count: int) -> sparse.csr_matrix:
    rows = np.concatenate([part for a, b in edges for part in (a, b, a, b)])
    columns = np.concatenate([part for a, b in edges for part in (a, b, b, a)])
    values = np.concatenate([part for weight in stiff for part in (weight, weight, -weight, -weight)])
    return sparse.csr_matrix((values, (rows, columns)), shape=(count, count))


def _turns(field: np.ndarray, lattice: Lattice, nodes: np.ndarray) -> np.ndarray:
    """Return the turns nearest to the gradient of x + u at some nodes, times one growth common to all, (N, 3, 3).

    A bend between two visits spoils the growth that a linear map finds; bones tell it again.
    """
    along = np.stack(np.gradient(field.reshape(*lattice.shape, 3), axis=(0, 1, 2)), axis=-1).reshape(-1, 3, 3)[nodes]
    change = np.eye(3) + along @ np.linalg.inv(lattice.matrix[:3, :3])
    turn = change
    for _ in range(5):
        # Newton's iteration for the polar decomposition (Higham 1986): five digits from strains of a half.
        turn = 0.5 * (turn + np.linalg.inv(turn).transpose(0, 2, 1))
    growth = np.einsum("nij,nij->n", turn, change).mean() / 3 if len(nodes) else 1.0
    return np.asarray(growth * turn)


def _solved(stiffness: sparse.csr_matrix, blocks: np.ndarray, force: np.ndarray) -> np.ndarray:
    """Solve (stiffness for x, y and z + blocks of nodes) d = force by conjugate gradients, (K, 3).

    Not scipy's, whose dot products are BLAS's: their bits depend on the number of threads.
    """
    whole = blocks + (stiffness.diagonal() + 1e-9)[:, None, None] * np.eye(3)
    inverse = np.linalg.inv(whole)
    answer = np.zeros_like(force)
    rest = force.astype(float)
    near = np.einsum("kij,kj->ki", inverse, rest)
    way = near.copy()
    size = first = float((rest * near).sum())
    for _ in range(SOLVER_STEPS):
        if size <= SOLVER_ENOUGH**2 * first:
            break
        pushed = stiffness @ way + np.einsum("kij,kj->ki", blocks, way)
        length = size / float((way * pushed).sum())
        answer += length * way
        rest -= length * pushed
        near = np.einsum("kij,kj->ki", inverse, rest)
        size, before = float((rest * near).sum()), size
        way = near + (size / before) * way
    return answer
