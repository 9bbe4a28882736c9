"""The Python side of `cargo xtask interop`: transformers, peft and TensorBoard.

`write FOLDER` makes a tiny random model with an adapter for each family, with the logits that both give.
`read FOLDER` opens what Didact wrote and prints, as one line of JSON, how far its logits are from what Didact wrote
beside them, and what TensorBoard reads from its event files.
"""

import importlib.metadata
import json
import platform
import sys
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoConfig, AutoModelForCausalLM

VOCABULARY = 96
SEED = 20261123

# What differs from family to family beside the name.
FAMILIES = {
    "llama": {"tie_word_embeddings": True},
    "mistral": {"tie_word_embeddings": False, "sliding_window": None},
    "qwen2": {"tie_word_embeddings": False},
    "qwen3": {"tie_word_embeddings": True, "head_dim": 24},
    "gemma": {"tie_word_embeddings": True, "head_dim": 16, "hidden_activation": "gelu_pytorch_tanh"},
}

# One adapter on everything, one on some projections, one scaled by the root of the rank.
ADAPTERS = {
    "llama": {"r": 4, "lora_alpha": 8, "target_modules": "all-linear"},
    "mistral": {"r": 3, "lora_alpha": 16, "target_modules": ["q_proj", "v_proj"]},
    "qwen2": {"r": 4, "lora_alpha": 4, "target_modules": ["q_proj", "k_proj", "v_proj", "o_proj"]},
    "qwen3": {"r": 8, "lora_alpha": 16, "target_modules": "all-linear", "use_rslora": True},
    "gemma": {"r": 2, "lora_alpha": 2, "target_modules": ["gate_proj", "up_proj", "down_proj"]},
}


def model_of(family):
    options = {
        "vocab_size": VOCABULARY,
        "hidden_size": 64,
        "intermediate_size": 112,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 128,
        "bos_token_id": 0,
        "eos_token_id": 1,
        "pad_token_id": 2,
        **FAMILIES[family],
    }
    return AutoModelForCausalLM.from_config(AutoConfig.for_model(family, **options)).float().eval()


def randomised(model, *parts):
    """Adds noise to the tensors whose names hold one of `parts`: constants would hide a mistake."""
    with torch.no_grad():
        for name, tensor in model.named_parameters():
            if any(part in name for part in parts):
                tensor.add_(0.2 * torch.randn_like(tensor))
    return model


def logits(model, ids):
    with torch.no_grad():
        return model(input_ids=torch.tensor([ids])).logits[0].tolist()


def write(folder):
    for family in FAMILIES:
        torch.manual_seed(SEED)
        place = folder / family
        model = randomised(model_of(family), "norm", ".bias")
        model.save_pretrained(place / "model")
        ids = torch.randint(3, VOCABULARY, (24,)).tolist()
        base = logits(model, ids)
        config = LoraConfig(task_type="CAUSAL_LM", **ADAPTERS[family])
        adapted = randomised(get_peft_model(model, config), "lora_B").eval()
        adapted.save_pretrained(place / "adapter")
        case = {"ids": ids, "logits": base, "adapted_logits": logits(adapted, ids)}
        (place / "case.json").write_text(json.dumps(case))


def difference(found, expected):
    return (torch.tensor(found).double() - torch.tensor(expected).double()).abs().max().item()


def read(folder):
    differences = {}
    for place in sorted(path.parent for path in folder.glob("*/case.json")):
        case = json.loads((place / "case.json").read_text())
        model = AutoModelForCausalLM.from_pretrained(place / "model", dtype=torch.float32).eval()
        base = difference(logits(model, case["ids"]), case["logits"])
        adapted = PeftModel.from_pretrained(model, place / "adapter").eval()
        moved = difference(case["adapted_logits"], case["logits"])
        with_adapter = difference(logits(adapted, case["ids"]), case["adapted_logits"])
        differences[place.name] = {"model": base, "adapter": with_adapter, "adapter_moves": moved}
    packages = ["torch", "transformers", "peft", "tensorboard"]
    versions = {name: importlib.metadata.version(name) for name in packages}
    print(
        json.dumps(
            {
                "differences": differences,
                "events": events(folder / "tensorboard" / "teacher"),
                "versions": {"python": platform.python_version(), **versions},
            }
        )
    )


def events(folder):
    """Every scalar of the folder by its tag, as pairs of step and value."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    reader = EventAccumulator(str(folder), size_guidance={"scalars": 0, "tensors": 0})
    reader.Reload()
    tags = reader.Tags()
    scalars = {tag: [[e.step, e.value] for e in reader.Scalars(tag)] for tag in tags["scalars"]}
    return {"scalars": scalars, "texts": sorted(tags["tensors"])}


if __name__ == "__main__":
    {"write": write, "read": read}[sys.argv[1]](Path(sys.argv[2]))
