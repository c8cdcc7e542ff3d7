"""Compare the dataset and the detectors of an evaluation with those of its protocol, and write down what they are."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

from changeling.datasets.dataset import Dataset
from changeling.evaluation.evaluation import Evaluation
from changeling.evaluation.protocols.protocol import ExpectedDataset, Protocol
from changeling.files import atomic_write
from changeling.results.format import format_count
from changeling.stats.metrics import Ints

PROTOCOL_FILE = "protocol.toml"


def describe_rows(dataset: Dataset, rows: Ints) -> ExpectedDataset:
    """Return the hash of a dataset, and the counts of the rows that are evaluated."""
    is_fake = dataset.labels[rows] == 1
    generators = Counter(dataset.column("generator")[rows][is_fake].tolist())
    return ExpectedDataset(
        hash=dataset.hash,
        real=int((~is_fake).sum()),
        fake=int(is_fake.sum()),
        generators=dict(sorted(generators.items())),
    )


def list_identities(evaluation: Evaluation) -> dict[str, str]:
    """Return the identity of each detector that could be loaded, by its name."""
    return {detector.name: detector.identity for detector in evaluation.detectors if detector.identity}


def list_differences(protocol: Protocol, evaluation: Evaluation) -> Iterator[str]:
    """Yield in a sentence each way in which the dataset or a detector is not the one of the protocol."""
    yield from compare_datasets(protocol, describe_rows(evaluation.dataset, evaluation.rows))
    yield from _list_absent_sources(protocol, evaluation)
    for name, identity in list_identities(evaluation).items():
        expected = protocol.detectors.get(name, identity)
        if identity != expected:
            yield f"The detector {name} has the identity {identity}, not {expected}: it is another one or has changed."


def compare_datasets(protocol: Protocol, found: ExpectedDataset) -> Iterator[str]:
    """Yield in a sentence each way in which the dataset is not the one of the protocol."""
    expected = protocol.dataset
    if expected.hash and expected.hash != found.hash:
        yield f"The dataset has the hash {found.hash}, not {expected.hash}: it is not the one of the protocol."
    for name, count, number in (("real", expected.real, found.real), ("fake", expected.fake, found.fake)):
        if count is not None and count != number:
            yield f"The split has {format_count(number or 0, 'image', 'images')} that are {name}, not {count:,}."
    for generator, count in expected.generators.items():
        number = found.generators.get(generator, 0)
        if count != number:
            images = format_count(number, "image", "images")
            yield f"The split has {images} of the generator {generator}, not {count:,}."
    names = {normalise_name(name) for name in found.generators}
    missing = [name for name in protocol.generators if normalise_name(name) not in names]
    if missing:
        yield f"The split has no images of {', '.join(missing)}, which the protocol has."
    known = protocol.generators or tuple(expected.generators)
    others = [name for name in found.generators if normalise_name(name) not in set(map(normalise_name, known))]
    if known and others:
        yield f"The split has images of {', '.join(others)}, which the protocol lacks."


def write_protocol(protocol: Protocol, evaluation: Evaluation, folder: Path) -> Path:
    """Write the protocol with its dataset and detectors, so that others can check theirs; return the path."""
    found = describe_rows(evaluation.dataset, evaluation.rows)
    lines = [
        "# Written by `changeling evaluate`: pass this file to --protocol to repeat the evaluation on the same images.",
        *_format_table(
            protocol.model_dump(exclude={"dataset", "detectors", "threshold", "transformations", "real_sources"})
        ),
    ]
    tables = {
        "threshold": protocol.threshold.model_dump(exclude_none=True),
        "transformations": protocol.transformations,
        "real_sources": protocol.real_sources,
        "detectors": list_identities(evaluation),
        "dataset": found.model_dump(exclude={"generators"}, exclude_none=True),
        "dataset.generators": found.generators,
    }
    for name, content in tables.items():
        if content:
            lines += ["", f"[{name}]", *_format_table(content)]
    path = folder / PROTOCOL_FILE
    with atomic_write(path) as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def normalise_name(name: str) -> str:
    """Return the letters and digits of a generator's name, since folders and papers write it differently."""
    return re.sub(r"[\W_]", "", name.casefold())


def _list_absent_sources(protocol: Protocol, evaluation: Evaluation) -> Iterator[str]:
    """Yield a sentence for each generator whose real images of another source are absent."""
    is_fake = evaluation.labels == 1
    generators = {normalise_name(str(name)) for name in evaluation.column("generator")[is_fake]}
    sources = set(evaluation.column("source")[~is_fake])
    for generator, source in protocol.real_sources.items():
        if normalise_name(generator) in generators and source not in sources:
            yield f"The split has no real images of the source {source}, with which {generator} is compared."


def _format_table(content: Mapping[str, object]) -> list[str]:
    """Return the lines of a TOML table. Strings, numbers and lists are written as in JSON, which TOML reads."""
    return [f"{_format_key(name)} = {_format_value(value)}" for name, value in content.items()]


def _format_key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else _format_value(name)


def _format_value(value: object) -> str:
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
