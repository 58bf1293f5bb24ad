"""Pareto fronts of policies: dominance, knee, hypervolume, gains and comparisons, all objectives maximised."""
