"""Samples completions with transformers' `generate`, prompts included in the time.

A setting holds `threads` and `cache`: `dynamic` grows, `static` is made for the longest sequence at once.
"""

import torch

from timing import MOST_THREADS, fastest, timed

#: New tokens of a trial: enough that decoding counts, few enough to try several settings.
TRIAL_TOKENS = 24


def run(scorers, work, inputs, setting, new_tokens=None):
    """All samples of all prompts side by side, or one of the first prompt. The check is the number of tokens."""
    asked = inputs["generate"]
    new_tokens = new_tokens or asked["new_tokens"]
    prompts = asked["prompts"][:1] if work == "generate_b1" else asked["prompts"]
    ids = torch.tensor(prompts)
    if work == "generate_b16":
        ids = ids.repeat_interleave(asked["samples"], dim=0)

    @torch.inference_mode()
    def sample():
        return scorers.teacher.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            do_sample=True,
            temperature=inputs["temperature"],
            top_k=0,
            top_p=1.0,
            max_new_tokens=new_tokens,
            eos_token_id=None,
            pad_token_id=0,
            cache_implementation="static" if setting["cache"] == "static" else None,
        )

    seconds, out = timed(sample)
    return {"seconds": seconds, "check": {"tokens": [float((out.shape[1] - ids.shape[1]) * out.shape[0])]}}


def tune(scorers, work, inputs):
    """Tries both caches with all threads, then one thread with the better cache."""

    def seconds(setting):
        torch.set_num_threads(setting["threads"])
        return run(scorers, work, inputs, setting, new_tokens=TRIAL_TOKENS)["seconds"]

    settings = [{"threads": MOST_THREADS, "cache": "dynamic"}]
    run(scorers, work, inputs, settings[0], new_tokens=2)
    try:
        run(scorers, work, inputs, {"threads": MOST_THREADS, "cache": "static"}, new_tokens=2)
        settings.append({"threads": MOST_THREADS, "cache": "static"})
    except Exception as error:  # not every release can: then the dynamic cache is the best there is
        print(f"static cache: {error}", flush=True)
    best, caches = fastest(settings, seconds)
    _, single = fastest([best | {"threads": 1}], seconds)
    best = min(caches + single, key=lambda one: one["seconds"])["setting"]
    torch.set_num_threads(MOST_THREADS)
    return {"setting": best, "tried": caches + single}
