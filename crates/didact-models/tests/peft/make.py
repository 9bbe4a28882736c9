"""Makes the fixture of `tests/peft.rs`: tiny random decoders with adapters, and PEFT's own hidden states.

    pip install torch transformers peft
    python make.py            # writes the folders beside this file
    python make.py check DIR  # opens DIR/base with DIR/adapter and prints the worst difference from DIR/hidden.json

Written with peft 0.21.2, transformers 5.23.0 and torch 2.15.0.
"""

import json
import sys
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

IDS = [4, 17, 0, 22, 9, 9, 13, 1, 5]
ADAPTERS = {
    "all": dict(r=2, lora_alpha=3, target_modules="all-linear"),
    "some": dict(
        r=2,
        lora_alpha=4,
        target_modules=["q_proj", "mlp.down_proj"],
        use_rslora=True,
        layers_to_transform=[1],
        rank_pattern={r"layers\.1\.mlp\..*": 3},
        alpha_pattern={"q_proj": 5},
    ),
    "pattern": dict(r=2, lora_alpha=4, target_modules=r".*\.0\.self_attn\.[qk]_proj"),
}


def hidden(model):
    with torch.no_grad():
        return model(torch.tensor([IDS]), output_hidden_states=True).hidden_states[-1][0]


def make(here):
    torch.manual_seed(3)
    config = LlamaConfig(
        vocab_size=23,
        hidden_size=8,
        intermediate_size=12,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=4,
        max_position_embeddings=32,
        initializer_range=0.4,
        tie_word_embeddings=True,
    )
    base = here / "base"
    LlamaForCausalLM(config).save_pretrained(base)
    (base / "generation_config.json").unlink(missing_ok=True)
    for name, options in ADAPTERS.items():
        model = LlamaForCausalLM.from_pretrained(base)
        model = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", **options))
        for path, parameter in model.named_parameters():
            if "lora_B" in path:
                torch.nn.init.normal_(parameter, std=0.5)
        model.eval()
        folder = here / name
        model.save_pretrained(folder)
        (folder / "README.md").unlink(missing_ok=True)
        # The folder that the base was read from is of no use to others, and sets have no order.
        file = folder / "adapter_config.json"
        written = json.loads(file.read_text())
        written["base_model_name_or_path"] = None
        if isinstance(written["target_modules"], list):
            written["target_modules"].sort()
        file.write_text(json.dumps(written, indent=2) + "\n")
        (folder / "hidden.json").write_text(json.dumps(hidden(model).tolist()) + "\n")


def check(folder):
    model = AutoModelForCausalLM.from_pretrained(folder / "base")
    model = PeftModel.from_pretrained(model, folder / "adapter").eval()
    expected = torch.tensor(json.loads((folder / "hidden.json").read_text()))
    plain = AutoModelForCausalLM.from_pretrained(folder / "base").eval()
    found = hidden(model)
    print("worst difference", (found - expected).abs().max().item())
    print("without the adapter", (hidden(plain) - expected).abs().max().item())
    return (found - expected).abs().max().item() < 1e-4


if __name__ == "__main__":
    if sys.argv[1:2] == ["check"]:
        sys.exit(0 if check(Path(sys.argv[2])) else 1)
    make(Path(__file__).parent)
