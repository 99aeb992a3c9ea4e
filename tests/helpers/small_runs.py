"""Settings of runs that end in seconds. A later setting wins, so a test adds what it asks about."""

# Every stage, with the network of the profile smoke.
SMALL = [
    "data.unlabelled=16",
    "data.train=4",
    "data.val=2",
    "data.test=4",
    "data.crops=16",
    "supervised.steps=2",
    "supervised.batch_size=4",
    "pretrain.steps=3",
    "pretrain.warmup_steps=1",
    "pretrain.batch_size=4",
    "finetune.steps=20",
    "finetune.batch_size=1",
    "finetune.warmup_steps=2",
    "finetune.decay_steps=[]",
    "evaluate.bootstrap=20",
    "background.images=2",
]
# The same with a network of an eighth of the width and small views.
NARROW = [
    *SMALL,
    "width=8",
    "data.unlabelled=8",
    "data.test=2",
    "pretrain.hidden=16",
    "pretrain.output=8",
    "pretrain.view_size=32",
]
# Mask R-CNN on a ResNet of full width, for scenes of 128 pixels.
FULL_WIDTH = [
    "data.image_size=128",
    "data.world=colours",
    "finetune.short_side=[128]",
    "finetune.anchor_sizes=[8, 16, 32, 64, 128]",
    "finetune.fpn_channels=64",
    "finetune.mask_channels=64",
    "finetune.roi_samples=48",
    "finetune.proposals=200",
    "width=64",
]
