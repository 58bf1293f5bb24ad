"""FSDP2 (torch's fully_shard): every worker holds a slice of each layer, and of its optimiser state.

Applied by us and not by accelerate, whose FSDP exists on GPUs only: so the same code runs, and is tested, on gloo.
"""

from pathlib import Path

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from peft import PeftModel
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import get_optimizer_state_dict, set_optimizer_state_dict
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from transformers import PreTrainedModel

OPTIMIZER = "optimizer"


def shard(model: PreTrainedModel | PeftModel, device: torch.device, *, bf16: bool) -> None:
    """Slice the model over all workers, in place: one group for each layer, one for embeddings, last norm and head.

    With bf16 the weights are gathered in bf16 and gradients are reduced in fp32.
    """
    base = model.get_base_model() if isinstance(model, PeftModel) else model
    layers = set(base._no_split_modules or ())
    mesh = init_device_mesh(device.type, (dist.get_world_size(),))
    policy = (
        MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32)
        if bf16
        else MixedPrecisionPolicy()
    )
    for module in [each for each in base.modules() if type(each).__name__ in layers]:
        fully_shard(module, mesh=mesh, mp_policy=policy)
    fully_shard(model, mesh=mesh, mp_policy=policy)
    if dist.get_backend() != "nccl":  # gloo cannot average while it reduces
        for module in model.modules():
            if isinstance(module, FSDPModule):
                module.set_force_sum_reduction_for_comms(True)


def whole(tensor: Tensor) -> Tensor:
    """The full tensor on every worker (a collective call), or the tensor itself where nothing is sliced."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def copy_into(parameter: Tensor, value: Tensor) -> None:
    """Write a full tensor into a parameter, sliced or not."""
    if isinstance(parameter, DTensor):
        value = distribute_tensor(
            value.to(parameter.device, parameter.dtype),
            parameter.device_mesh,
            parameter.placements,
            src_data_rank=None,
        )
    parameter.copy_(value)


def save_optimizer(model: nn.Module, optimizer: torch.optim.Optimizer, folder: Path) -> None:
    """Each worker writes its slices of the optimiser state."""
    dcp.save(get_optimizer_state_dict(model, optimizer), checkpoint_id=folder / OPTIMIZER)


def load_optimizer(model: nn.Module, optimizer: torch.optim.Optimizer, folder: Path) -> None:
    """Read what `save_optimizer` wrote; the number of workers may have changed."""
    state = get_optimizer_state_dict(model, optimizer)
    dcp.load(state, checkpoint_id=folder / OPTIMIZER)
    set_optimizer_state_dict(model, optimizer, optim_state_dict=state)
