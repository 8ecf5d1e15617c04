"""Programs that decode with one package, a turn at a time: `python -m speed.contestants.decoding.NAME JOB`."""
