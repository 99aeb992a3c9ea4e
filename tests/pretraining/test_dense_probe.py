"""The dense probe: cells by hand, mIoU by a loop, and encoders of which the answer is known."""

import numpy as np
import pytest
import torch
from torch import nn

from byol_helpers.coco.dataset import load_split
from byol_helpers.coco.preparation import prepare
from byol_helpers.core.profile_files import load_profile
from byol_helpers.core.stage import Run
from byol_helpers.pretraining import dense_probe, probes
from byol_helpers.synthetic import scenes


class Grid(nn.Module):
    """A network in the form of a ResNet: its maps are the means of 4 x 4 pixels, and coarser."""

    def __init__(self):
        super().__init__()
        for name in ("bn1", "relu", "maxpool", "layer1"):
            setattr(self, name, nn.Identity())
        self.conv1 = nn.AvgPool2d(4)
        for name in ("layer2", "layer3", "layer4"):
            setattr(self, name, nn.AvgPool2d(2, ceil_mode=True))
        self.nothing = nn.Parameter(torch.zeros(1))


def test_the_class_that_covers_most_of_a_cell():
    masks = np.zeros((3, 8, 8), bool)
    masks[0, :4, :3] = True  # 12 of 16 pixels of the first cell
    masks[1, :4, 3:5] = True  # 4 of the first, 4 of the second
    masks[2, 4:, :2] = True  # half of the third: a tie with nothing
    assert dense_probe.label_cells(masks, [2, 5, 1], 8).tolist() == [[2, 0], [0, 0]]
    masks[2, 4:, :3] = True
    assert dense_probe.label_cells(masks, [2, 5, 5], 8).tolist() == [[2, 0], [5, 0]]
    ignored = dense_probe.label_cells(masks, [2, 5, dense_probe.IGNORED], 8)
    assert ignored.tolist() == [[2, 0], [-1, 0]]
    assert dense_probe.label_cells(masks[:0], [], 8).tolist() == [[0, 0], [0, 0]]


def test_two_parts_of_one_class_count_together():
    masks = np.zeros((3, 4, 4), bool)
    masks[0, :, :1] = masks[1, :, 1:2] = True
    masks[2, :2, 2:] = True
    assert dense_probe.label_cells(masks, [3, 3, 1], 4).tolist() == [[3]]


def test_miou_against_a_loop():
    random = np.random.default_rng(0)
    truth = torch.from_numpy(random.integers(-1, 4, (6, 5, 5)))
    answers = torch.from_numpy(random.integers(0, 4, (6, 5, 5)))
    layer = nn.Linear(4, 4, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.eye(4))
    features = nn.functional.one_hot(answers).half()
    overlaps, same = dense_probe.count_overlaps([layer, layer], features, truth, 4)
    assert np.array_equal(overlaps.shared, same.shared)
    ious = []
    for category in (1, 2, 3):
        known = truth != dense_probe.IGNORED
        shared = ((truth == category) & (answers == category) & known).sum()
        either = (((truth == category) | (answers == category)) & known).sum()
        ious.append(float(shared / either))
    assert dense_probe.mean_iou(overlaps, np.ones((1, 6)))[0] == pytest.approx(np.mean(ious))
    twice = dense_probe.mean_iou(overlaps, np.array([[2, 2, 2, 2, 2, 2], [1, 0, 0, 0, 0, 0]]))
    alone = dense_probe.Overlaps(overlaps.shared[:1], overlaps.either[:1])
    assert twice[0] == pytest.approx(np.mean(ious))
    assert twice[1] == dense_probe.mean_iou(alone, np.ones((1, 1)))[0]


def test_a_category_that_occurs_nowhere_does_not_count():
    overlaps = dense_probe.Overlaps(np.array([[3, 0]]), np.array([[4, 0]]))
    assert dense_probe.mean_iou(overlaps, np.ones((1, 1)))[0] == 0.75


@pytest.fixture
def patches() -> dense_probe.Places:
    """Noise with squares of red (1) and blue (2), 24 images of 16 cells."""
    random = np.random.default_rng(0)
    cells = torch.from_numpy(random.integers(0, 3, (24, 4, 4)))
    fine = cells.repeat_interleave(4, 1).repeat_interleave(4, 2)
    images = 0.2 * torch.from_numpy(random.standard_normal((24, 3, 16, 16))).float()
    images[:, 0][fine == 1] += 1
    images[:, 2][fine == 2] += 1
    return dense_probe.Places(images, cells)


def test_features_that_hold_the_class_score_one_and_blind_ones_nothing(patches):
    train, test = (
        dense_probe.Places(*(x[half] for x in patches)) for half in (slice(16), slice(16, 24))
    )
    blind = Grid()
    blind.conv1 = nn.Sequential(nn.AvgPool2d(4), nn.Threshold(1e9, 1.0))
    encoders = {"sees": [Grid()], "blind": [blind]}
    controls = {"sees": ["blind"]}
    rows = dense_probe.probe_densely(encoders, train, test, 2, controls, (10, 16), repeats=2)
    assert [(row["encoder"], row["images"]) for row in rows] == [
        ("sees", 10),
        ("sees", 16),
        ("blind", 10),
        ("blind", 16),
    ]
    for row in rows[:2]:
        assert row["value"] > 0.97 and row["low"] > 0.9
    for row in rows[2:]:
        assert row["value"] < 0.3, "one class everywhere: at best its share, and 0 for the other"
        assert row["gains"] == {}
    for seeing, blinded in zip(rows[:2], rows[2:], strict=True):
        gain = seeing["gains"]["blind"]
        assert gain["value"] == pytest.approx(seeing["value"] - blinded["value"])
        assert gain["low"] <= gain["value"] <= gain["high"]


