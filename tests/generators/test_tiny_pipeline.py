"""The pipeline for rehearsals, as a build loads it."""

from pathlib import Path

from scripts.write_tiny_pipeline import main

from changeling.generators.families import load_generator
from changeling.generators.settings import GeneratorSettings


def test_the_pipeline_for_rehearsals_can_be_loaded(tmp_path: Path) -> None:
    main(tmp_path / "tiny")
    assert sum(path.stat().st_size for path in (tmp_path / "tiny").rglob("*") if path.is_file()) < 5_000_000
    settings = GeneratorSettings(model="tiny", steps=1, size=64)
    assert load_generator(settings, tmp_path).record["pipeline"] == "StableDiffusionPipeline"
