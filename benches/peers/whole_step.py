"""One whole step of a teacher's training through TRL's GRPOTrainer, with the reward as a reward function.

A setting holds those of the update (`batch`, `head`, `optimizer`, `threads`) and the generation's `cache`; `lora`
trains an adapter, `checkpointing` recomputes activations.
"""

import torch

import grpo
from models import load
from scoring import one_chat
from timing import timed


class WholeStep:
    """The trainer (policy and reference), the student, and the reward."""

    def __init__(self, folder, inputs, setting):
        self.setting, self.inputs = setting, inputs
        self.student = load(folder, torch.float32)
        self.trainer = grpo.trainer(folder, inputs, torch.float32, setting, self.reward)
        self.parameters = [p for p in self.trainer.model.parameters() if p.requires_grad]
        self.optimizer = grpo.optimizer(self.parameters, inputs, setting["optimizer"])
        # Every completion of a step has its prompt's row, as the trainer's sampler repeats them.
        samples = inputs["generate"]["samples"]
        self.rows = [row for row in self.trainer.train_dataset for _ in range(samples)]
        self.tokens = 0
        self.rewards = []

    @torch.inference_mode()
    def reward(self, completion_ids, problems):
        """The published reward, one chat at a time as the published code does it.

        `mean a + 0.01·min a − 3·mean(p − q) − 0.03·max(p − q)` with `a` the student's log-probs of the
        solution, `p` and `q` the teacher's and the student's of the explanation.
        """
        step, temperature = self.inputs["step"], self.inputs["temperature"]
        teacher = self.trainer.model
        rewards = []
        for ids, problem in zip(completion_ids, problems, strict=True):
            prompt = self.inputs["generate"]["prompts"][problem]
            student_prompt, solution = step["student_prompts"][problem], step["solutions"][problem]
            by_teacher = one_chat(teacher, torch.tensor(prompt + ids), temperature)
            by_student = one_chat(self.student, torch.tensor(student_prompt + ids + solution), temperature)
            # Entry i is that of token i + 1.
            thought_end = len(student_prompt) + len(ids) - 1
            p = by_teacher[len(prompt) - 1 :]
            q, a = by_student[len(student_prompt) - 1 : thought_end], by_student[thought_end:]
            d = p - q
            rewards.append((a.mean() + 0.01 * a.min() - 3.0 * d.mean() - 0.03 * d.max()).item())
        self.tokens = sum(map(len, completion_ids))
        self.rewards = rewards
        return rewards

    def step(self):
        """One optimizer step: the first micro-batch samples and scores for all; loss and gradient norm."""
        total = 0.0
        for _ in range(self.trainer.args.gradient_accumulation_steps):
            total += self.trainer.training_step(self.trainer.model, self.rows, None).item()
        norm = torch.nn.utils.clip_grad_norm_(self.parameters, self.inputs["max_grad_norm"])
        self.optimizer.step()
        self.optimizer.zero_grad()
        return total, norm.item()


def run(whole, work, inputs, setting):
    """One step. The check is the number of sampled tokens; the rest depends on the draws."""
    seconds, (loss, norm) = timed(whole.step)
    mean = sum(whole.rewards) / len(whole.rewards)
    return {
        "seconds": seconds,
        "check": {"tokens": [float(whole.tokens)]},
        "details": {"reward": mean, "loss": loss, "grad_norm": norm},
    }


def tune(whole, work, inputs):
    """Nothing of its own: the parts' settings are given."""
    return {"setting": whole.setting, "tried": []}
