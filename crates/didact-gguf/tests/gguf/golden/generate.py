"""Writes blocks.json: random blocks of every supported type and what the Python package `gguf` makes of them.

Usage: pip install gguf==0.19 numpy; python generate.py > blocks.json
"""

import json

import numpy as np
from gguf import quants
from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType as Type

BLOCKS = 3
# Byte offsets of the binary16 scales in a block: they must be finite, so they are not left random.
SCALES = {
    "F32": [], "F16": [], "BF16": [],
    "Q8_0": [0], "Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2],
    "Q4_K": [0, 2], "Q6_K": [208],
}

generator = np.random.default_rng(20250808)
cases = []
for name, scales in SCALES.items():
    kind = Type[name]
    elements, size = GGML_QUANT_SIZES[kind]
    blocks = BLOCKS if elements > 1 else 16
    if name == "F32":
        data = generator.normal(size=blocks).astype("<f4").view(np.uint8)
    elif name == "F16":
        data = generator.normal(size=blocks).astype("<f2").view(np.uint8)
    elif name == "BF16":
        data = np.ascontiguousarray(generator.normal(size=blocks).astype("<f4").view(np.uint8).reshape(-1, 4)[:, 2:])
    else:
        data = generator.integers(0, 256, size=(blocks, size), dtype=np.uint8)
        for at in scales:
            values = generator.normal(size=blocks).astype("<f2")
            data[:, at : at + 2] = values.view(np.uint8).reshape(blocks, 2)
    data = np.ascontiguousarray(data).reshape(1, -1)
    values = quants.dequantize(data, kind).reshape(-1).astype(np.float32)
    cases.append({
        "type": name,
        "id": int(kind),
        "bytes": data.tobytes().hex(),
        "bits": values.view(np.uint32).tolist(),
    })

print("[")
print(",\n".join(json.dumps(case) for case in cases))
print("]")
