"""Scores explanations: a teacher's and a student's pass, the published way and batched.

A setting holds `threads`; for the padded way also `batch` (sequences at once), `kept` (project only the positions
that are asked for, else all) and `normaliser`: `log_softmax` builds all log-probs and gathers, `logsumexp` subtracts
the normaliser from the gathered logits.
"""

import torch

from models import load
from timing import MOST_THREADS, fastest, timed


class Scorers:
    """Teacher and student, loaded apart as two models are."""

    def __init__(self, folder, dtype):
        self.dtype = dtype
        self.teacher = load(folder, dtype)
        self.student = load(folder, dtype)


def one_chat(model, ids, temperature):
    """Log-probs `[T - 1]` of all tokens but the first: the published reward's way, in f32 from the logits on."""
    logits = model(input_ids=ids[None], use_cache=False).logits[0, :-1].float()
    return torch.log_softmax(logits / temperature, dim=-1).gather(1, ids[1:, None])[:, 0]


def batched(model, ids, first, temperature, setting):
    """Log-probs `[B, T - first]` of the tokens from `first` on, `setting["batch"]` sequences at once."""
    parts = []
    for part in ids.split(setting["batch"]):
        kept = part.shape[1] - first + 1 if setting["kept"] else 0
        mask = torch.ones_like(part)
        logits = model(input_ids=part, attention_mask=mask, use_cache=False, logits_to_keep=kept).logits
        if setting["kept"]:
            logits, targets = logits[:, :-1], part[:, first:, None]
        else:
            logits, targets = logits[:, :-1], part[:, 1:, None]
        logits = logits.float() / temperature
        if setting["normaliser"] == "log_softmax":
            found = torch.log_softmax(logits, dim=-1).gather(2, targets)[..., 0]
        else:
            found = logits.gather(2, targets)[..., 0] - logits.logsumexp(dim=-1)
        parts.append(found if setting["kept"] else found[:, first - 1 :])
    return torch.cat(parts)


def run(scorers, work, inputs, setting, both=True):
    """Both passes, or the teacher's alone. The check holds the log-probs of all spans, sample by sample."""
    score, temperature = inputs["score"], inputs["temperature"]
    first = score["thought"][0]
    teacher_ids = torch.tensor(score["teacher"])
    student_ids = torch.tensor(score["student"])

    def one_pass(model, ids):
        if work == "score_one_at_a_time":
            return torch.stack([one_chat(model, chat, temperature)[first - 1 :] for chat in ids])
        return batched(model, ids, first, temperature, setting)

    @torch.inference_mode()
    def passes():
        teacher = one_pass(scorers.teacher, teacher_ids)
        return teacher, one_pass(scorers.student, student_ids) if both else teacher

    seconds, (teacher, student) = timed(passes)
    check = {"teacher": teacher.flatten().tolist(), "student": student.flatten().tolist()}
    return {"seconds": seconds, "check": check}


def tune(scorers, work, inputs):
    """Chooses threads on one chat, then the rest on one of the two passes."""
    threads, tried = best_threads(scorers, inputs)
    if work == "score_one_at_a_time":
        return {"setting": {"threads": threads}, "tried": tried}

    def seconds(setting):
        return run(scorers, work, inputs, setting, both=False)["seconds"]

    settings = [
        {"threads": threads, "batch": batch, "kept": True, "normaliser": "log_softmax"} for batch in (16, 8, 4, 1)
    ]
    best, batches = fastest(settings, seconds)
    others = [best | {"normaliser": "logsumexp"}, best | {"kept": False}]
    _, others = fastest(others, seconds)
    tried += batches + others
    best = min(batches + others, key=lambda one: one["seconds"])["setting"]
    return {"setting": best, "tried": tried}


def best_threads(scorers, inputs):
    """All threads or one, whichever reads one chat faster in the best of three turns; (threads, tried)."""
    ids = torch.tensor(inputs["score"]["teacher"][0])

    @torch.inference_mode()
    def seconds(threads):
        torch.set_num_threads(threads)
        one_chat(scorers.teacher, ids, 1.0)
        return timed(lambda: one_chat(scorers.teacher, ids, 1.0))[0]

    turns = [(seconds(MOST_THREADS), seconds(1)) for _ in range(3)]
    tried = [
        {"setting": {"threads": threads}, "seconds": min(times)}
        for threads, times in zip((MOST_THREADS, 1), zip(*turns, strict=True), strict=True)
    ]
    best = min(tried, key=lambda one: one["seconds"])["setting"]["threads"]
    torch.set_num_threads(best)
    return best, tried
