"""Makes what config.yaml explains: python examples/text/make.py DIR

Sentences of film reviews and of product reviews, each with the mean score that twenty people gave it, from −4 to 4
(Hutto and Gilbert, "VADER", ICWSM 2014). They come inside the source package of vaderSentiment (MIT licence), which pip
downloads from PyPI. DIR gets a Parquet file of a tenth of them, a small Keras model that was trained on the others, and
config.yaml.
"""

from __future__ import annotations

import collections
import hashlib
import io
import pathlib
import re
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Sequence

import keras
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

PACKAGE = "vaderSentiment==3.3.2"
SHA256 = "5d7c06e027fc8b99238edb0d53d970cf97066ef97654009890b83703849632f9"
INSIDE = "vaderSentiment-3.3.2/additional_resources/hutto_ICWSM_2014.tar.gz"
REVIEWS = ("movieReviewSnippets", "amazonReviewSnippets")
# Sentences that people were of two minds about teach nothing.
CLEAR = 0.5
SEED, WORDS, EPOCHS = 1, 8000, 6
# 0 is padding, which the model masks.
UNKNOWN = 1


def make(directory: pathlib.Path) -> None:
    """Data, model and configuration, in a folder."""
    texts, scores = reviews()
    tokens = [re.findall(r"[\w']+", text.lower()) for text in texts]
    kept = np.array([bool(words) for words in tokens]) & (np.abs(scores) > CLEAR)
    shown = kept & (np.random.default_rng(SEED).random(len(scores)) < 0.1)
    training = np.flatnonzero(kept & ~shown)
    counts = collections.Counter(word for row in training for word in tokens[row])
    number = {word: index for index, (word, _) in enumerate(counts.most_common(WORDS), UNKNOWN + 1)}
    ids = [np.array([number.get(word, UNKNOWN) for word in words], np.int32) for words in tokens]
    directory.mkdir(parents=True, exist_ok=True)
    model = train([ids[row] for row in training], (scores[training] > 0).astype(np.int64))
    model.save(directory / "model.keras")
    write_rows(directory / "reviews.parquet", np.flatnonzero(shown), tokens, ids, scores)
    (directory / "config.yaml").write_bytes(pathlib.Path(__file__).with_name("config.yaml").read_bytes())


def reviews() -> tuple[list[str], np.ndarray]:
    """The sentences and their mean scores, float64 [sentences]."""
    texts, scores = list[str](), list[float]()
    with tarfile.open(fileobj=io.BytesIO(_member(download(), INSIDE))) as folder:
        for name in REVIEWS:
            file = folder.extractfile(f"hutto_ICWSM_2014/{name}_GroundTruth.txt")
            assert file is not None
            for line in file.read().decode().splitlines():
                _, score, text = line.split("\t", 2)
                texts.append(text)
                scores.append(float(score))
    return texts, np.array(scores)


def download() -> bytes:
    """The source package, as pip gets it."""
    with tempfile.TemporaryDirectory() as folder:
        wanted = ("download", "--quiet", "--no-deps", "--no-binary", ":all:", "--dest", folder, PACKAGE)
        subprocess.run([sys.executable, "-m", "pip", *wanted], check=True)
        (path,) = pathlib.Path(folder).iterdir()
        data = path.read_bytes()
    if hashlib.sha256(data).hexdigest() != SHA256:
        sys.exit(f"{PACKAGE} is not the package that this was written for")
    return data


def _member(archive: bytes, name: str) -> bytes:
    with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
        file = opened.extractfile(name)
        assert file is not None
        return file.read()


def write_rows(
    path: pathlib.Path,
    rows: np.ndarray,
    tokens: Sequence[Sequence[str]],
    ids: Sequence[np.ndarray],
    scores: np.ndarray,
) -> None:
    """A row a sentence: its words, and the number of each."""
    table = {
        "id": [f"review-{row:05d}" for row in rows],
        "tokens": pa.array([tokens[row] for row in rows], pa.list_(pa.string())),
        "token_ids": pa.array([ids[row] for row in rows], pa.list_(pa.int32())),
        "score": scores[rows],
        "positive": (scores[rows] > 0).astype(np.int64),
    }
    pq.write_table(pa.table(table), path)


def train(ids: Sequence[np.ndarray], positive: np.ndarray) -> keras.Model:
    """int32 [batch, length] → logits of bad and good [batch, 2], from the mean over the words' vectors."""
    keras.utils.set_random_seed(SEED)
    entry = keras.Input((None,), dtype="int32", name="token_ids")
    vectors = keras.layers.Embedding(WORDS + 2, 32, mask_zero=True, name="embedding")(entry)
    hidden = keras.layers.Dense(16, activation="relu")(keras.layers.GlobalAveragePooling1D()(vectors))
    model = keras.Model(entry, keras.layers.Dense(2, name="logits")(hidden))
    model.compile(keras.optimizers.Adam(3e-3), keras.losses.SparseCategoricalCrossentropy(True), metrics=["accuracy"])
    longest = max(map(len, ids))
    filled = np.stack([np.pad(row, (0, longest - len(row))) for row in ids])
    model.fit(filled, positive, batch_size=64, epochs=EPOCHS, verbose=0)
    return model


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    make(pathlib.Path(sys.argv[1]))
