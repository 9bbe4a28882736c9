"""Prints what TensorBoard's own reader finds in a run's event files: `read_events.py RUN/tensorboard`.

Needs `pip install tensorboard`.
"""

import sys
from pathlib import Path

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

for folder in sorted({file.parent for file in Path(sys.argv[1]).rglob("events.out.tfevents.*")}):
    reader = EventAccumulator(str(folder), size_guidance={"scalars": 0, "tensors": 0})
    reader.Reload()
    for tag in reader.Tags()["scalars"]:
        points = [(event.step, event.value) for event in reader.Scalars(tag)]
        print(folder.name, tag, *(f"{step}:{value:.6g}" for step, value in points))
    for tag in reader.Tags()["tensors"]:
        for event in reader.Tensors(tag):
            text = event.tensor_proto.string_val[0].decode()
            print(folder.name, tag, f"{event.step}:", text.strip().splitlines()[0])
