"""TIDE's error types on hand-made pictures in closed form, what fixing them gains, and the views
built on them.
"""

import math

import numpy as np
import pytest
from pycocotools import mask as masks

from byol_helpers.core.errors import UserError
from byol_helpers.evaluation.average_precision import evaluate_detections, interpolate_precision
from byol_helpers.evaluation.precision_recall import compute_precision_recall
from byol_helpers.evaluation.tide import (
    BACKGROUND,
    BOTH,
    CLASSIFICATION,
    DUPLICATE,
    ERROR_TYPES,
    HIT,
    LOCALISATION,
    classify_detections,
    count_confusions,
    pick_extreme_images,
    score_images,
    weigh_errors,
)
from tests.helpers.detections import guesses, world

A, B = 1, 2  # two classes
OBJECT = (0, 0, 10, 10)
FAR = (40, 40, 10, 10)


def rectangle(x, y, width, height):
    mask = np.zeros((64, 64), np.uint8, order="F")
    mask[y : y + height, x : x + width] = 1
    return masks.encode(mask)


def truth(*objects, crowds=()):
    """Annotations of (image, class, rectangle) on three pictures."""
    entries = [(*o, 0) for o in objects] + [(*c, 1) for c in crowds]
    return {
        "images": [{"id": i, "width": 64, "height": 64} for i in (1, 2, 3)],
        "categories": [{"id": A, "name": "a"}, {"id": B, "name": "b"}],
        "annotations": [
            {
                "id": n,
                "image_id": i,
                "category_id": k,
                "bbox": list(r),
                "area": r[2] * r[3],
                "iscrowd": crowd,
                "segmentation": rectangle(*r),
            }
            for n, (i, k, r, crowd) in enumerate(entries)
        ],
    }


def found(*detections):
    """Results of (image, class, rectangle, score)."""
    return [
        {
            "image_id": i,
            "category_id": k,
            "score": s,
            "bbox": list(r),
            "segmentation": rectangle(*r),
        }
        for i, k, r, s in detections
    ]


ONE = [  # of an object of class A at (0, 0, 10, 10): class, rectangle, what the detection is
    (A, (0, 0, 10, 10), HIT),
    (A, (0, 0, 10, 5), HIT),  # IoU exactly 0.5
    (A, (0, 0, 7, 7), LOCALISATION),  # 0.49
    (A, (0, 0, 10, 1), LOCALISATION),  # exactly 0.1
    (B, (0, 0, 10, 10), CLASSIFICATION),
    (B, (0, 0, 10, 5), CLASSIFICATION),  # exactly 0.5
    (B, (0, 0, 7, 7), BOTH),
    (B, (0, 0, 10, 1), BACKGROUND),  # exactly 0.1
    (A, (0, 0, 9, 1), BACKGROUND),  # 0.09
    (A, FAR, BACKGROUND),
]


@pytest.mark.parametrize("label, shape, kind", ONE)
def test_one_detection_is_of_one_kind(label, shape, kind):
    assert classify_detections(
        truth((1, A, OBJECT)), found((1, label, shape, 0.9))
    ).kind.tolist() == [kind]


def test_the_second_detection_of_an_object_is_a_duplicate_and_classes_come_before_duplicates():
    twice = found((1, A, OBJECT, 0.9), (1, A, (0, 0, 10, 9), 0.8))
    assert classify_detections(truth((1, A, OBJECT)), twice).kind.tolist() == [HIT, DUPLICATE]
    pair = truth((1, A, OBJECT), (1, B, OBJECT))  # the authors' code asks for another class first
    assert classify_detections(pair, twice).kind.tolist() == [HIT, CLASSIFICATION]
    assert classify_detections(truth((2, A, OBJECT)), twice).kind.tolist() == [
        BACKGROUND,
        BACKGROUND,
    ]


def test_localisation_is_asked_before_classification():
    both = truth((1, A, (0, 0, 10, 3)), (1, B, OBJECT))
    assert classify_detections(both, found((1, A, OBJECT, 0.9))).kind.tolist() == [LOCALISATION]


def test_crowds_take_errors_of_their_class_out_of_the_account():
    crowd = truth((1, A, OBJECT), crowds=[(1, A, (30, 30, 30, 30))])
    judged = classify_detections(
        crowd, found((1, A, FAR, 0.9), (1, B, FAR, 0.8), (1, A, OBJECT, 0.7))
    )
    assert judged.ignored.tolist() == [True, False, False] and judged.kind.tolist() == [
        BACKGROUND,
        BACKGROUND,
        HIT,
    ]
    assert weigh_errors(judged).counts == dict.fromkeys(ERROR_TYPES, 0) | {"background": 1}
    assert weigh_errors(judged).ap50 == pytest.approx(1) and len(judged.object_label) == 1
    assert count_confusions(judged, 0).tolist() == [
        [1, 0, 0],
        [0, 0, 0],
        [0, 0, 0],
    ]  # whatever the class of the crowd


