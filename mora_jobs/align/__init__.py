"""AlignmentJob: preference pairs, multi-objective training, evaluation and the Pareto front."""
