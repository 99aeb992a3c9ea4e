"""Notebook 01: its losses are those of lightly on the same tensors, its parts what they are called.

The cells are executed as they stand in the notebook, in their order, without those that train, draw
or score.
"""

import csv
import inspect
import re
from pathlib import Path

import lightly.loss
import numpy as np
import pytest
import scipy.special
import torch
import torch.nn.functional as F
from lightly.loss.swav_loss import sinkhorn
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from skimage.filters import threshold_otsu
from torch import nn

from benchmarks import methods
from byol_helpers import pipeline
from byol_helpers.synthetic import scenes
from tests.helpers.notebook_rules import Notebook, text

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOK = ROOT / "notebooks" / "01-without-labels.ipynb"
CELLS = (
    "scene", "otsu", "grow", "watershed", "cut", "cut-2", "encoder", "views", "learner", "loop",
    "rotation", "colour", "order", "order-2", "nce", "simclr", "bank", "moco", "sinkhorn", "swav",
    "deepcluster", "simsiam", "byol",
)  # fmt: skip
N = 100


@pytest.fixture(scope="module")
def names():
    """The names that the cells define."""
    cells = {cell["id"]: text(cell["source"]) for cell in Notebook(NOTEBOOK, ROOT).cells}
    torch.manual_seed(0)
    space = {"np": np, "torch": torch, "F": F, "nn": nn, "scenes": scenes, "COUNT": 40}
    exec("import copy", space)
    space["crops"] = torch.rand(200, 3, 48, 48)
    space["labels"] = torch.arange(200) % 10
    space["KINDS"] = list(range(10))
    for name in CELLS:
        exec(cells[f"c01-{name}"], space)
    return space


@pytest.fixture
def rows():
    draw = torch.Generator().manual_seed(1)
    return [torch.randn(N, 64, generator=draw) for _ in range(4)]


def make(names, kind, seed=0):
    return names[kind](names["make_encoder"](seed))


def same(ours, theirs):
    return float(ours) == pytest.approx(float(theirs), abs=1e-5)


def test_simclr_is_lightlys_nt_xent(names, rows):
    learner = make(names, "SimCLR")
    theirs = lightly.loss.NTXentLoss(temperature=learner.temperature)
    assert same(learner.compare(*rows[:2]), theirs(*rows[:2]))


def find_in_dictionary(queries, keys, positives, temperature):
    """lightly's loss of each query with one positive key, all other keys being its negatives."""
    found = []
    for query, positive in zip(queries, positives, strict=True):
        others = torch.cat([keys[:positive], keys[positive + 1 :]])
        loss = lightly.loss.NTXentLoss(temperature, memory_bank_size=tuple(others.shape))
        loss.memory_bank.bank = others
        loss.memory_bank.bank_ptr = torch.zeros(1, dtype=torch.long)
        found.append(loss(query[None], keys[positive][None]))
    return torch.stack(found).mean()


def test_the_banks_loss_is_lightlys_with_the_other_entries_as_negatives(names, rows):
    learner = make(names, "MemoryBank")
    index = torch.randperm(200)[:N]
    theirs = [find_in_dictionary(z, learner.bank, index, learner.temperature) for z in rows[:2]]
    assert same(learner.compare(*rows[:2], index), sum(theirs) / 2)


def test_mocos_loss_is_lightlys_with_the_rest_of_the_queue_as_negatives(names, rows):
    learner = make(names, "MoCo")
    theirs = find_in_dictionary(rows[0], learner.queue, range(N), learner.temperature)
    assert same(learner.compare(rows[0]), theirs)


def test_codes_and_loss_of_swav_are_lightlys(names, rows):
    scores = [F.normalize(z[:, :30], dim=1) for z in rows[:2]]
    learner = make(names, "SwAV")
    theirs = sinkhorn(scores[0], epsilon=learner.epsilon)
    assert torch.allclose(names["sinkhorn"](scores[0], learner.epsilon), theirs, atol=1e-5)
    theirs = lightly.loss.SwaVLoss(temperature=0.1, sinkhorn_epsilon=learner.epsilon)(scores, [])
    assert same(learner.compare(*scores), theirs)


