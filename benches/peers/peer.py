"""The Python peers' side of the comparison: does the work that requests name.

Reads one JSON object a line from standard input and answers each with one on standard output, like
`didact-bench peer` does for the other side. Owns the requests; the work stands in modules of its own, one noun each.

    python peer.py --model FOLDER
"""

import argparse
import json
import os
import sys
import traceback

# Standard output carries answers and nothing else: whatever libraries print goes to standard error.
ANSWERS = os.fdopen(os.dup(1), "w", buffering=1)
os.dup2(2, 1)

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")

import torch  # noqa: E402
import transformers  # noqa: E402
import trl  # noqa: E402
from trl import GRPOConfig, GRPOTrainer  # noqa: E402, F401  (loaded lazily: an import alone is not enough)

import generation  # noqa: E402
import machine  # noqa: E402
import products  # noqa: E402
import scoring  # noqa: E402
import training  # noqa: E402
import whole_step  # noqa: E402
from timing import MOST_THREADS  # noqa: E402


class Peer:
    """What was loaded so far, and the inputs of all work."""

    def __init__(self, folder):
        self.folder = folder
        self.inputs = None
        self.scorers = None
        self.update = None
        self.step = None

    def answer(self, request):
        """Does one request; `tune` tries settings instead and names the fastest."""
        work = request["work"]
        setting = request.get("setting") or {}
        dtype = getattr(torch, request.get("dtype", "float32"))
        torch.set_num_threads(setting.get("threads", MOST_THREADS))
        if work == "inputs":
            self.inputs = request["inputs"]
            return {}
        if work == "machine":
            return {"details": machine.measure()}
        if work == "memory":
            return {"details": {"peak_bytes": machine.peak_resident()}}
        if work.startswith(("score", "generate")):
            run = self._scorers(dtype)
            noun = scoring if work.startswith("score") else generation
        elif work.startswith("update"):
            run = self._update(work, dtype)
            noun = training
        elif work == "step":
            run = self._step(setting)
            noun = whole_step
        else:
            raise ValueError(f"unknown work {work!r}")
        if request.get("tune"):
            return noun.tune(run, work, self.inputs)
        with products.computed_by(request.get("products", "torch")):
            return noun.run(run, work, self.inputs, setting)

    def _scorers(self, dtype):
        if self.scorers is None or self.scorers.dtype != dtype:
            self.scorers = None
            self.scorers = scoring.Scorers(self.folder, dtype)
        return self.scorers

    def _update(self, work, dtype):
        if self.update is None or (self.update.work, self.update.dtype) != (work, dtype):
            # Of the trainings only one is held: each has gradients and moments of its own.
            self.update = None
            self.update = training.Training(self.folder, self.inputs, work, dtype)
        return self.update

    def _step(self, setting):
        if self.step is None or self.step.setting != setting:
            self.update = None
            self.step = None
            self.step = whole_step.WholeStep(self.folder, self.inputs, setting)
        return self.step


def say(value):
    """Writes one answer."""
    ANSWERS.write(json.dumps(value) + "\n")
    ANSWERS.flush()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True, help="the model, as transformers saves it")
    peer = Peer(parser.parse_args().model)
    versions = {"python": sys.version.split()[0], "torch": torch.__version__}
    versions |= {"transformers": transformers.__version__, "trl": trl.__version__}
    say({"ready": True, "versions": versions, "peak_bytes": machine.peak_resident()})
    for line in sys.stdin:
        try:
            say(peer.answer(json.loads(line)))
        except Exception as error:  # the other side decides what to do about it
            traceback.print_exc()
            say({"error": f"{type(error).__name__}: {error}"})


if __name__ == "__main__":
    main()
