"""Writes fixtures/grpo_off_policy.json: TRL's own losses for samples of another engine, masks and entropies.

    pip install trl==1.16.0
    python xtask/conformance/scripts/off_policy_golden.py xtask/conformance/fixtures

Loss: `GRPOTrainer._compute_loss` and `RLOOTrainer._compute_loss`, called on a stub trainer. Importance ratios and
RLOO's advantages: the statements of the trainers that make them, taken from their source at run time. Everything is
float64 on the CPU; the log-probs and entropies are leaves, so that the gradients are with respect to them.
"""

import inspect
import json
import math
import random
import sys
import textwrap
from collections import defaultdict
from pathlib import Path
from types import SimpleNamespace

import torch
import trl
from trl.trainer import grpo_trainer, rloo_trainer
from trl.trainer.grpo_trainer import GRPOTrainer
from trl.trainer.rloo_trainer import RLOOTrainer

GROUP_SIZE = 3
LENGTHS = [[7, 4, 6, 2, 5, 1], [3, 5, 5, 8, 2, 4]]


class Accelerator:
    num_processes = 1
    sync_gradients = True

    def gather(self, x):
        return x

    gather_for_metrics = gather

    def reduce(self, x, reduction="sum"):
        return x

    def pad_across_processes(self, x, dim=0, pad_index=0):
        return x


def statements(cls, method, first, last):
    """The statements of a method from the line that begins with `first` up to the one that begins with `last`."""
    lines = inspect.getsource(getattr(cls, method)).split("\n")
    begin = next(i for i, line in enumerate(lines) if line.strip().startswith(first))
    end = next(i for i in range(begin + 1, len(lines)) if lines[i].strip().startswith(last))
    return textwrap.dedent("\n".join(lines[begin:end]))


def make_case(seed, lengths):
    draw = random.Random(seed)
    width = max(lengths)

    def rows(make):
        # Single precision holds them exactly: TRL takes its entropy quantile in float32.
        return [[round(make() * 4096) / 4096 for _ in range(width)] for _ in lengths]

    logps = rows(lambda: -draw.uniform(0.05, 4.0))

    def near(spread):
        noise = rows(lambda: draw.gauss(0, spread))
        return [[a + b for a, b in zip(x, y)] for x, y in zip(logps, noise)]

    return {
        "group_size": GROUP_SIZE,
        "logps": logps,
        "old_logps": near(0.25),
        "ref_logps": near(0.5),
        "sampling_logps": near(0.35),
        "entropies": rows(lambda: draw.uniform(0.0, 3.0)),
        "mask": [[int(t < n) for t in range(width)] for n in lengths],
        "rewards": [round(draw.gauss(0, 1), 6) for _ in lengths],
    }


def tensor(values):
    return torch.tensor(values, dtype=torch.float64)


def group_advantages(case):
    rewards = tensor(case["rewards"]).view(-1, GROUP_SIZE)
    centred = rewards - rewards.mean(1, keepdim=True)
    return (centred / (rewards.std(1, keepdim=True) + 1e-4)).view(-1)


def leave_one_out(case, normalize):
    names = {
        "self": SimpleNamespace(normalize_advantages=normalize),
        "rewards": tensor(case["rewards"]),
        "num_generations": GROUP_SIZE,
        "torch": torch,
        "nanstd": rloo_trainer.nanstd,
    }
    method = "_generate_and_score_completions"
    exec(statements(RLOOTrainer, method, "grouped_rewards = rewards.view", "# Slice"), names)
    return names["advantages"]


def importance_ratio(case, options):
    names = {
        "self": SimpleNamespace(
            use_vllm=True,
            vllm_importance_sampling_correction=True,
            vllm_importance_sampling_mode=options["vllm_importance_sampling_mode"],
            vllm_importance_sampling_clip_max=options.get("vllm_importance_sampling_clip_max", 3.0),
            vllm_importance_sampling_clip_min=options.get("vllm_importance_sampling_clip_min"),
        ),
        "completion_mask": tensor(case["mask"]),
        "tool_mask": None,
        "old_per_token_logps": tensor(case["old_logps"]),
        "sampling_per_token_logps": tensor(case["sampling_logps"]),
        "torch": torch,
        "math": math,
    }
    first = "# Compute the importance sampling ratio when using vLLM"
    last = "# Compute the per-token log probabilities for the reference model"
    exec(statements(GRPOTrainer, "_generate_and_score_completions", first, last), names)
    return names["vllm_importance_sampling_ratio"]


