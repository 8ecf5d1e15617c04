"""Encoder-decoder machine translation and language modelling in PyTorch.

```python
import seq2seq

model = seq2seq.load("runs/wmt_small/best")
model.translate(["The old dog sleeps under the table."], beam_size=5)
```
"""

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["__version__", "load"]

if TYPE_CHECKING:
    from seq2seq.loading import load


def __getattr__(name: str) -> Any:  # importing seq2seq must not cost importing torch
    if name == "load":
        from seq2seq.loading import load

        return load
    raise AttributeError(f"module 'seq2seq' has no attribute {name!r}")
