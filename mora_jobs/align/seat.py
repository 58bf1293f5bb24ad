"""A worker's place among the workers of a training."""

import os
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist


@dataclass(frozen=True)
class Seat:
    """This worker among the others, and its device."""

    rank: int
    world: int
    device: torch.device

    @classmethod
    def here(cls) -> "Seat":
        there = dist.is_available() and dist.is_initialized()
        index = int(os.environ.get("LOCAL_RANK", "0"))
        device = torch.device("cuda", index % max(1, torch.cuda.device_count())) if torch.cuda.is_available() else None
        return cls(
            dist.get_rank() if there else 0, dist.get_world_size() if there else 1, device or torch.device("cpu")
        )

    def wait(self) -> None:
        """For all workers."""
        if self.world > 1:
            dist.barrier()

    def share(self, value: Any) -> Any:
        """The first worker's value, for all. They look at the store at different moments, and must still do the same."""
        if self.world == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, 0)
        return box[0]

    def gather_all(self, value: list[str]) -> list[list[str]]:
        """The values of all workers, at each of them."""
        if self.world == 1:
            return [value]
        collected: list[Any] = [None] * self.world
        dist.all_gather_object(collected, value)
        return collected

    def gather(self, value: dict[str, str]) -> list[dict[str, str]]:
        """The values of all workers at the first one, [] at the others."""
        if self.world == 1:
            return [value]
        collected: list[Any] | None = [None] * self.world if self.rank == 0 else None
        dist.gather_object(value, collected)
        return collected or []
