from seq2seq.errors import nearest


def test_nearest() -> None:
    assert nearest("num_head", ["num_heads", "num_layers", "dim"]) == "num_heads"
    assert nearest("zzz", ["num_heads", "dim"]) is None
    assert nearest("num_head", ["num_layers"], cutoff=0.9) is None
