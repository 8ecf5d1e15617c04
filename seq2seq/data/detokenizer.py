"""Text of a growing sequence of tokens, piece by piece, as a language model writes it."""

from collections.abc import Sequence

from seq2seq.data.tokenizer import Tokenizer

CONTEXT = 8
"""Tokens decoded again with each new one: SentencePiece drops the space before the first token of what it decodes."""
INCOMPLETE = 3
"""Most bytes that a UTF-8 character can still lack one of; each shows as U+FFFD until the character is complete."""


class Detokenizer:
    """Turns tokens into text as they come.

    The pieces joined are what `tokenizer.decode` gives for all tokens after the prompt, in its context. A character
    spelled in several byte tokens is held back until its last byte is there. The cost of a token does not grow with
    the length of the text.

    Args:
        tokenizer: of the tokens.
        prompt: tokens that come before; their text is not returned.
    """

    def __init__(self, tokenizer: Tokenizer, prompt: Sequence[int] = ()) -> None:
        self._tokenizer = tokenizer
        self._window = list(prompt)[-CONTEXT:]
        self._shown = len(tokenizer.decode(self._window))  # characters of the window's text that are out already

    def push(self, token: int) -> str:
        """The text that `token` completes; often empty where characters are spelled in bytes."""
        self._window.append(token)
        text = self._tokenizer.decode(self._window)
        stable = len(text)
        while stable > max(self._shown, len(text) - INCOMPLETE) and text[stable - 1] == "\ufffd":
            stable -= 1
        piece = text[self._shown : stable]
        self._shown = max(stable, self._shown)
        if stable == len(text) and not text.endswith("\ufffd") and len(self._window) > 2 * CONTEXT:
            self._window = self._window[-CONTEXT:]
            self._shown = len(self._tokenizer.decode(self._window))
        return piece

    def end(self) -> str:
        """What was held back and will not be completed any more."""
        text = self._tokenizer.decode(self._window)
        piece = text[self._shown :]
        self._shown = len(text)
        return piece
