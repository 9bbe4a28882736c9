"""Writes optimizer.json: steps of torch.optim.Muon and learning rates of transformers.

    python optimizer.py      # made with torch 2.15.0 and transformers 5.23.0

torch rounds the Newton-Schulz iteration to bf16. The golden values are of the same function with that one cast
replaced by one to float64, and of the rest of torch's optimizer as it is, on float64 parameters.
`torch_bf16_distance` says how far torch's own, rounded steps are from them.
"""

import inspect
import json
import math
from pathlib import Path

import torch
import transformers
from torch.optim import _muon

LEARNING_RATE, WEIGHT_DECAY, STEPS = 0.02, 0.1, 3
# [in, out], as Didact keeps matrices; torch has them transposed.
SHAPES = [(6, 4), (4, 6), (5, 5), (3, 1)]

rounded = _muon._zeropower_via_newtonschulz
source = inspect.getsource(rounded)
assert source.count("torch.bfloat16") == 1
scope = dict(vars(_muon))
exec(source.replace("torch.bfloat16", "torch.float64"), scope)
exact = scope["_zeropower_via_newtonschulz"]


def numbers(tensor):
    """A tensor in memory order [in, out]."""
    return tensor.T.contiguous().flatten().tolist()


def run(iteration, start, gradients, nesterov, scale):
    _muon._zeropower_via_newtonschulz = iteration
    parameter = torch.nn.Parameter(start.clone())
    optimizer = torch.optim.Muon(
        [parameter], lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY, nesterov=nesterov, adjust_lr_fn=scale
    )
    for gradient in gradients:
        parameter.grad = gradient.clone()
        optimizer.step()
    return parameter.detach()


def muon():
    torch.manual_seed(7)
    cases = []
    for inputs, outputs in SHAPES:
        draw = lambda: torch.randn(outputs, inputs).double()  # exact in float32
        start, gradients = draw(), [draw() for _ in range(STEPS)]
        for nesterov in (True, False):
            for scale in ("original", "match_rms_adamw"):
                after = run(exact, start, gradients, nesterov, scale)
                torch_after = run(rounded, start, gradients, nesterov, scale)
                cases.append({
                    "shape": [inputs, outputs],
                    "nesterov": nesterov,
                    "scale": scale,
                    "start": numbers(start),
                    "gradients": [numbers(g) for g in gradients],
                    "after": numbers(after),
                    "torch_bf16_distance": (after - torch_after).abs().max().item(),
                })
    return cases


def schedules():
    warmup, steps, floor = 5, 20, 0.1
    cases = {
        "constant": ("constant_with_warmup", {}),
        "linear": ("linear", {}),
        "cosine": ("cosine", {}),
        "cosine_floor": ("cosine_with_min_lr", {"min_lr_rate": floor}),
    }
    found = {}
    for name, (kind, more) in cases.items():
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=LEARNING_RATE)
        schedule = transformers.get_scheduler(kind, optimizer, warmup, steps, more)
        rates = []
        for _ in range(steps + 1):
            rates.append(schedule.get_last_lr()[0])
            optimizer.step()
            schedule.step()
        assert all(map(math.isfinite, rates))
        found[name] = rates
    return {"peak": LEARNING_RATE, "warmup_steps": warmup, "steps": steps, "floor": floor, "rates": found}


golden = {
    "made_with": f"torch {torch.__version__}, transformers {transformers.__version__}",
    "learning_rate": LEARNING_RATE,
    "weight_decay": WEIGHT_DECAY,
    "muon": muon(),
    "schedule": schedules(),
}
path = Path(__file__).with_suffix(".json")
path.write_text(json.dumps(golden) + "\n")
print(path, max(c["torch_bf16_distance"] for c in golden["muon"]))
