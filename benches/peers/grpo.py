"""TRL's GRPOTrainer over the model: made once, then asked for losses or whole steps."""

import shutil
import tempfile

import torch
from datasets import Dataset
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast
from trl import GRPOConfig, GRPOTrainer
from trl.trainer.utils import selective_log_softmax_and_entropy

from models import load


def word_tokenizer(vocabulary):
    """A tokenizer whose words are the ids themselves ("7 8 9"), so that prompts keep their exact tokens.

    The end of a text is a word beyond the vocabulary, which no model can sample.
    """
    words = {str(index): index for index in range(vocabulary + 1)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="0"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token=str(vocabulary), pad_token="0", padding_side="left"
    )


def trainer(folder, inputs, dtype, setting, reward):
    """A GRPOTrainer whose step is the 16 completions of two prompts; `reward(completion_ids, problems)`."""
    asked = inputs["generate"]
    sequences = len(asked["prompts"]) * asked["samples"]
    model = load(folder, dtype)
    # No token ends a completion: all have the same length on both sides.
    model.generation_config.eos_token_id = None
    model.generation_config.bos_token_id = None
    output = tempfile.mkdtemp(prefix="bench-peers-")
    args = GRPOConfig(
        output_dir=output,
        use_cpu=True,
        bf16=False,
        fp16=False,
        per_device_train_batch_size=setting["batch"],
        gradient_accumulation_steps=sequences // setting["batch"],
        num_generations=asked["samples"],
        max_completion_length=asked["new_tokens"],
        temperature=inputs["temperature"],
        beta=inputs["beta"],
        epsilon=inputs["epsilon"],
        loss_type="grpo",
        use_bias_correction_kl=False,
        learning_rate=inputs["learning_rate"],
        max_grad_norm=inputs["max_grad_norm"],
        gradient_checkpointing=setting.get("checkpointing", False),
        # Made here with the fastest of torch's implementations instead.
        optim="adamw_torch",
        cache_implementation="static" if setting.get("cache") == "static" else None,
        report_to="none",
        save_strategy="no",
        shuffle_dataset=False,
    )
    rows = [
        {"prompt": " ".join(map(str, prompt)), "problem": problem} for problem, prompt in enumerate(asked["prompts"])
    ]

    def reward_function(completion_ids, problem, **_):
        return reward(completion_ids, problem)

    made = GRPOTrainer(
        model=model,
        reward_funcs=reward_function,
        args=args,
        train_dataset=Dataset.from_list(rows),
        processing_class=word_tokenizer(model.config.vocab_size),
        peft_config=lora() if setting.get("lora") else None,
    )
    shutil.rmtree(output, ignore_errors=True)
    made.current_gradient_accumulation_steps = sequences // setting["batch"]
    made.model.train()
    if setting.get("head", "trl") == "kept":
        made._get_per_token_logps_and_entropies = kept_log_probs(made)
    return made


def lora():
    """An adapter of rank 16 on every linear layer."""
    from peft import LoraConfig

    return LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM")


def kept_log_probs(made):
    """TRL's per-token log-probs with the logits of the completion alone.

    Without Triton TRL's own head projects every position of a sequence. Keeping the completion's positions and using
    TRL's own log-softmax is what its earlier releases did, and can be faster.
    """

    def log_probs(
        model, input_ids, attention_mask, logits_to_keep, batch_size=None, compute_entropy=False, **_
    ):
        all_log_probs, all_entropies = [], []
        batch_size = batch_size or input_ids.shape[0]
        for ids, mask in zip(input_ids.split(batch_size), attention_mask.split(batch_size), strict=True):
            logits = model(
                input_ids=ids, attention_mask=mask, logits_to_keep=logits_to_keep + 1, use_cache=False
            ).logits[:, :-1]
            found, entropies = selective_log_softmax_and_entropy(
                logits, ids[:, -logits_to_keep:], entropy_requires_grad=False, temperature=made.temperature
            )
            all_log_probs.append(found)
            all_entropies.append(entropies)
        return torch.cat(all_log_probs), torch.cat(all_entropies) if compute_entropy else None, None

    return log_probs


def optimizer(parameters, inputs, implementation):
    """torch's AdamW without weight decay, `fused` or `foreach`."""
    return torch.optim.AdamW(
        parameters, lr=inputs["learning_rate"], weight_decay=0.0, **{implementation: True}
    )
