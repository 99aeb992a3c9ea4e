"""Scores of background removal against loops in plain Python, against PySODMetrics, and by hand."""

import math
from statistics import mean, stdev

import numpy as np
import pytest

from byol_helpers.background.removal import zero_background, zero_background_by_pixel
from byol_helpers.background.scores import REMOVAL_SCORES, cosine, f_beta, iou, mae, score_masks
from byol_helpers.background.shape_scores import boundary_iou, find_band, s_measure
from byol_helpers.core.intervals import mean_interval

SIZE = (12, 17)


def draw(seed: int, size=SIZE) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """An image and two overlapping random masks."""
    dice = np.random.default_rng(seed)
    image = dice.integers(0, 256, (*size, 3), dtype=np.uint8)
    return image, dice.random(size) < 0.4, dice.random(size) < 0.5


def pair(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Two random masks of a random size and density."""
    dice = np.random.default_rng(seed)
    size = tuple(int(n) for n in dice.integers(8, 40, 2))
    return dice.random(size) < dice.random(), dice.random(size) < dice.random()


def slow_scores(image, predicted, true) -> dict[str, float]:
    """All scores pixel by pixel, in Python numbers."""
    a, b = zero_background_by_pixel(image, predicted), zero_background_by_pixel(image, true)
    dot = aa = bb = both = either = found = wanted = wrong = 0
    for y in range(image.shape[0]):
        for x in range(image.shape[1]):
            p, g = bool(predicted[y, x]), bool(true[y, x])
            both, either, wrong = both + (p and g), either + (p or g), wrong + (p != g)
            found, wanted = found + p, wanted + g
            for c in range(3):
                va, vb = int(a[y, x, c]), int(b[y, x, c])
                dot, aa, bb = dot + va * vb, aa + va * va, bb + vb * vb
    precision, recall = both / found, both / wanted
    return {
        "cosine": dot / (math.sqrt(aa) * math.sqrt(bb)),
        "iou": both / either,
        "boundary_iou": slow_boundary_iou(predicted, true),
        "s_measure": slow_s_measure(predicted, true),
        "f_beta": 1.3 * precision * recall / (0.3 * precision + recall),
        "mae": wrong / true.size,
    }


def slow_band(mask, width) -> set[tuple[int, int]]:
    """Pixels of the mask with a pixel outside it, or outside of the image, within ``width``."""
    height, across = mask.shape

    def outside(y, x):
        return not (0 <= y < height and 0 <= x < across and mask[y, x])

    return {
        (y, x)
        for y in range(height)
        for x in range(across)
        if mask[y, x]
        and any(
            outside(y + dy, x + dx)
            for dy in range(-width, width + 1)
            for dx in range(-width, width + 1)
        )
    }


def slow_boundary_iou(predicted, true) -> float:
    width = max(1, round(0.02 * math.hypot(*true.shape)))
    a, b = slow_band(predicted, width), slow_band(true, width)
    return len(a & b) / len(a | b)


def slow_s_measure(predicted, true) -> float:
    """Fan et al. (2017), equations 2 to 8, for masks of which the true one is neither empty nor
    full.
    """
    height, width = true.shape
    pixels = [(y, x) for y in range(height) for x in range(width)]

    def alike(right: list[float]) -> float:
        spread = stdev(right) if len(right) > 1 else 0
        return 2 * mean(right) / (mean(right) ** 2 + 1 + spread)

    inside = [at for at in pixels if true[at]]
    share = len(inside) / len(pixels)
    objects = share * alike([float(predicted[at]) for at in inside]) + (1 - share) * alike(
        [1 - float(predicted[at]) for at in pixels if not true[at]]
    )
    cy, cx = (round(mean(at[axis] for at in inside)) + 1 for axis in (0, 1))
    quarters = [
        [at for at in pixels if (at[0] < cy) == upper and (at[1] < cx) == left]
        for upper in (True, False)
        for left in (True, False)
    ]

    def similar(quarter) -> float:
        a, b = ([float(m[at]) for at in quarter] for m in (predicted, true))
        ma, mb, n = mean(a), mean(b), len(quarter)
        squares = sum((v - ma) ** 2 for v in a) + sum((v - mb) ** 2 for v in b)
        together = sum((v - ma) * (w - mb) for v, w in zip(a, b, strict=True))
        if n == 1 or squares == 0 or ma == mb == 0:
            return 1.0
        return 4 * ma * mb * (together / (n - 1)) / ((ma**2 + mb**2) * (squares / (n - 1)))

    regions = sum(similar(q) * len(q) / len(pixels) for q in quarters if q)
    return max(0, (objects + regions) / 2)


@pytest.mark.parametrize("seed", range(8))
def test_scores_equal_brute_force_loops(seed):
    image, predicted, true = draw(seed)
    got = score_masks(image, predicted, true)
    assert tuple(got) == REMOVAL_SCORES
    assert got == pytest.approx(slow_scores(image, predicted, true), abs=1e-9)


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1), (2, 2), (70, 110)])
def test_shape_scores_equal_loops_at_other_sizes(size):
    """110 x 70 has a band of 3 pixels.

    The smallest pictures have one of 1, and quarters without pixels.
    """
    _, predicted, true = draw(1, size)
    predicted.flat[0] = true.flat[0] = True
    assert boundary_iou(predicted, true) == pytest.approx(
        slow_boundary_iou(predicted, true), abs=1e-9
    )
    if not true.all():
        assert s_measure(predicted, true) == pytest.approx(
            slow_s_measure(predicted, true), abs=1e-9
        )


# PySODMetrics 1.6.2 on pair(0) ... pair(5): Smeasure, MAE, Fmeasure(beta=0.3) at a threshold inside
# (0, 1).
SOD = [
    (0.16906834072923677, 0.7346938775510204, 0.15759448538150703),
    (0.305295771932011, 0.391304347826087, 0.6982622432859399),
    (0.2447832492416769, 0.5643382352941176, 0.19128899352560333),
    (0.3001601678106541, 0.3575757575757576, 0.15132275132275136),
    (0.3221385556651042, 0.4617996604414261, 0.7300958044268252),
    (0.3091635512773001, 0.3510971786833856, 0.07386363636363637),
]


@pytest.mark.parametrize("seed", range(6))
def test_scores_equal_those_of_pysodmetrics(seed):
    masks = pair(seed)
    assert [measure(*masks) for measure in (s_measure, mae, f_beta)] == pytest.approx(
        SOD[seed], abs=1e-12
    )


@pytest.mark.filterwarnings("ignore")
def test_scores_equal_those_of_pysodmetrics_where_it_is_installed():
    """All its releases ask for an older numpy than ours, so it cannot be a requirement of the
    tests.
    """
    sod = pytest.importorskip(
        "py_sod_metrics",
        exc_type=ImportError,
        reason="PySODMetrics is not there: pip install "
        "scikit-learn && pip install --no-deps pysodmetrics",
    )
    for seed in range(60):
        predicted, true = pair(seed)
        bytes_ = [mask.astype(np.uint8) * 255 for mask in (predicted, true)]
        meters = sod.Smeasure(), sod.MAE(), sod.Fmeasure(beta=0.3)
        for meter in meters:
            meter.step(*bytes_)
        wanted = [meters[0].sms[0], meters[1].maes[0], meters[2].changeable_fms[0][200]]
        assert [measure(predicted, true) for measure in (s_measure, mae, f_beta)] == pytest.approx(
            wanted, abs=1e-9
        )


@pytest.mark.parametrize("seed", range(8))
def test_cosine_equals_its_closed_form(seed):
    image, predicted, true = draw(seed)
    energy = (image.astype(np.int64) ** 2).sum(axis=2)
    wanted = energy[predicted & true].sum() / math.sqrt(
        energy[predicted].sum() * energy[true].sum()
    )
    assert score_masks(image, predicted, true)["cosine"] == pytest.approx(wanted, abs=1e-12)
    # Keeping everything: the length of the cut-out by the length of the image.
    kept = score_masks(image, np.ones(SIZE, bool), true)["cosine"]
    assert kept == pytest.approx(math.sqrt(energy[true].sum() / energy.sum()), abs=1e-12)


def test_scores_by_hand():
    image = np.full((1, 4, 3), 10, np.uint8)
    predicted = np.array([[True, True, True, False]])
    true = np.array([[False, False, True, True]])
    got = score_masks(image, predicted, true)
    f = 1.3 * (1 / 3) * (1 / 2) / (0.3 / 3 + 1 / 2)
    wanted = {"cosine": 1 / math.sqrt(6), "iou": 1 / 4, "mae": 3 / 4, "f_beta": f}
    assert {name: got[name] for name in wanted} == pytest.approx(wanted, abs=1e-12)
    assert got["boundary_iou"] == 1 / 4  # one row: every pixel lies at the edge of the picture


def test_a_shift_costs_the_outline_more_than_the_area():
    square = np.zeros((100, 100), bool)
    square[20:80, 20:80] = True
    shifted = np.roll(square, 3, axis=1)
    assert np.count_nonzero(find_band(square, 3)) == 60**2 - 54**2
    assert iou(shifted, square) == pytest.approx(57 / 63)
    # Bands of 3 pixels, moved by 3: of 684 pixels the two long sides lose all but the corners.
    assert boundary_iou(shifted, square) == pytest.approx(
        slow_boundary_iou(shifted, square), abs=1e-12
    )
    assert boundary_iou(shifted, square) < 0.4 < 0.9 < iou(shifted, square)
    edge = np.ones((100, 100), bool)  # the edge of the picture is outline
    assert np.count_nonzero(find_band(edge, 3)) == 100**2 - 94**2


def test_empty_cases_are_defined():
    image, mask, _ = draw(2)
    empty, full = np.zeros(SIZE, bool), np.ones(SIZE, bool)
    nothing = zero_background(image, empty)
    assert (
        cosine(nothing, nothing)
        == iou(empty, empty)
        == f_beta(empty, empty)
        == boundary_iou(empty, empty)
        == 1
    )
    assert cosine(nothing, image) == cosine(image, nothing) == 0
    for measure in (iou, f_beta, boundary_iou):
        assert measure(empty, mask) == measure(mask, empty) == 0
    assert mae(empty, empty) == 0 and mae(empty, mask) == mask.mean()
    assert f_beta(mask, ~mask) == iou(mask, ~mask) == 0
    assert s_measure(empty, empty) == s_measure(full, full) == 1 and s_measure(empty, full) == 0
    assert s_measure(mask, empty) == 1 - mask.mean() and s_measure(mask, full) == mask.mean()
    assert score_masks(image, mask, mask) == pytest.approx(
        {name: float(name != "mae") for name in REMOVAL_SCORES}
    )


def test_interval_of_a_mean():
    values = np.random.default_rng(3).normal(0.7, 0.1, 400).tolist()
    got = mean_interval(values)
    assert got["value"] == pytest.approx(np.mean(values), abs=1e-12)
    half = 1.96 * np.std(values) / 20  # the normal approximation
    assert got["low"] == pytest.approx(got["value"] - half, abs=0.15 * half)
    assert got["high"] == pytest.approx(got["value"] + half, abs=0.15 * half)
    assert got == mean_interval(values, seed=0) != mean_interval(values, seed=1)
    assert mean_interval([0.25]) == {"value": 0.25, "low": 0.25, "high": 0.25}
    # The same draws for equal seeds: shifting every value shifts the interval, which is what
    # pairing needs.
    shifted = mean_interval([value + 1 for value in values])
    assert shifted == pytest.approx({key: value + 1 for key, value in got.items()}, abs=1e-12)