def test_deepclusters_loss_is_a_cross_entropy(names, rows):
    labels = torch.arange(N) % 30
    parts = []
    for z in rows[:2]:
        logs = scipy.special.log_softmax(z.numpy(), axis=1)
        parts.append(-logs[np.arange(N), labels.numpy()].mean())
    assert same(make(names, "DeepCluster").compare(*rows[:2], labels), np.mean(parts))


def test_simsiam_and_byol_are_lightlys_negative_cosine(names, rows):
    p, r, z, w = rows
    cosine = lightly.loss.NegativeCosineSimilarity()
    one = cosine(p, w)
    other = cosine(r, z)
    assert same(make(names, "SimSiam").compare(p, r, z, w), (one + other) / 2)
    assert same(make(names, "BYOL").compare(p, r, z, w), 4 + 2 * (one + other))


def test_every_method_has_the_value_that_won_its_trials(names):
    with (ROOT / "notebooks/01-settings.csv").open(newline="") as file:
        trials = list(csv.DictReader(file))
    by_method = {}
    for trial in trials:
        by_method.setdefault(trial["method"], []).append(trial)
    assert len(by_method) == 7
    for method, own in by_method.items():
        assert len(own) == 3 and len({trial["value"] for trial in own}) == 3
        best = max(own, key=lambda trial: float(trial["probe"]))
        parameters = inspect.signature(names[method]).parameters
        assert parameters[best["setting"]].default == float(best["value"]), method


def read_recorded():
    with methods.RECORDED.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def untrained(tmp_path):
    """The names of the notebook at its own settings, before it trains; few crops are made."""
    names = methods.import_names()
    methods.run_cells(names, ["parameters"])
    names |= {"smoke": True, "seeds": [], "others": [], "steps": names["STEPS"]}
    methods.run_cells(names, [*methods.CELLS, *methods.PRETEXT, "learners"])
    names |= {"COUNT": methods.CROPS, "run": pipeline.open_run("quick", tmp_path)}
    names |= {"others": [1, 2], "recorded": read_recorded()}
    names["untrained"] = {"untrained, measured": {1: 0.2, 2: 0.2}}
    return names


def test_recorded_trainings_are_of_todays_code_and_settings(untrained):
    methods.run_cells(untrained, ["train", "judge"])
    assert untrained["fits"] and untrained["counted"] == [1, 2]
    assert all(len(values) == 2 for values in untrained["scores"].values())
    trainings = {(row["learner"], row["seed"]) for row in read_recorded()}
    assert trainings == {(name, seed) for name in untrained["LEARNERS"] for seed in "12"}


@pytest.mark.parametrize("name", ["steps", "LEARNING_RATE"])
def test_recorded_trainings_of_other_settings_are_left_out(untrained, name):
    untrained[name] /= 2
    methods.run_cells(untrained, ["train", "judge"])
    assert untrained["judged"] == untrained["counted"] == []
    assert "1, 2 (left out" in untrained["origin"]


def test_recorded_trainings_of_another_class_are_left_out(untrained):
    untrained["LEARNERS"]["BYOL"] = untrained["SimSiam"]
    methods.run_cells(untrained, ["train", "judge"])
    assert not untrained["fits"]


