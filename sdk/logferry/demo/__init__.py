"""A real sweep of small training jobs through all of logferry: `train` is one job, `sweep` starts and checks them."""
