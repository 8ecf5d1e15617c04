"""Programs that train one package's model, a turn at a time: `python -m speed.contestants.NAME JOB`."""
