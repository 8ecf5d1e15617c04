"""CTranslate2 as an engine of ours: by the same Python API, text in and text out, under the same contract."""

from speed.contestants.decoding.ours import main

if __name__ == "__main__":
    main(engine="ctranslate2")
