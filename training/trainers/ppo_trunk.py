"""PPO's four models in the memory of one: a language model with three adapters, of which one at a time is switched on.

A reward model that was trained as an adapter on the very model that the policy starts from is that model, its adapter
and a head. So the policy's adapter, the critic's and the reward model's lie over one trunk, and the reference is the
trunk with all of them off. That the trunk is the same is not taken on trust: the reward model's merged weights must be
the trunk's with the adapter added, number by number.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from training.trainers import models, shared_prompt
from training.trainers.config import PpoConfig
from training.trainers.scorer import load_reward_model

if TYPE_CHECKING:
    import torch

POLICY, CRITIC, JUDGE = "default", "critic", "judge"  # as PEFT calls the adapters
_PREFIX, _A, _B = "base_model.model.", ".lora_A.weight", ".lora_B.weight"
_HEAD = "score.weight"


@dataclass(frozen=True, kw_only=True)
class RewardAdapter:
    """A reward model as an adapter: PEFT's settings, its weights as PEFT names them, and the head, (1, width)."""

    rank: int
    alpha: float
    targets: list[str]
    weights: dict[str, torch.Tensor]
    head: torch.Tensor


class Headed:
    """The trunk with one of its adapters and a head, as the readers of scores and values take a model."""

    def __init__(self, trunk: Any, head: torch.nn.Linear) -> None:
        self.trunk, self.score = trunk, head

    def get_base_model(self) -> Headed:
        return self

    @property
    def base_model(self) -> Any:
        return shared_prompt.trunk_of(self.trunk)

    @property
    def training(self) -> bool:
        return bool(self.trunk.training)

    def train(self, mode: bool = True) -> None:
        self.trunk.train(mode)

    def eval(self) -> None:
        self.trunk.eval()


def adapter_of(reward_model: str, start: str) -> RewardAdapter | None:
    """The reward model as an adapter on the model in the folder `start`; None where it is not exactly that."""
    folder, base = Path(reward_model), Path(start)
    try:
        facts = json.loads((folder / "adapter" / "adapter_config.json").read_text(encoding="utf-8"))
        plain = not any(facts.get(name) for name in ("use_rslora", "use_dora", "rank_pattern", "alpha_pattern"))
        named = isinstance(facts["target_modules"], list)
        if facts["peft_type"] != "LORA" or not plain or not named or not base.is_dir():
            return None
        from safetensors.torch import load_file

        given = load_file(folder / "adapter" / "adapter_model.safetensors")
        found = RewardAdapter(
            rank=int(facts["r"]),
            alpha=float(facts["lora_alpha"]),
            targets=sorted(facts["target_modules"]),
            weights={name: value for name, value in given.items() if not name.endswith(_HEAD)},
            head=_Weights(folder)[_HEAD],
        )
        return found if _is_sum(found, merged=_Weights(folder), base=_Weights(base)) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _is_sum(adapter: RewardAdapter, *, merged: _Weights, base: _Weights) -> bool:
    """Whether each merged weight is the base's, with the adapter's product added, to the precision it is stored in."""
    import torch

    products = {
        name.removeprefix(_PREFIX).removesuffix(_A) + ".weight": (
            adapter.weights[name.removesuffix(_A) + _B],
            adapter.weights[name],
        )
        for name in adapter.weights
        if name.endswith(_A)
    }
    names = {name for name in base.names if name != "lm_head.weight"}
    if not products or not set(products) <= names or merged.names - {_HEAD, "lm_head.weight"} != names:
        return False
    for name in names:
        whole, own = merged[name], base[name].float()
        if whole.shape != own.shape:
            return False
        if name in products:
            up, down = products[name]
            product = up.float() @ down.float()
            if product.shape != own.shape:  # a layer that keeps its weight the other way round, as GPT-2's
                return False
            own = own + (adapter.alpha / adapter.rank) * product
        allowed = 4 * torch.finfo(whole.dtype).eps * float(own.abs().max())
        if float((whole.float() - own).abs().max()) > allowed:
            return False
    return True


class _Weights:
    """A model folder's tensors by name, read one at a time."""

    def __init__(self, folder: Path) -> None:
        from safetensors import safe_open

        self._files: dict[str, Path] = {}
        for path in sorted(folder.glob("*.safetensors")):
            with safe_open(path, framework="pt") as file:
                self._files |= dict.fromkeys(file.keys(), path)

    @property
    def names(self) -> set[str]:
        return set(self._files)

    def __getitem__(self, name: str) -> torch.Tensor:
        from safetensors import safe_open

        with safe_open(self._files[name], framework="pt") as file:
            found: torch.Tensor = file.get_tensor(name)
            return found


class Trunk:
    """The language model with the three adapters and the two heads; `policy` is the PEFT model that holds them."""

    def __init__(self, policy: Any, reward: RewardAdapter, *, config: PpoConfig) -> None:
        import torch
        from peft import LoraConfig, set_peft_model_state_dict

        self.reward = reward
        # The policy's own adapter is PEFT's "default" one.
        self.policy = models.with_lora(policy, config=config, task="CAUSAL_LM")
        self.heads: dict[str, torch.nn.Linear] = {}
        for name in (CRITIC, JUDGE):
            self.policy.add_adapter(
                name,
                LoraConfig(
                    task_type="CAUSAL_LM", r=reward.rank, lora_alpha=reward.alpha, target_modules=reward.targets
                ),
            )
            set_peft_model_state_dict(self.policy, reward.weights, adapter_name=name)
            head = torch.nn.Linear(reward.head.shape[1], 1, bias=False)
            with torch.no_grad():
                head.weight.copy_(reward.head)
            self.heads[name] = head
        self.heads[JUDGE].requires_grad_(False)
        self.policy.requires_grad_(False)
        self.active = ""
        self.use(POLICY)

    def to(self, device: Any) -> None:
        self.policy.to(device)
        for head in self.heads.values():
            head.to(device)

    def use(self, name: str) -> None:
        """Switches this adapter on and the others off; what is trained next is this one's."""
        if name != self.active:
            self.policy.set_adapter(name, inference_mode=name == JUDGE)
            self.active = name

    def headed(self, name: str) -> Headed:
        """The critic, or the reward model."""
        return Headed(self.policy, self.heads[name])

    def parameters(self, name: str) -> Iterator[tuple[str, Any]]:
        """The trained parameters of the policy or the critic by their names."""
        for own, parameter in self.policy.named_parameters():
            if f".{name}." in own:
                yield own, parameter
        if name in self.heads:
            yield _HEAD, self.heads[name].weight

    def save_critic(self, path: Path, *, start: str, tokenizer: Any, seed: int) -> None:
        """The critic as a reward model's folder of its own."""
        from peft import LoraConfig, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict

        own = get_peft_model(
            load_reward_model(start, tokenizer, seed=seed),
            LoraConfig(
                task_type="SEQ_CLS",
                r=self.reward.rank,
                lora_alpha=self.reward.alpha,
                target_modules=self.reward.targets,
                modules_to_save=["score"],
            ),
        )
        weights = {
            name: value.detach().cpu()
            for name, value in get_peft_model_state_dict(
                self.policy, adapter_name=CRITIC, save_embedding_layers=False
            ).items()
        }
        weights[_PREFIX + _HEAD] = self.heads[CRITIC].weight.detach().cpu()
        set_peft_model_state_dict(own, weights)
        models.save_model(path, model=own, tokenizer=tokenizer)

    def policy_alone(self) -> Any:
        """The policy without the others, which ends their use."""
        self.use(POLICY)
        for name in (CRITIC, JUDGE):
            self.policy.delete_adapter(name)
        return self.policy
