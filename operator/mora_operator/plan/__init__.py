"""What to do about a job, from what is observed of it: pure, the same input gives the same plan."""
