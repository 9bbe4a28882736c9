"""Wall-clock time of one call, and the choice between settings."""

import time

import torch

#: Threads that the process was started with.
MOST_THREADS = torch.get_num_threads()


def timed(work):
    """Runs `work()`; returns (seconds, result)."""
    begin = time.perf_counter()
    result = work()
    return time.perf_counter() - begin, result


def fastest(settings, seconds_of):
    """Measures each setting once; returns (fastest, [{"setting", "seconds"}])."""
    tried = [{"setting": setting, "seconds": seconds_of(setting)} for setting in settings]
    best = min(tried, key=lambda one: one["seconds"])
    return best["setting"], tried
