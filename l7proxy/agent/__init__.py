"""The agent: keeps policies, workloads, workers and the datapath in step, and answers questions."""