@pytest.mark.slow
def test_the_command_begins_the_trainings_that_are_recorded(tmp_path, monkeypatch):
    short = methods.NOTEBOOK.read_text(encoding="utf-8").replace(
        "STEPS: int = 400", "STEPS: int = 3"
    )
    monkeypatch.setattr(methods, "NOTEBOOK", tmp_path / "short.ipynb")
    methods.NOTEBOOK.write_text(short, encoding="utf-8")
    out = tmp_path / "seeds.csv"
    methods.main(["--seeds", "1", "--run", str(tmp_path / "run"), "--out", str(out)])
    with out.open(newline="") as file:
        made = list(csv.DictReader(file))
    recorded = [row for row in read_recorded() if row["seed"] == "1"]
    for mine, theirs in zip(made, recorded, strict=True):
        assert mine["learner"] == theirs["learner"] and mine["digest"] != theirs["digest"]
        assert float(mine["first loss"]) == pytest.approx(float(theirs["first loss"]), abs=2e-3)


def test_nce_with_three_keys_is_a_cross_entropy(names):
    scores = torch.tensor(names["similarity"]) / 0.5
    theirs = F.cross_entropy(scores, torch.arange(3), reduction="none")
    assert np.allclose(names["each"], theirs)


@pytest.mark.parametrize("kind", ["MoCo", "BYOL"])
def test_the_slow_network_takes_its_share_of_the_step_and_no_gradient(names, kind):
    learner = make(names, kind)
    slow = learner.key_network if kind == "MoCo" else learner.target
    share = 1 - (learner.m if kind == "MoCo" else learner.tau)
    before = [p.clone() for p in slow.parameters()]
    learnt = [*learner.encoder.parameters(), *learner.head.parameters()]
    with torch.no_grad():
        for p in learnt:
            p.add_(1)
    learner.after_step()
    for old, new in zip(before, slow.parameters(), strict=True):
        assert torch.allclose(new - old, torch.full_like(old, share), atol=1e-5)
    assert not any(p.requires_grad for p in slow.parameters())


def test_the_newest_keys_push_out_the_oldest(names):
    learner = make(names, "MoCo")
    old = learner.queue.clone()
    views = torch.rand(2, N, 3, 32, 32)
    learner.loss(*views, torch.arange(N))
    assert torch.equal(learner.queue[N:], old[:-N])
    assert torch.allclose(learner.queue.norm(dim=1), torch.ones(len(old)))


def test_only_the_entries_of_the_batch_change_in_the_bank(names):
    learner = make(names, "MemoryBank")
    old = learner.bank.clone()
    index = torch.arange(50, 50 + N)
    learner.loss(*torch.rand(2, N, 3, 32, 32), index)
    changed = (learner.bank != old).any(dim=1).nonzero().flatten()
    assert torch.equal(changed, index)


KINDS = (
    "Rotation", "Jigsaw", "Colourisation", "TemporalOrder", "Supervised", "SimCLR", "MemoryBank",
    "MoCo", "SwAV", "DeepCluster", "SimSiam", "BYOL",
)  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_every_learner_moves_every_layer_of_its_encoder(names, kind):
    learner = make(names, kind)
    before = [p.clone() for p in learner.encoder.parameters()]
    losses = names["train"](learner, 0, 2)
    assert len(losses) == 2 and np.isfinite(losses).all()
    for old, new in zip(before, learner.encoder.parameters(), strict=True):
        assert not torch.equal(old, new)


def test_the_jigsaws_label_names_the_order_of_the_quarters(names, monkeypatch):
    learner = make(names, "Jigsaw")
    assert len(learner.orders) == 24
    seen = []

    class Spy(nn.Module):
        def forward(self, images):
            seen.append(images)
            return torch.zeros(len(images), 128)

    learner.encoder = Spy()
    quarters = torch.arange(4.0).reshape(1, 1, 2, 2).repeat_interleave(16, 2)
    view = quarters.repeat_interleave(16, 3).expand(24, 3, 32, 32)
    monkeypatch.setattr(torch, "randint", lambda *_: torch.arange(24))
    learner.loss(view, None, None)
    corners = seen[0][:, 0, ::16, ::16].flatten(1).long()
    assert torch.equal(corners, learner.orders)


