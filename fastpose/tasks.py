"""What one training step does: which views are drawn, how they are run, and what is minimised."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from fastpose.config import RunConfig, parse_alpha
from fastpose.data.sampling import AlphaRange, PoseBatch
from fastpose.losses import PoseLoss
from fastpose.models.outputs import ModelOutput

CLEAN, NOISY, ANCHOR = "clean", "noisy", "anchor"
STREAMS = {CLEAN: 0, NOISY: 1, ANCHOR: 2}


class PoseTask:
    """The three arms of the experiment.

    supervised: cross-entropy on the clean view. augmented: cross-entropy on the noisy view (or on both),
    the control for the contrastive arm. contrastive: cross-entropy, and contrast between the noisy view and
    the clean one, or, where the streams are not shared, a second clean view ("anchor") with its own frames,
    crop and flip.
    """

    def __init__(self, config: RunConfig, num_classes: int) -> None:
        self.config = config
        self.loss = PoseLoss(config.loss, num_classes)
        low, high = parse_alpha(config.optim.alpha)
        noise = low if low == high else AlphaRange(low, high)
        if config.arm == "supervised":
            self.ce_views = (CLEAN,)
            views = (CLEAN,)
        elif config.arm == "augmented":
            self.ce_views = (CLEAN, NOISY) if config.loss.ce_views == "both" else (NOISY,)
            views = self.ce_views
        else:
            self.ce_views = (CLEAN, NOISY) if config.loss.ce_views == "both" else (config.loss.ce_views,)
            shared = config.optim.share_clean
            views = (CLEAN, NOISY) if shared else (CLEAN, ANCHOR, NOISY)
            self.anchor = CLEAN if shared else ANCHOR
        self.views = {view: (STREAMS[view], noise if view == NOISY else 0.0) for view in views}

    def forward(self, model: nn.Module, batches: dict[str, PoseBatch]) -> dict[str, ModelOutput]:
        """Run the model on each view: clean first, in passes of their own or in one common pass."""
        if not self.config.optim.joint_pass or len(batches) == 1:
            return {view: model(model.prepare_input(batch)) for view, batch in batches.items()}
        inputs = torch.cat([model.prepare_input(batch) for batch in batches.values()])
        output = model(inputs)
        logits = output.logits.chunk(len(batches))
        features = output.features.chunk(len(batches))
        return {view: ModelOutput(logits=logits[i], features=features[i]) for i, view in enumerate(batches)}

    def step(
        self, model: nn.Module, batches: dict[str, PoseBatch], epoch: int, autocast: Callable
    ) -> dict[str, Tensor]:
        """Return "loss", its parts, and "output": the logits of the first view under the cross-entropy."""
        with autocast():
            outputs = self.forward(model, batches)
        labels = next(iter(batches.values())).labels
        supervised = [outputs[view].logits for view in self.ce_views]
        pair = (outputs[self.anchor], outputs[NOISY]) if self.config.arm == "contrastive" else None
        parts = self.loss(supervised, labels, pair, epoch)
        return {**parts, "output": supervised[0]}
