"""The MORA operator: turns RolloutJob, RewriteJob and AlignmentJob objects into KubeRay RayJobs and reports back."""