def test_a_gain_is_paired_over_images_and_repeats():
    random = np.random.default_rng(0)
    found = []
    for _ in range(3):
        either = random.integers(50, 100, (40, 2))
        shared = (either * random.uniform(0.1, 0.9, (40, 1))).astype(int)
        found.append(dense_probe.Overlaps(shared, either))
    better = [dense_probe.Overlaps(part.shared + 2, part.either) for part in found]
    drawn_found = dense_probe.draw_miou(found)
    drawn_better = dense_probe.draw_miou(better)
    alone = dense_probe.score_draws(drawn_better)
    gain = dense_probe.score_draws(drawn_better, drawn_found)
    assert gain["value"] == pytest.approx(
        alone["value"] - dense_probe.score_draws(drawn_found)["value"]
    )
    assert gain["high"] - gain["low"] < 0.1 * (alone["high"] - alone["low"])
    assert dense_probe.score_draws(drawn_found, drawn_found) == {"value": 0, "low": 0, "high": 0}


def test_standardisation_is_folded_into_the_layer(patches):
    features = dense_probe.join_stages(Grid(), patches.images)
    assert features.shape == (24, 4, 4, 12) and features.dtype == torch.float16
    plain = dense_probe.train_layer(features, patches.cells, 3, seed=0)
    moved = dense_probe.train_layer(features * 8 + 5, patches.cells, 3, seed=0)
    with torch.no_grad():
        torch.testing.assert_close(
            plain(features.float()), moved(features.float() * 8 + 5), atol=0.05, rtol=0.05
        )


def test_ignored_cells_teach_nothing(patches):
    cells = patches.cells.clone()
    cells[patches.cells == 2] = dense_probe.IGNORED
    features = dense_probe.join_stages(Grid(), patches.images)
    layer = dense_probe.train_layer(features, cells, 3, seed=0)
    with torch.no_grad():
        assert not (layer(features.float()).argmax(dim=-1) == 2).any()


def test_places_of_a_generated_split(tmp_path):
    few = [
        "train=4",
        "val=2",
        "test=5",
        "unlabelled=4",
        "crops=16",
        "crop_size=32",
        "image_size=64",
    ]
    profile = load_profile("smoke", ["data.world=shapes", *(f"data.{count}" for count in few)])
    run = Run(tmp_path, profile)
    prepare(run)
    split = load_split(run, "test")
    size = 64
    places = dense_probe.read_places(split, size, count=3)
    assert places.images.shape == (3, 3, size, size)
    for index in range(3):
        made = scenes.make_scene(profile.seed, index, size, "test", "shapes")
        ids = [category["id"] for category in split.categories]
        masks = np.zeros((len(made.instances), size, size), bool)
        labels = []
        for k, instance in enumerate(made.instances):
            masks[k] = instance.mask
            number = 1 + ids.index(instance.category_id)
            labels.append(dense_probe.IGNORED if instance.iscrowd else number)
        expected = dense_probe.label_cells(masks, labels, size)
        assert np.array_equal(places.cells[index].numpy(), expected)
        torch.testing.assert_close(
            places.images[index], probes.normalise_pixels(made.image[None])[0]
        )
    half = dense_probe.read_places(split, size // 2, count=3)
    assert half.cells.shape == (3, size // 8, size // 8)


def make_rows() -> list[dict]:
    """A control, and an encoder that is better with 50 labelled images alone."""
    control = {"encoder": "start", "value": 0.1, "low": 0.08, "high": 0.12, "gains": {}}
    small = {"value": 0.01, "low": -0.01, "high": 0.02}
    large = {"value": 0.25, "low": 0.2, "high": 0.3}
    trained = {"encoder": "trained", "value": 0.35, "low": 0.3, "high": 0.4}
    return [
        control | {"images": 10},
        control | {"images": 50},
        trained | {"images": 10, "gains": {"start": small}},
        trained | {"images": 50, "gains": {"start": large}},
    ]


def test_the_table_has_the_gains_with_the_most_labelled_images():
    head, lines = dense_probe.tabulate_rows(make_rows())
    assert head == ["mIoU (%) by labelled images", "10", "50", "gain over start"]
    value = "35.0 (30.0 to 40.0)"
    assert lines[0] == ["start", "10.0 (8.0 to 12.0)", "10.0 (8.0 to 12.0)", "–"]
    assert lines[1] == ["trained", value, value, "+25.0 (+20.0 to +30.0)"]


def test_sentences_say_where_a_gain_is_seen():
    rows = make_rows()
    (said,) = dense_probe.describe_gains(rows)
    assert said == "trained against start: not told apart with 10, better with 50 labelled images"
    rows[3]["gains"]["start"] = {"value": -0.2, "low": -0.3, "high": -0.1}
    (said,) = dense_probe.describe_gains(rows)
    assert "worse with 50" in said
