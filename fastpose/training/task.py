"""What one training step does: which views are drawn, how they are run, and what is minimised."""

from collections.abc import Callable

import torch
from torch import Tensor

from fastpose.data.sampling.batch import AlphaRange, PoseBatch
from fastpose.models.inputs.protocol import PoseModule
from fastpose.models.outputs import ModelOutput
from fastpose.settings import RunConfig
from fastpose.settings.optim import parse_alpha
from fastpose.training.losses import PoseLoss

CLEAN, NOISY, ANCHOR, SLOW = "clean", "noisy", "anchor", "slow"
STREAMS = {CLEAN: 0, NOISY: 1, ANCHOR: 2, SLOW: 4}  # 3 is evaluation's
Views = dict[str, PoseBatch]  # of the same clips, by name


def labels_of(batches: Views) -> Tensor:
    """Return the classes, int64 [B], of the clips that all views of a batch share, -1 of those without a label."""
    return next(iter(batches.values())).labels


class PoseTask:
    """The three arms of the experiment.

    supervised: cross-entropy on the clean view. augmented: cross-entropy on the noisy view (or on both),
    the control for the contrastive arm. contrastive: cross-entropy, and contrast between the noisy view and
    the clean one, or, where the streams are not shared, a second clean view ("anchor") with its own frames,
    crop and flip. In place of the noisy view there may be one at another speed ("slow"), noisy or not.

    Clips without a label take part in the contrast. Where the model is sure enough of their clean view, its answer
    counts as their class, in the cross-entropy too.
    """

    def __init__(
        self, config: RunConfig, dtype: torch.dtype = torch.float32, class_weights: Tensor | None = None
    ) -> None:
        self.joint_pass, self.separate_pass = config.optim.joint_pass, False
        # Models hand out float32 features that bf16 products have rounded already.
        precision = "bf16" if dtype == torch.bfloat16 else "auto"
        self.loss = PoseLoss(
            config.loss, config.arm == "contrastive", precision, class_weights, config.uses_unlabelled
        )
        self.anchor = CLEAN if config.optim.share_clean else ANCHOR
        self.second = NOISY if config.optim.views == "noise" or config.arm != "contrastive" else SLOW
        low, high = parse_alpha(config.optim.alpha)
        noise = low if low == high else AlphaRange(low, high)
        if config.arm == "supervised":
            self.ce_views = (CLEAN,)
            views = (CLEAN,)
        elif config.arm == "augmented":
            self.ce_views = (CLEAN, NOISY) if config.loss.ce_views == "both" else (NOISY,)
            views = self.ce_views
        else:
            by_choice = {"clean": (CLEAN,), "noisy": (self.second,), "both": (CLEAN, self.second)}
            self.ce_views = by_choice[config.loss.ce_views]
            views = tuple(dict.fromkeys((CLEAN, self.anchor, self.second)))
        noisy = self.second if config.optim.views != "tempo" or config.arm != "contrastive" else None
        self.views = {view: (STREAMS[view], noise if view == noisy else 0.0) for view in views}

    def join_passes(self, model: PoseModule) -> None:
        """Let all views pass through ``model`` at once, each with batch statistics of its own, where the model can."""
        separate = getattr(model, "separate_views", None)
        if separate is not None and not self.joint_pass:
            self.separate_pass = separate(len(self.views))

    def phase(self, epoch: int) -> int:
        """Return the first epoch whose loss has the terms that it has in ``epoch``."""
        begins = [self.loss.settings.sup_thresh] if self.loss.needs_views(epoch) else []
        begins += [self.loss.settings.pseudo_after] if self._guesses(epoch) else []
        return max(begins, default=0)

    def _guesses(self, epoch: int) -> bool:
        """Return whether clips without a label may be given one."""
        settings = self.loss.settings
        return self.loss.partial and settings.pseudo_threshold < 1 and epoch >= settings.pseudo_after

    def forward(self, model: PoseModule, batches: Views) -> dict[str, ModelOutput]:
        """Run the model on each view: clean first, in passes of their own or in one common pass."""
        parts = list(batches.values())
        if len(parts) == 1 or not (self.joint_pass or self.separate_pass):
            outputs = {}
            for view, batch in batches.items():
                outputs[view] = model(model.prepare_input(batch))
            return outputs
        if self.joint_pass:
            output = model(model.prepare_input(PoseBatch.cat(parts)))
            logits, features = (tensor.chunk(len(parts)) for tensor in (output.logits, output.features))
        else:
            output = model(model.prepare_input(PoseBatch.interleave(parts)))
            by_clip = (tensor.unflatten(0, (-1, len(parts))) for tensor in (output.logits, output.features))
            logits, features = (tensor.unbind(1) for tensor in by_clip)
        return {view: ModelOutput(logits=logits[i], features=features[i]) for i, view in enumerate(batches)}

    def step(self, model: PoseModule, batches: Views, epoch: int, autocast: Callable) -> dict[str, Tensor]:
        """Return "loss", its terms, and "output": the logits of the first view under the cross-entropy."""
        with autocast():
            outputs = self.forward(model, batches)
        return self.objective(outputs, labels_of(batches), epoch)

    def couples_clips(self, epoch: int) -> bool:
        """Return whether the loss of ``epoch`` compares clips, so that it needs the whole batch at once.

        So it does where some have no label: the cross-entropy is a mean over those that have one.
        """
        return self.loss.partial or self.loss.needs_views(epoch)

    def objective(self, outputs: dict[str, ModelOutput], labels: Tensor, epoch: int) -> dict[str, Tensor]:
        """Return what ``step`` returns, from what ``forward`` returned for clips of the classes ``labels`` [B].

        Raises:
            ValueError: views are to be contrasted that are not finite; on the CPU alone, since looking would
                make a GPU wait.
        """
        if self.loss.needs_views(epoch) and labels.device.type == "cpu" and not torch.compiler.is_compiling():
            for view, output in outputs.items():
                if not output.logits.isfinite().all():
                    raise ValueError(
                        f"the model's output for the {view} view is not finite in epoch {epoch}: "
                        "training diverged; try a smaller --lr"
                    )
        logits = [outputs[view].logits for view in self.ce_views]
        features = [outputs[view].features for view in self.ce_views]
        guessed = self.loss.guess(outputs[CLEAN].logits, labels) if self._guesses(epoch) else None
        terms = self.loss(
            ModelOutput(torch.cat(logits), torch.cat(features)),
            labels.repeat(len(logits)),
            clean=outputs.get(self.anchor),
            noisy=outputs.get(self.second),
            view_labels=labels if guessed is None else guessed,
            guessed=None if guessed is None else guessed.repeat(len(logits)),
            epoch=epoch,
        )
        if self.loss.partial:
            unlabelled = labels < 0
            met = unlabelled & (guessed >= 0) if guessed is not None else torch.zeros_like(unlabelled)
            terms["pseudo_labelled_share"] = met.sum() / unlabelled.sum().clamp_min(1)
        return {**terms, "output": logits[0]}
