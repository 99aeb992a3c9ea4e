"""The channels of an image: how many there are, and the statistics that normalise them."""

from dataclasses import dataclass

from torch import nn


@dataclass(frozen=True)
class Channels:
    """The input channels of a network, in their order.

    Attributes:
        names: one for each channel.
        mean: of each channel, for values in 0..1.
        std: standard deviation of each channel, for values in 0..1.
    """

    names: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __len__(self) -> int:
        return len(self.names)


RGB = Channels(("R", "G", "B"), (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))  # ImageNet's


def set_input_channels(network: nn.Module, channels: Channels) -> None:
    """Give a torchvision ResNet a random first convolution for other channels than three.

    With three channels nothing changes, and no random number is drawn.
    """
    first = network.get_submodule("conv1")
    if not isinstance(first, nn.Conv2d):
        raise TypeError("conv1 must be a convolution")
    if first.in_channels == len(channels):
        return
    wanted = nn.Conv2d(len(channels), first.out_channels, 7, stride=2, padding=3, bias=False)
    nn.init.kaiming_normal_(wanted.weight, mode="fan_out", nonlinearity="relu")
    network.conv1 = wanted
