"""What all tests share; whatever serves one folder only lives in its files."""

import os
from pathlib import Path

import hypothesis
import pytest
import torch

# One thread: tiny models gain nothing from more, and several test runs may share the machine.
torch.set_num_threads(1)

# No deadline: the first example of a test pays for imports. In CI the same examples every time.
hypothesis.settings.register_profile("local", deadline=None, print_blob=True)
hypothesis.settings.register_profile("ci", deadline=None, derandomize=True)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "local")

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of corpora that are not part of the project; tests that use it are marked `shared`."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"the corpora of {SHARED_DATA.parent.name}/{SHARED_DATA.name} beside the project are not here")
    return SHARED_DATA