def test_a_detection_on_a_crowd_may_still_be_put_right():
    """As in the authors' code since version 1.0.1: no false positive, but the object it points at
    is not missed.
    """
    crowd = truth((1, A, OBJECT), crowds=[(1, A, (0, 0, 30, 30))])
    made = weigh_errors(classify_detections(crowd, found((1, A, (0, 0, 7, 7), 0.9))))
    assert made.ap50 == 0 and made.counts == dict.fromkeys(ERROR_TYPES, 0)
    assert made.gains == pytest.approx(dict.fromkeys(ERROR_TYPES, 0) | {"localisation": 1})


def test_what_each_type_costs_in_closed_form():
    """One object of class A, found at rank 2 behind one error: AP is 1/2, without it 1."""
    for label, shape, name in ((A, FAR, "background"), (B, (0, 0, 7, 7), "both")):
        made = weigh_errors(
            classify_detections(
                truth((1, A, OBJECT), (2, B, FAR)),
                found((1, label, shape, 0.9), (1, A, OBJECT, 0.8)),
            )
        )
        assert made.counts == dict.fromkeys(ERROR_TYPES, 0) | {name: 1, "missed": 1}
        assert made.ap50 == pytest.approx(0.25 if name == "background" else 0.5)
        assert made.gains[name] == pytest.approx(
            0.25 if name == "background" else 0
        )  # class b has no hit to lose
        assert made.gains["missed"] == 0  # class b keeps AP 0


def test_fixed_classes_and_places_become_hits():
    turned = weigh_errors(
        classify_detections(
            truth((1, A, OBJECT), (2, B, OBJECT)), found((1, B, OBJECT, 0.9), (2, B, OBJECT, 0.8))
        )
    )
    assert turned.ap50 == pytest.approx(0.25) and turned.gains["classification"] == pytest.approx(
        0.75
    )
    assert turned.counts["classification"] == 1 and turned.counts["missed"] == 0
    moved = weigh_errors(
        classify_detections(
            truth((1, A, OBJECT)), found((1, A, (0, 0, 7, 7), 0.9), (1, A, (0, 0, 6, 6), 0.8))
        )
    )
    assert (
        moved.counts["localisation"] == 2
        and moved.ap50 == 0
        and moved.gains["localisation"] == pytest.approx(1)
    )
    again = weigh_errors(
        classify_detections(
            truth((1, A, OBJECT)), found((1, A, (0, 0, 7, 7), 0.9), (1, A, OBJECT, 0.8))
        )
    )
    assert again.gains["localisation"] == pytest.approx(
        0.5
    )  # the object is found anyway: only the error goes


def test_missed_objects_are_taken_off():
    half = weigh_errors(
        classify_detections(truth((1, A, OBJECT), (1, A, FAR)), found((1, A, OBJECT, 0.9)))
    )
    assert half.ap50 == pytest.approx(51 / 101)  # recall points 0 to 0.50
    assert half.gains["missed"] == half.false_negatives == pytest.approx(50 / 101)
    assert half.false_positives == 0


def test_the_limit_of_detections_goes_by_score():
    many = found((1, A, FAR, 0.1), (1, A, OBJECT, 0.9), (1, B, FAR, 0.5))
    assert classify_detections(truth((1, A, OBJECT)), many, most=2).score.tolist() == [0.9, 0.5]


@pytest.mark.parametrize("seed", range(6))
def test_the_account_adds_up_on_made_up_pictures(seed):
    annotations, shapes = world(seed, images=40)
    rng = np.random.default_rng(seed)
    results = [
        r | {"category_id": 3 if rng.random() < 0.3 else r["category_id"]}
        for r in guesses(shapes, seed, decimals=2)
        if r["image_id"] % 4
    ]  # every fourth picture: all are missed
    judged, reference = (
        classify_detections(annotations, results),
        evaluate_detections(annotations, results),
    )
    made = weigh_errors(judged)
    assert made.ap50 == pytest.approx(reference.metrics["AP50"], abs=1e-12)
    false = sum(np.count_nonzero(m.counts[0, 0] & ~m.hit[0, 0]) for m in reference.matches)
    assert (
        sum(made.counts[name] for name in ERROR_TYPES[:-1]) == false
    )  # every false positive has exactly one type
    assert all(made.counts.values()), "these pictures show every type"
    assert min(*made.gains.values(), made.false_positives, made.false_negatives) >= 0
    assert max(*made.gains.values(), made.false_positives, made.false_negatives) <= 1 - made.ap50
    pointed = judged.aim[(judged.kind == CLASSIFICATION) | (judged.kind == LOCALISATION)]
    assert judged.found.sum() == np.count_nonzero(judged.kind == HIT)
    assert judged.found.sum() + judged.missed.sum() + len(
        {*pointed} - {*np.flatnonzero(judged.found)}
    ) == len(judged.object_label)