def leaves(case):
    return tensor(case["logps"]).requires_grad_(), tensor(case["entropies"]).requires_grad_()


def stub(cls, logps, entropies, **attributes):
    trainer = SimpleNamespace(
        _get_per_token_logps_and_entropies=lambda *a, **k: (logps, entropies, None),
        accelerator=Accelerator(),
        model=SimpleNamespace(training=True),
        _metrics=defaultdict(lambda: defaultdict(list)),
        aux_loss_enabled=False,
        **attributes,
    )
    for name in ["get_high_entropy_mask", "get_off_policy_mask", "get_gamma_weights"]:
        if hasattr(cls, name):
            function = inspect.getattr_static(cls, name)
            bound = function.__func__ if isinstance(function, staticmethod) else function.__get__(trainer)
            setattr(trainer, name, bound)
    return trainer


def inputs_of(case, advantages):
    mask = tensor(case["mask"])
    nothing = torch.zeros(len(case["mask"]), 0, dtype=torch.long)
    return {
        "prompt_ids": nothing,
        "prompt_mask": nothing,
        "completion_ids": torch.zeros_like(mask, dtype=torch.long),
        "completion_mask": mask,
        "advantages": advantages,
    }


def grpo(case, options):
    logps, entropies = leaves(case)
    mode = options.get("vllm_importance_sampling_mode")
    trainer = stub(
        GRPOTrainer,
        logps,
        entropies,
        use_vllm=mode is not None,
        vllm_importance_sampling_correction=True,
        top_entropy_quantile=options.get("top_entropy_quantile", 1.0),
        off_policy_mask_threshold=options.get("off_policy_mask_threshold"),
        importance_sampling_level=options.get("importance_sampling_level", "token"),
        beta=options.get("beta", 0.0),
        epsilon_low=options.get("epsilon", 0.2),
        epsilon_high=options.get("epsilon_high", options.get("epsilon", 0.2)),
        loss_type=options["loss_type"],
        max_completion_length=len(case["mask"][0]),
        current_gradient_accumulation_steps=1,
        entropy_coef=options.get("entropy_coef", 0.0),
        _entropy_bonus_enabled=options.get("entropy_coef", 0.0) != 0.0,
        use_adaptive_entropy=False,
        args=SimpleNamespace(
            use_bias_correction_kl=options.get("use_bias_correction_kl", False),
            delta=options.get("delta"),
            sapo_temperature_pos=1.0,
            sapo_temperature_neg=1.05,
            vespo_k_pos=2.0,
            vespo_lambda_pos=3.0,
            vespo_k_neg=3.0,
            vespo_lambda_neg=2.0,
            steps_per_generation=1,
        ),
    )
    inputs = inputs_of(case, group_advantages(case))
    inputs["old_per_token_logps"] = tensor(case["old_logps"])
    inputs["ref_per_token_logps"] = tensor(case["ref_logps"])
    inputs["sampling_per_token_logps"] = tensor(case["sampling_logps"])
    inputs["num_items_in_batch"] = inputs["completion_mask"].sum()
    if mode is not None:
        inputs["importance_sampling_ratio"] = importance_ratio(case, options)
    loss = GRPOTrainer._compute_loss(trainer, None, inputs)
    return entry("trl", "group", options, loss, logps, entropies, trainer)


def rloo(case, options):
    logps, entropies = leaves(case)
    trainer = stub(
        RLOOTrainer,
        logps,
        entropies,
        epsilon_low=options.get("epsilon", 0.2),
        epsilon_high=options.get("epsilon_high", options.get("epsilon", 0.2)),
    )
    inputs = inputs_of(case, leave_one_out(case, False))
    inputs["old_logps"] = (tensor(case["old_logps"]) * inputs["completion_mask"]).sum(1)
    loss = RLOOTrainer._compute_loss(trainer, None, inputs)
    return entry("trl", "leave_one_out", options, loss, logps, entropies, trainer)


