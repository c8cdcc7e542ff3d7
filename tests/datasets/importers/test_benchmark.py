"""Datasets from the folders of published benchmarks."""

from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from changeling.cli import app
from changeling.datasets.importers.benchmark import BenchmarkImporter
from changeling.datasets.importers.csv_list import read_csv
from changeling.datasets.importers.folder_conventions import CONVENTIONS, Convention
from changeling.datasets.importers.import_dataset import import_dataset
from changeling.errors import DatasetError
from tests.datasets.files import rows


def write_pictures(folder: Path, *names: str) -> None:
    """Write pictures of different colours."""
    for number, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 6), (7 * number, 200, 30)).save(path)


def read(folder: Path, convention: str, output: Path) -> dict[str, tuple[object, ...]]:
    """Import the folder and return the split, role, source and generator of each image."""
    dataset = BenchmarkImporter(folder, Convention(convention)).import_to(output)
    columns = ("split", "role", "source", "generator")
    return {name: tuple(row[column] for column in columns) for name, row in rows(dataset).items()}


def test_cnn_detection_has_classes_in_train_and_generators_in_test(tmp_path: Path) -> None:
    names = ("train/car/0_real/a.png", "train/car/1_fake/b.png", "val/cat/1_fake/c.png")
    test_names = ("test/biggan/0_real/d.png", "test/biggan/1_fake/e.png", "test/progan/car/1_fake/f.png")
    write_pictures(tmp_path / "in", *names, *test_names)
    assert read(tmp_path / "in", "cnn-detection", tmp_path / "out") == {
        "test/biggan/0_real/d.png": ("test", "parent", "biggan", None),
        "test/biggan/1_fake/e.png": ("test", "child", "biggan", "biggan"),
        "test/progan/car/1_fake/f.png": ("test", "child", "progan", "progan"),
        "train/car/0_real/a.png": ("train", "parent", "progan", None),
        "train/car/1_fake/b.png": ("train", "child", "progan", "progan"),
        "val/cat/1_fake/c.png": ("val", "child", "progan", "progan"),
    }


def test_universal_fake_detect_is_a_test_set_without_folders_of_splits(tmp_path: Path) -> None:
    write_pictures(tmp_path / "in", "laion/0_real/a.png", "ldm_200/1_fake/b.png", "stylegan/car/1_fake/c.png")
    assert read(tmp_path / "in", "universal-fake-detect", tmp_path / "out") == {
        "laion/0_real/a.png": ("test", "parent", "laion", None),
        "ldm_200/1_fake/b.png": ("test", "child", "ldm_200", "ldm_200"),
        "stylegan/car/1_fake/c.png": ("test", "child", "stylegan", "stylegan"),
    }


def test_the_two_folders_of_universal_fake_detect_are_no_generators(tmp_path: Path) -> None:
    write_pictures(tmp_path / "in", "datasets/test/progan/1_fake/a.png", "diffusion_datasets/dalle/1_fake/b.png")
    got = read(tmp_path / "in", "universal-fake-detect", tmp_path / "out")
    assert [row[3] for row in got.values()] == ["progan", "dalle"]


def test_the_folder_of_a_split_may_be_imported_alone(tmp_path: Path) -> None:
    write_pictures(tmp_path / "Midjourney/train", "nature/a.png", "ai/b.png")
    write_pictures(tmp_path / "cnn/train", "car/1_fake/c.png")
    assert read(tmp_path / "Midjourney/train", "genimage", tmp_path / "out") == {
        "ai/b.png": ("train", "child", "Midjourney", "Midjourney"),
        "nature/a.png": ("train", "parent", "Midjourney", None),
    }
    assert read(tmp_path / "cnn/train", "cnn-detection", tmp_path / "other") == {
        "car/1_fake/c.png": ("train", "child", "progan", "progan")
    }


def test_aigibench_trains_on_progan_and_stable_diffusion(tmp_path: Path) -> None:
    write_pictures(tmp_path / "in", "train/horse/1_fake/a.png", "train/sdv1.4/1_fake/b.png", "test/R3GAN/1_fake/c.png")
    got = read(tmp_path / "in", "aigibench", tmp_path / "out")
    assert [row[3] for row in got.values()] == ["R3GAN", "progan", "sdv1.4"]


