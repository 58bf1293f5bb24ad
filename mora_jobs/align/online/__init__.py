"""Methods that sample from the policy while they train it (GRPO, REINFORCE++), on TRL's GRPOTrainer and the engines of rollouts."""
