"""Our own training command."""

import seq2seq
from seq2seq.config import Config
from seq2seq.configure import run_config
from seq2seq.data.prepare import Prepared
from speed import ours
from speed.channel import job_and_channel
from speed.shapes import Shape
from speed.turns import Turns


def main() -> None:
    """Train when told to."""
    job, channel = job_and_channel()

    def start(shape: Shape, config: Config, prepared: Prepared) -> Turns:
        orders = channel.orders(version=seq2seq.__version__)
        return Turns(shape, orders=orders, report=channel.report, batches_per_step=config.training.accumulation)

    ours.train(run_config(list(job.overrides), "seq2seq"), start)


if __name__ == "__main__":
    main()
