"""What --help says at its end about length normalisation."""


def length_formulas() -> str:
    """The formula of each kind."""
    from seq2seq.decoding import FORMULAS

    formulas = "\n".join(f"  {kind.value:<8} {formula}" for kind, formula in FORMULAS.items())
    return (
        "--length-normalisation, with alpha = --length-penalty and length in tokens, the end token included:\n"
        f"{formulas}"
    )