@pytest.mark.parametrize("seed", range(3))
def test_the_mean_of_the_curve_is_average_precision(seed):
    annotations, shapes = world(seed, images=40)
    evaluation = evaluate_detections(annotations, guesses(shapes, seed, decimals=2))
    for iou, name in ((0.5, "AP50"), (0.75, "AP75")):
        curve = compute_precision_recall(evaluation, iou)
        assert curve.shape == (101,) and (np.diff(curve) <= 0).all()
        assert curve.mean() == pytest.approx(evaluation.metrics[name], abs=1e-12)
    with pytest.raises(UserError, match="0.50"):
        compute_precision_recall(evaluation, 0.51)


def test_the_envelope_of_the_course():
    tp = np.array([1, 1, 1, 0, 0, 1, 0, 1, 1, 1], dtype=bool)  # detector A of the notebook
    assert interpolate_precision(tp, 8).mean() == pytest.approx((38 + 50 * 0.7) / 101)
    assert not interpolate_precision(tp[:0], 8).any() and not interpolate_precision(tp, 0).any()


@pytest.mark.parametrize("score", [0.0, 0.5, 2.0])
def test_confusion_counts_every_object_and_every_detection_once(score):
    annotations, shapes = world(1, images=30)
    judged = classify_detections(annotations, guesses(shapes, 1, decimals=2))
    counts = count_confusions(judged, score)
    size = len(judged.classes)
    assert counts.shape == (size + 1, size + 1) and counts[-1, -1] == 0
    assert (
        counts[:-1].sum(axis=1).tolist()
        == np.bincount(judged.object_label, minlength=size).tolist()
    )
    used = (judged.score >= score) & (judged.place > -2)
    assert (
        counts[:, :-1].sum(axis=0).tolist()
        == np.bincount(judged.label[used], minlength=size).tolist()
    )


def test_confusion_does_not_ask_for_the_class():
    pair = truth((1, A, OBJECT), (2, B, OBJECT))
    judged = classify_detections(
        pair, found((1, B, OBJECT, 0.9), (1, A, OBJECT, 0.8), (2, B, FAR, 0.7), (2, B, OBJECT, 0.3))
    )
    assert count_confusions(judged, 0.5).tolist() == [[0, 1, 0], [0, 0, 1], [1, 1, 0]]
    assert count_confusions(judged, 0.3).tolist() == [[0, 1, 0], [0, 1, 0], [1, 1, 0]]


def test_images_are_ordered_by_f1_and_ties_by_id():
    judged = classify_detections(
        truth((1, A, OBJECT), (2, A, OBJECT), (2, A, FAR)),
        found((1, A, OBJECT, 0.9), (2, A, OBJECT, 0.9), (2, B, FAR, 0.6), (3, A, FAR, 0.9)),
    )
    assert score_images(judged) == pytest.approx({1: 1.0, 2: 0.5})  # picture 3 holds no object
    assert score_images(judged, 0.95) == {1: 0, 2: 0}
    assert pick_extreme_images([{3: 0.5, 1: 0.5, 2: 0.9, 7: 0.5}]) == {
        "best": 2,
        "median": 3,
        "worst": 7,
    }
    assert pick_extreme_images([{1: 1.0, 2: 0.0}, {1: 0.0, 2: 0.5}]) == {"best": 1, "median": 2}
    assert pick_extreme_images([{4: 0.2}]) == {"best": 4} and pick_extreme_images([{}]) == {}


def test_a_model_that_finds_nothing():
    judged = classify_detections(truth((1, A, OBJECT), (2, B, OBJECT)), [])
    made = weigh_errors(judged)
    assert made.ap50 == 0 and made.counts == dict.fromkeys(ERROR_TYPES, 0) | {"missed": 2}
    assert set(made.gains.values()) == {0.0} and made.false_positives == made.false_negatives == 0
    assert count_confusions(judged).tolist() == [[0, 0, 1], [0, 0, 1], [0, 0, 0]]
    assert score_images(judged) == {1: 0, 2: 0}


def test_pictures_with_nothing_but_crowds_have_no_ap():
    made = weigh_errors(
        classify_detections(
            truth(crowds=[(1, A, OBJECT)]), found((1, A, OBJECT, 0.9), (2, A, OBJECT, 0.9))
        )
    )
    assert math.isnan(made.ap50) and made.counts["background"] == 1  # that of the second picture
