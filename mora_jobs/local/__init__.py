"""`mora run`: the manifests of an experiment on an embedded local Ray."""
