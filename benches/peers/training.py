"""One policy update: TRL's GRPO loss, backward, clip, AdamW.

A setting holds `threads`, `batch` (sequences at once; gradients of all batches add up), `head` (`trl`: its own
chunked head, `kept`: the completion's logits) and `optimizer` (`fused` or `foreach`).
"""

import torch

import grpo
from scoring import Scorers, best_threads
from timing import fastest, timed


class Training:
    """The policy with its trainer and optimizers, and what it trains on."""

    def __init__(self, folder, inputs, work, dtype):
        self.work, self.dtype, self.folder = work, dtype, folder
        self.inputs = inputs
        self.trainer = grpo.trainer(folder, inputs, dtype, {"batch": 16}, lambda ids, _: [0.0] * len(ids))
        # The reference's log-probs are given.
        self.trainer.ref_model = None
        self.parameters = [p for p in self.trainer.model.parameters() if p.requires_grad]
        self.optimizers = {}
        self.own_head = self.trainer._get_per_token_logps_and_entropies
        self.kept_head = grpo.kept_log_probs(self.trainer)
        update = inputs["updates"][work]
        prompt, ids = update["prompt"], torch.tensor(update["sequences"])
        completions = ids[:, prompt:]
        self.batch = {
            "prompt_ids": ids[:, :prompt],
            "prompt_mask": torch.ones_like(ids[:, :prompt]),
            "completion_ids": completions,
            "completion_mask": torch.ones_like(completions),
            "advantages": torch.tensor(update["advantages"]),
            "old_per_token_logps": torch.tensor(update["old"]),
            "ref_per_token_logps": torch.tensor(update["reference"]),
        }

    def optimizer(self, implementation):
        """The optimizer of this name; another one's moments are dropped."""
        if implementation not in self.optimizers:
            self.optimizers = {implementation: grpo.optimizer(self.parameters, self.inputs, implementation)}
        return self.optimizers[implementation]

    def gradients(self, setting):
        """Forward and backward of all batches; the loss."""
        kept = setting["head"] == "kept"
        self.trainer._get_per_token_logps_and_entropies = self.kept_head if kept else self.own_head
        sequences = len(self.batch["advantages"])
        self.trainer.current_gradient_accumulation_steps = sequences // setting["batch"]
        total = 0.0
        for start in range(0, sequences, setting["batch"]):
            part = {name: tensor[start : start + setting["batch"]] for name, tensor in self.batch.items()}
            loss = self.trainer._compute_loss(self.trainer.model, part)
            loss.backward()
            total += loss.item()
        return total

    def clip_and_update(self, setting):
        """Clips, updates and clears the gradients; their norm before clipping."""
        norm = torch.nn.utils.clip_grad_norm_(self.parameters, self.inputs["max_grad_norm"])
        optimizer = self.optimizer(setting["optimizer"])
        optimizer.step()
        optimizer.zero_grad()
        return norm.item()


def run(training, work, inputs, setting):
    """One update. The check holds loss and gradient norm."""
    training.optimizer(setting["optimizer"])
    seconds, (loss, norm) = timed(lambda: (training.gradients(setting), training.clip_and_update(setting)))
    return {"seconds": seconds, "check": {"loss": [loss], "grad_norm": [norm]}}


def tune(training, work, inputs):
    """Chooses threads on one chat, the optimizer by itself, the head in batches of 4, then the batch."""
    threads, tried = best_threads(Scorers(training.folder, training.dtype), inputs)
    setting = {"threads": threads, "batch": 4, "head": "trl", "optimizer": "foreach"}

    def gradients(setting):
        return timed(lambda: training.gradients(setting))[0]

    heads = [setting | {"head": head} for head in ("trl", "kept")]
    best, heads = fastest(heads, gradients)
    batches = [best | {"batch": batch} for batch in (2, 8, 16)]
    _, batches = fastest(batches, gradients)
    setting = min(heads + batches, key=lambda one: one["seconds"])["setting"]

    def update(setting):
        # The first of two makes the moments.
        for _ in range(2):
            for parameter in training.parameters:
                parameter.grad = torch.full_like(parameter, 1e-3)
            seconds = timed(lambda: training.clip_and_update(setting))[0]
        return seconds

    setting, optimizers = fastest([setting | {"optimizer": name} for name in ("foreach", "fused")], update)
    return {"setting": setting, "tried": tried + heads + batches + optimizers}
