"""The objects of one attempt of a job: pure, the same input gives the same objects."""