def test_every_row_has_the_nearest_of_three_means(names):
    centres = torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]])
    rows = centres.repeat_interleave(20, dim=0) + 0.1 * torch.randn(60, 2)
    labels, means = names["find_clusters"](rows, 3)
    assert torch.equal(labels, torch.cdist(rows, means).argmin(dim=1))
    assert len(labels.unique()) == 3 and means.shape == (3, 2)


@pytest.fixture(scope="module")
def picture(names):
    return names["pictures"][1][0]


def test_otsus_threshold_is_scikit_images(names):
    draw = np.random.default_rng(0)
    grey = np.concatenate([draw.normal(70, 15, 500), draw.normal(160, 25, 400)])
    grey = grey.clip(0, 255).astype(np.uint8).reshape(30, 30)
    assert names["find_otsu_threshold"](grey) == threshold_otsu(grey)


def test_a_grown_region_is_a_component_of_the_graph_of_small_steps(names, picture):
    colours = picture.astype(float)
    number = np.arange(96 * 96).reshape(96, 96)
    tails = []
    heads = []
    for a, b, step in (
        (number[:, :-1], number[:, 1:], np.diff(colours, axis=1)),
        (number[:-1], number[1:], np.diff(colours, axis=0)),
    ):
        small = np.abs(step).max(axis=2) <= 14
        tails.append(a[small])
        heads.append(b[small])
    tails = np.concatenate(tails)
    graph = coo_array((np.ones(len(tails)), (tails, np.concatenate(heads))), (9216, 9216))
    part = connected_components(graph, directed=False)[1].reshape(96, 96)
    frame = names["frame"]
    wanted = np.isin(part, part[frame])
    assert (names["grow_region"](colours, frame) == wanted).all()


def test_the_cut_costs_what_flows(names, picture):
    mask, flow, price = names["cut_graph"](names["build_graph"](picture.astype(float)))
    assert flow == price > 0
    assert mask[names["middle"]].mean() > 0.5 > mask[names["frame"]].mean()


def test_water_stops_at_a_wall(names):
    height = np.zeros((9, 9))
    height[:, 4] = 1
    markers = np.zeros((9, 9), int)
    markers[4, 0] = 1
    markers[4, 8] = 2
    labels = names["flood"](height, markers)
    assert (labels[:, :4] == 1).all() and (labels[:, 5:] == 2).all()


def test_a_contour_finds_a_disc_on_an_even_ground(names):
    y, x = np.mgrid[:40, :40] - 20
    disc = x**2 + y**2 < 100
    colours = np.repeat(200.0 * disc[..., None], 3, axis=2)
    found = names["move_contour"](colours, x**2 + y**2 < 16)
    assert (found == disc).mean() > 0.99


def test_the_middle_frame_lies_between_the_others(names):
    clips = names["clips"] / 3 + 0.5
    assert clips.shape[1:] == (3, 32, 32)
    assert clips.min() >= 0 and clips.max() <= 1
    moved = (clips[:, 0] - clips[:, 2]).abs().flatten(1).sum(dim=1)
    assert (moved > 0).all()


def test_words_of_the_glossary_are_explained_in_the_overview():
    overview = Notebook(ROOT / "notebooks" / "00-overview.ipynb", ROOT)
    page = "\n".join(text(cell["source"]) for cell in overview.cells)
    glossary = page.partition("## 9 Glossary")[2].partition("\n## ")[0]
    listed = re.findall(r"^\| ([^|]+?) \|", glossary, re.MULTILINE)[1:]
    assert listed == sorted(listed, key=str.lower)
    words = set(listed)
    wanted = {
        "contrastive learning", "InfoNCE", "temperature", "negative, positive", "memory bank",
        "momentum encoder", "prototype", "collapse", "linear probe", "pseudo-label", "nats",
        "oracle",
        "t interval", "chi-square interval", "effective rank", "batch-norm statistics",
        "released backbone",
    }  # fmt: skip
    assert wanted <= words
