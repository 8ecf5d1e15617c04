import subprocess
import sys
from pathlib import Path

import pytest

TOOL = Path(__file__).resolve().parents[2] / "tools" / "benchmarks" / "muon.py"


@pytest.mark.slow
def test_more_steps_cost_more_and_reach_more_singular_values() -> None:
    answer = subprocess.run([sys.executable, str(TOOL), "--repeats", "3"], capture_output=True, text=True)
    assert answer.returncode == 0, answer.stderr
    adamw, *muon = answer.stdout.splitlines()
    assert adamw.startswith("AdamW") and len(muon) == 4
    shares = [float(line.split("ms")[1].split("%")[0]) for line in muon]
    costs = [float(line.split("steps")[1].split("ms")[0]) for line in muon]
    assert shares == sorted(shares) and shares[-1] > 80
    assert costs[-1] > costs[0] > float(adamw.split()[1])
