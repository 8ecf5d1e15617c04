"""What the measurements of training speed share: `training.py` and `profile_step.py` beside this folder."""
