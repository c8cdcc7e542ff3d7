from __future__ import annotations

from pathlib import Path

import pytest

from changeling.distributed.build import build_on_ray
from changeling.errors import DistributedError
from tests.distributed.conftest import MakeBuild

pytest.importorskip("ray")


def test_address_without_a_ray_cluster_is_refused_in_one_line(make_build: MakeBuild, tmp_path: Path) -> None:
    build = make_build(tmp_path / "fakes")
    with pytest.raises(DistributedError, match=r"no Ray cluster at 127\.0\.0\.1:1") as caught:
        build_on_ray(build, "127.0.0.1:1")
    assert "\n" not in str(caught.value)
    assert not build.output.exists()
