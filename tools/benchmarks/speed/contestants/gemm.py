"""No training at all: the matrix products of a step by themselves, `steps` times each."""

import torch

from speed.channel import job_and_channel
from speed.gemm import gemm_speed
from speed.turns import Work, peak_mib


def main() -> None:
    """Multiply when told to."""
    job, channel = job_and_channel()
    torch.set_num_threads(job.threads)
    for repeats in channel.orders(version=torch.__version__):
        speed = gemm_speed(job.shape, dict(job.rows), repeats=repeats)
        channel.report(Work(steps=repeats, seconds=1.0, multiply_adds=round(speed), peak_mib=peak_mib()))


if __name__ == "__main__":
    main()