def entry(source, scale, options, loss, logps, entropies, trainer):
    loss.backward()
    kept = ["kl", "clip_ratio/low_mean", "clip_ratio/high_mean", "clip_ratio/region_mean", "cispo_clip_ratio"]
    logged = trainer._metrics["train"]
    none = torch.zeros_like(entropies)
    return {
        "source": source,
        "scale_rewards": scale,
        "variant": options,
        "loss": loss.item(),
        "grad_logps": logps.grad.tolist(),
        "grad_entropies": (none if entropies.grad is None else entropies.grad).tolist(),
        "metrics": {name: logged[name][0] for name in kept if name in logged},
    }


def variants():
    modes = ["token_truncate", "token_mask", "sequence_truncate", "sequence_mask"]
    for mode in modes:
        correction = {"vllm_importance_sampling_mode": mode}
        narrow = {"vllm_importance_sampling_clip_max": 1.3, "vllm_importance_sampling_clip_min": 0.7}
        yield {"loss_type": "dapo", **correction}
        yield {"loss_type": "dapo", "beta": 0.04, **correction, **narrow}
        yield {"loss_type": "grpo", "importance_sampling_level": "sequence", **correction, **narrow}
    for mode in modes[:2]:
        narrow = {"vllm_importance_sampling_clip_max": 1.3, "vllm_importance_sampling_clip_min": 0.7}
        yield {"loss_type": "vespo", "vllm_importance_sampling_mode": mode, **narrow}
        yield {"loss_type": "vespo", "beta": 0.04, "vllm_importance_sampling_mode": mode}
        yield {"loss_type": "cispo", "epsilon_high": 1.1, "vllm_importance_sampling_mode": mode, **narrow}
    for threshold in [0.02, 0.2]:
        yield {"loss_type": "dapo", "beta": 0.04, "off_policy_mask_threshold": threshold}
        yield {"loss_type": "sapo", "off_policy_mask_threshold": threshold}
    for loss_type in ["grpo", "dapo", "dr_grpo", "luspo"]:
        yield {"loss_type": loss_type, "beta": 0.04, "top_entropy_quantile": 0.3}
        yield {"loss_type": loss_type, "entropy_coef": 0.1}
        yield {"loss_type": loss_type, "entropy_coef": 0.1, "top_entropy_quantile": 0.3}
    yield {
        "loss_type": "dapo",
        "beta": 0.1,
        "use_bias_correction_kl": True,
        "entropy_coef": 0.05,
        "top_entropy_quantile": 0.5,
        "off_policy_mask_threshold": 0.05,
        "vllm_importance_sampling_mode": "token_truncate",
        "vllm_importance_sampling_clip_max": 1.5,
    }


def main():
    # TRL makes tensors of plain numbers, such as SAPO's temperatures, in the default type.
    torch.set_default_dtype(torch.float64)
    cases = []
    for seed, lengths in enumerate(LENGTHS):
        case = make_case(seed, lengths)
        case["advantages"] = {
            "group": group_advantages(case).tolist(),
            "leave_one_out": leave_one_out(case, False).tolist(),
            "leave_one_out_whitened": leave_one_out(case, True).tolist(),
        }
        case["losses"] = [grpo(case, options) for options in variants()]
        for options in [{"loss_type": "rloo"}, {"loss_type": "rloo", "epsilon": 0.5, "epsilon_high": 1.0}]:
            case["losses"].append(rloo(case, options))
        cases.append(case)
    golden = {"trl_version": trl.__version__, "torch": torch.__version__, "dtype": "float64", "cases": cases}
    path = Path(sys.argv[1]) / "grpo_off_policy.json"
    path.write_text(json.dumps(golden) + "\n")
    print(path, sum(len(case["losses"]) for case in cases), "losses")


if __name__ == "__main__":
    main()
