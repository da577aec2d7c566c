"""Where workers run: processes of this machine, Ray actors, or a SLURM array."""
