"""Detection on a Ray cluster gives the verdicts of `detect` without it, whatever is killed meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from changeling.backbones import registry
from changeling.detect import detection as detection_module
from changeling.detect.detection import Detection, remove_outdated_parts
from changeling.detect.detector import Detector
from changeling.detect.evidence.inspect import EvidenceReader
from changeling.detect.verdict_parts import VerdictParts, read_verdicts, verdict_parts
from changeling.distributed.detect import DetectStage, detect_on_ray
from changeling.distributed.pipeline import Shared
from changeling.errors import DistributedError
from tests import helpers

pytest.importorskip("ray")
pytestmark = pytest.mark.filterwarnings("ignore")  # Ray's own

COUNT, PART_SIZE = 22, 4


@pytest.fixture
def images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Relative paths of images, of which two cannot be read."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(detection_module, "PART_SIZE", PART_SIZE)
    paths = [Path(f"{number:02d}.png") for number in range(COUNT)]
    for number, path in enumerate(paths):
        (helpers.natural if number % 2 else helpers.generated)(number).save(path)
    paths[5].write_bytes(b"no image")
    paths[14].unlink()
    return list(map(str, paths))


@pytest.fixture
def detection(images: list[str], tmp_path: Path) -> Detection:
    """A detection with a relative path to its backbone."""
    backbone = registry.load_backbone(f"onnx:{helpers.tiny_onnx(Path('tiny.onnx'))}")
    return Detection(Detector(helpers.tiny_detector(helpers.tiny_backbone(Path("tiny.onnx"))), backbone))


@pytest.fixture
def parts(images: list[str]) -> VerdictParts:
    return verdict_parts(Path("verdicts.csv"), len(images), PART_SIZE)


@pytest.fixture
def worker_that_dies(ray_cluster: Any, tmp_path: Path) -> Iterator[Path]:
    """A connection with a worker process that is killed when it writes a part; yields a file that it makes before."""
    import ray

    trace = tmp_path / "killed"

    def kill_one() -> None:  # pickled by value, as it is a nested function
        import os
        import signal
        from pathlib import Path

        write = Path.write_bytes

        def write_or_die(path: Path, data: bytes) -> int:
            if "part-00001" in path.name and not trace.exists():
                trace.touch()
                os.kill(os.getpid(), signal.SIGKILL)
            return write(path, data)

        Path.write_bytes = write_or_die  # type: ignore[method-assign, assignment]

    ray.init(ray_cluster.address, runtime_env={"worker_process_setup_hook": kill_one}, log_to_driver=False)
    yield trace
    ray.shutdown()


def test_verdicts_are_those_of_one_process(
    ray_cluster: Any, detection: Detection, images: list[str], parts: VerdictParts
) -> None:
    """Paths are relative to a folder other than that in which the Ray cluster was started."""
    detection = Detection(detection.detector, is_stable=True, evidence_reader=EvidenceReader())
    reports: list[tuple[str, int, int]] = []
    detect_on_ray(detection, images, parts, ray_cluster.address, lambda *report: reports.append(report))
    assert list(read_verdicts(parts)) == list(detection.detect(images))
    assert reports[-1] == ("detecting", COUNT, COUNT)
    remove_outdated_parts(detection, images, parts)
    assert parts.missing == []  # the headers that the workers wrote are those of this process


def test_a_part_that_a_killed_worker_leaves_is_detected_again(
    worker_that_dies: Path, ray_cluster: Any, detection: Detection, images: list[str], parts: VerdictParts
) -> None:
    detection.write_part(parts, 0, images[:PART_SIZE])
    modified = parts.path(0).stat().st_mtime_ns
    detect_on_ray(detection, images, parts, ray_cluster.address)
    assert worker_that_dies.exists()
    assert list(read_verdicts(parts)) == list(detection.detect(images))
    assert parts.path(0).stat().st_mtime_ns == modified


def test_parts_that_a_lost_machine_leaves_are_detected_again(
    ray_cluster: Any, detection: Detection, images: list[str], parts: VerdictParts
) -> None:
    node = ray_cluster.add_node(num_cpus=1)
    lost_after: list[int] = []

    def lose_node(_: str, done: int, __: int) -> None:
        if done and not lost_after:
            lost_after.append(done)
            ray_cluster.remove_node(node, allow_graceful=False)

    detect_on_ray(detection, images, parts, ray_cluster.address, lose_node)
    assert lost_after
    assert lost_after[0] < COUNT
    assert list(read_verdicts(parts)) == list(detection.detect(images))


def test_a_machine_without_the_folders_is_refused(detection: Detection, images: list[str], parts: VerdictParts) -> None:
    stage = DetectStage(Shared.pack((detection, parts)))
    with pytest.raises(
        DistributedError, match=r"verdicts\.csv\.parts does not exist on .*; all machines need the same"
    ):
        stage(0, images[:PART_SIZE])
    parts.folder.mkdir()
    assert stage(0, images[:PART_SIZE]) == PART_SIZE
