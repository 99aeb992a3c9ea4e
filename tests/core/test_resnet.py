"""The one ResNet: torchvision's own in full width, and the same in any other."""

import pytest
import torch
from torch import nn
from torchvision.models import resnet18, resnet50
from torchvision.ops import FrozenBatchNorm2d

from byol_helpers.core.resnet import build_resnet, count_channels, make_group_norm
from byol_helpers.core.weights import drop_statistics
from byol_helpers.pretraining.encoder import build_encoder

PUBLISHED = {18: resnet18, 50: resnet50}


@pytest.mark.parametrize("depth", [18, 50])
@pytest.mark.parametrize("norm", [nn.BatchNorm2d, FrozenBatchNorm2d])
@pytest.mark.parametrize("zero", [False, True])
def test_in_full_width_it_is_torchvisions_bit_for_bit(depth, norm, zero):
    """And as many random numbers are drawn, so that what is drawn next is the same too."""
    torch.manual_seed(3)
    theirs = PUBLISHED[depth](weights=None, norm_layer=norm, zero_init_residual=zero).state_dict()
    next_of_theirs = torch.rand(1)
    torch.manual_seed(3)
    ours = build_resnet(depth, norm_layer=norm, zero_init_residual=zero).state_dict()
    assert torch.equal(next_of_theirs, torch.rand(1))
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


@pytest.mark.parametrize("depth", [18, 50])
@pytest.mark.parametrize("width", [16, 24, 128])
def test_another_width_scales_every_layer(depth, width):
    theirs = PUBLISHED[depth](weights=None).state_dict()
    with torch.device("meta"):
        ours = build_resnet(depth, width).state_dict()
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        wanted = [size * width // 64 if size >= 64 else size for size in value.shape]
        if name.startswith("fc."):
            wanted[0] = 1000
        assert list(ours[name].shape) == wanted, name


@pytest.mark.parametrize("depth", [18, 50])
def test_the_stages_have_the_channels_that_are_said(depth):
    network = build_encoder(depth, 16).eval()
    x = network.maxpool(network.relu(network.bn1(network.conv1(torch.randn(1, 3, 64, 64)))))
    channels = []
    for stage in (network.layer1, network.layer2, network.layer3, network.layer4):
        x = stage(x)
        channels.append(x.shape[1])
    assert channels == count_channels(depth, 16)
    assert network.width == channels[-1]


@pytest.mark.parametrize("depth", [18, 50])
def test_a_narrow_network_is_drawn_as_a_full_one(depth):
    """Kaiming by the outputs, gamma 1 and beta 0; residual branches at 0 where that is asked."""
    torch.manual_seed(0)
    network = build_resnet(depth, 32, zero_init_residual=True)
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d):
            outputs = module.out_channels * module.kernel_size[0] * module.kernel_size[1]
            spread = float(module.weight.detach().std()) * (outputs / 2) ** 0.5
            assert 0.9 < spread < 1.1, name
        elif isinstance(module, nn.BatchNorm2d):
            last = name.endswith("bn2" if depth == 18 else "bn3")
            assert set(module.weight.tolist()) == {0.0 if last else 1.0}, name
            assert set(module.bias.tolist()) == {0.0}


@pytest.mark.parametrize(("channels", "groups"), [(8, 4), (16, 8), (64, 32), (512, 32)])
def test_group_norm_is_that_of_its_paper(channels, groups):
    """Each group of an image has mean 0 and variance 1 before gamma and beta."""
    norm = make_group_norm(channels)
    assert norm.num_groups == groups
    torch.manual_seed(0)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    x = 3 + 2 * torch.randn(2, channels, 5, 7)
    parts = x.double().reshape(2, groups, -1)
    mean = parts.mean(dim=2, keepdim=True)
    variance = parts.var(dim=2, keepdim=True, correction=0)
    plain = ((parts - mean) / (variance + norm.eps).sqrt()).reshape(x.shape)
    expected = plain * norm.weight[:, None, None] + norm.bias[:, None, None]
    torch.testing.assert_close(norm(x).double(), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("width", [16, 64])
def test_a_resnet_of_group_norms_has_the_tensors_of_one_of_batch_norms(width):
    grouped = build_resnet(18, width, make_group_norm).state_dict()
    batch = build_resnet(18, width).state_dict()
    assert grouped.keys() == drop_statistics(batch).keys()
    assert all(grouped[name].shape == batch[name].shape for name in grouped)
