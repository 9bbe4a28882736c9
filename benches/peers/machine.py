"""What the machine can do at most with torch, and what this process has used of it."""

import torch

from timing import timed

PRODUCTS = [(2048, 2048, 2048), (2840, 576, 1536), (2840, 1536, 576)]
REPEATS = 11


def peak_resident():
    """The most memory that was resident in this process, in bytes; None where the system does not say."""
    try:
        with open("/proc/self/status", encoding="ascii") as status:
            for line in status:
                if line.startswith("VmHWM:"):
                    return 1024 * int(line.split()[1])
    except OSError:
        pass
    return None


def measure():
    """Matrix peak in f32 and bf16: the best median of all shapes, in GFLOP/s."""

    def product(shape, dtype):
        m, k, n = shape
        lhs, rhs = torch.rand(m, k).to(dtype), torch.rand(k, n).to(dtype)
        seconds = sorted(timed(lambda: lhs @ rhs)[0] for _ in range(REPEATS))
        return 2 * m * k * n / seconds[REPEATS // 2] / 1e9

    return {
        "matrix_gflops": max(product(shape, torch.float32) for shape in PRODUCTS),
        "matrix_bf16_gflops": max(product(shape, torch.bfloat16) for shape in PRODUCTS),
        "threads": torch.get_num_threads(),
    }