def test_genimage_is_tested_on_its_folder_val(tmp_path: Path) -> None:
    names = ("BigGAN/imagenet_ai_0419_biggan/val/ai/a.png", "BigGAN/imagenet_ai_0419_biggan/val/nature/b.png")
    write_pictures(tmp_path / "in", *names, "ADM/train/ai/c.png", "train/ai/d.png")
    got = read(tmp_path / "in", "genimage", tmp_path / "out")
    assert got == {
        "ADM/train/ai/c.png": ("train", "child", "ADM", "ADM"),
        "BigGAN/imagenet_ai_0419_biggan/val/ai/a.png": ("test", "child", "BigGAN", "BigGAN"),
        "BigGAN/imagenet_ai_0419_biggan/val/nature/b.png": ("test", "parent", "BigGAN", None),
        "train/ai/d.png": ("train", "child", "in", "in"),  # one generator: its name is that of the folder
    }


def test_a_file_of_train_and_test_is_only_in_test_and_copies_are_one_cluster(tmp_path: Path) -> None:
    write_pictures(tmp_path / "in", "ADM/val/nature/a.png", "ADM/val/ai/b.png", "ADM/train/ai/c.png")
    for copy in ("ADM/train/nature/copy.png", "VQDM/val/nature/copy.png"):
        (tmp_path / "in" / copy).parent.mkdir(parents=True)
        (tmp_path / "in" / copy).write_bytes((tmp_path / "in/ADM/val/nature/a.png").read_bytes())
    notes: list[str] = []
    dataset = BenchmarkImporter(tmp_path / "in", Convention("genimage")).import_to(tmp_path / "out", note=notes.append)
    got = rows(dataset)
    assert set(got) == {"ADM/train/ai/c.png", "ADM/val/ai/b.png", "ADM/val/nature/a.png", "VQDM/val/nature/copy.png"}
    assert got["VQDM/val/nature/copy.png"]["cluster_id"] == got["ADM/val/nature/a.png"]["cluster_id"]
    assert got["ADM/val/ai/b.png"]["cluster_id"] == "ADM/val/ai/b.png"
    assert notes == [
        "1 image left out, because the same file is also in test or val (ADM/train/nature/copy.png)",
    ]


def test_images_outside_of_real_and_fake_are_counted(tmp_path: Path) -> None:
    write_pictures(tmp_path / "in", "biggan/0_real/a.png", "teaser.png", "biggan/examples/b.png")
    notes: list[str] = []
    BenchmarkImporter(tmp_path / "in", Convention("cnn-detection")).import_to(tmp_path / "out", note=notes.append)
    assert notes == [f"{tmp_path / 'in'}: 2 images outside of 0_real and 1_fake left out"]


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_a_wrong_folder_says_what_is_expected(convention: str, tmp_path: Path) -> None:
    write_pictures(tmp_path / "in", "other/a.png")
    with pytest.raises(DatasetError, match="has no images in folders called"):
        BenchmarkImporter(tmp_path / "in", Convention(convention)).import_to(tmp_path / "out")
    with pytest.raises(DatasetError, match="no such folder"):
        BenchmarkImporter(tmp_path / "gone", Convention(convention)).import_to(tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_command_names_the_conventions(tmp_path: Path) -> None:
    write_pictures(tmp_path / "in", "biggan/0_real/a.png", "biggan/1_fake/b.png")
    command = ["import", "benchmark", str(tmp_path / "in"), "--output", str(tmp_path / "out")]
    result = CliRunner().invoke(app, [*command, "--convention", "universal-fake-detect"])
    assert result.exit_code == 0, result.output
    assert (tmp_path / "out/images.parquet").exists()
    assert "universal-fake-detect" in CliRunner().invoke(app, [*command, "--convention", "imagenet"]).output


def test_a_csv_list_may_have_the_columns_of_a_benchmark(tmp_path: Path) -> None:
    write_pictures(tmp_path, "a.png", "b.png", "c.png")
    path = tmp_path / "list.csv"
    path.write_text("path,label,generator,source,split\na.png,real,,coco,test\nb.png,1,adm,x,test\nc.png,FAKE,,x,\n")
    got = rows(import_dataset(read_csv(path), tmp_path / "out"))
    assert [row["role"] for row in got.values()] == ["parent", "child", "child"]
    assert [row["generator"] for row in got.values()] == [None, "adm", "unknown"]
    assert [row["source"] for row in got.values()] == ["coco", "x", "x"]
    path.write_text("path,label\na.png,maybe\n")
    with pytest.raises(DatasetError, match="2: label is 'maybe', not real, fake, 0 or 1"):
        list(read_csv(path))
