"""Loads the model."""

from transformers import AutoModelForCausalLM


def load(folder, dtype):
    """The model for inference, with torch's own fused attention."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, attn_implementation="sdpa")
    return model.eval()
