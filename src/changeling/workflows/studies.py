"""Run a study, and write its results, tables and report."""

from __future__ import annotations

from pathlib import Path

from changeling.datasets.dataset import Dataset
from changeling.datasets.messages import Note, ignore_note
from changeling.errors import BackboneError, WeightsError
from changeling.experiments.projections import CHECKPOINTS
from changeling.experiments.registry import EXPERIMENTS
from changeling.files import StrPath, check_output_folder
from changeling.progress import Progress, silent
from changeling.report.exports import remove_study_files, write_exports
from changeling.report.page import write_report
from changeling.results.folder import RESULTS
from changeling.results.result import Result
from changeling.studies.finished import FINISHED
from changeling.studies.runner import check_study, find_missing_text_encoder, open_dataset, run_experiments
from changeling.studies.settings import Study
from changeling.workflows.features import encode_captions, extract_missing_features


def run_study(
    study: Study, folder: StrPath = ".", *, note: Note = ignore_note, progress: Progress = silent
) -> list[Result]:
    """Extract missing features, run the experiments of a study, write results, tables and report, and return results.

    Everything is written to the folder `study.output`: a JSON file for each Result in `results/`, `tables.csv`,
    `latex/` and `report/index.html`. Paths in the study are relative to `folder`. An experiment that cannot run on the
    dataset has a Result that says why. `note` is called with the number of images that are encoded and with the summary
    of each Result.

    Raises:
        StudyError: a setting names something that does not exist.
        DatasetError: the dataset is invalid.
        BackboneError, WeightsError: a backbone that lacks features cannot be loaded.
        FeatureError: there are no features and no backbones, or features were extracted from other images.
    """
    dataset, output = open_dataset(study, Path(folder)), Path(folder) / study.output
    check_output_folder(output)
    study = extract_study_features(dataset, study, note=note, progress=progress)
    return write_study(dataset, study, output, note=note, progress=progress)


def extract_study_features(dataset: Dataset, study: Study, *, note: Note, progress: Progress) -> Study:
    """Extract the features that a study lacks, and return the study with the names that they are stored under.

    `note` is called with the number of images of each backbone, and with why captions could not be encoded.
    """
    missing = check_study(dataset, study)
    names = {
        name: extract_missing_features(dataset, name, note=note, progress=progress) if missing[name] else name
        for name in study.backbones
    }
    renamed = study.with_stored_names(names)
    _encode_captions(dataset, renamed, note, progress)
    return renamed


def write_study(dataset: Dataset, study: Study, output: Path, *, note: Note, progress: Progress) -> list[Result]:
    """Run the experiments of a study, write each Result when it is finished, and at the end tables and report.

    The first Result removes those of an earlier study from the folder `output`. If a later one fails, or the run is
    interrupted, tables and report are written of the results so far. `note` is called with the experiments that have
    results of an earlier run, with the summary of each Result, and with the path of the report.
    """
    results = run_experiments(
        dataset, study, projections=output / CHECKPOINTS, finished=output / FINISHED, note=note, progress=progress
    )
    written: list[Result] = []
    try:
        for result in results:
            if not written:
                remove_study_files(output, EXPERIMENTS)
            result.save(output / RESULTS)
            written.append(result)
            note(f"{result.paper or result.experiment}: {result.summary}")
    finally:
        if written:
            write_exports(written, output)
            note(f"report: {write_report(written, output / 'report' / 'index.html')}")
    return written


def _encode_captions(dataset: Dataset, study: Study, note: Note, progress: Progress) -> None:
    """Encode the captions for backbones without a text tower; a study goes on if that is not possible."""
    name = find_missing_text_encoder(dataset, study)
    if name:
        try:
            encode_captions(dataset, name, note=note, progress=progress)
        except (BackboneError, WeightsError) as error:
            note(f"retrieval is limited to backbones with a text tower: {error}")
