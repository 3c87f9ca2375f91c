"""The seams to the machine: clocks, threads, randomness. A simulation replaces these and nothing else."""
