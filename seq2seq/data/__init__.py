"""Text in, batches out: corpora, tokenizers, cached token ids, batching. Never sees a module."""
