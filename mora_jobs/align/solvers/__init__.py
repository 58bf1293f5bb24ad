"""Small exact solvers of the methods: min-norm points, dual variables."""
