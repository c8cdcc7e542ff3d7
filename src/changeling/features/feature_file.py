"""Features in a file of another program: .npy, .safetensors or .parquet, with the id of each row."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from changeling.datasets.messages import format_count, format_examples
from changeling.datasets.read_errors import convert_read_errors
from changeling.errors import FeatureError, one_line

ID_COLUMNS = ("image_id", "caption_id")  # of a .parquet file
_LIST_TYPES = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
_STORED_TYPES = {"float16": np.float16, "float32": np.float32, "float64": np.float32}

Content = tuple[list[str] | None, NDArray[Any]]  # ids, if the file has them, and features


@dataclass(frozen=True, slots=True)
class FeatureFile:
    """The content of a file of features.

    Attributes:
        ids: the id of each row; they differ.
        values: float16 or float32 (rows, D), all finite.
        hash: sixteen hexadecimal digits over the bytes of the file and of the file of ids.
    """

    path: Path
    ids: list[str]
    values: NDArray[np.floating[Any]]
    hash: str


def read_feature_file(path: Path, ids_path: Path | None = None) -> FeatureFile:
    """Read a file of features.

    The features are the array of a .npy file, the only tensor (or the one called "features") of a .safetensors file,
    or the columns of a .parquet file: one column of lists, or a column of numbers for each of the D values. The ids
    are the lines of the text file `ids_path`, the metadata "ids" of a .safetensors file (a JSON list), or the column
    `image_id` or `caption_id` of a .parquet file.

    Raises:
        FeatureError: the file has another format, there are no ids or other ones than rows, an id occurs twice, or a
            feature is not finite.
        DatasetError: a file cannot be read.
    """
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise FeatureError(f"{path}: the suffix is not one of {', '.join(_READERS)}; convert the file")
    with convert_read_errors(path):
        own_ids, values = reader(path)
    if own_ids is not None and ids_path is not None:
        raise FeatureError(f"{path} has ids of its own; leave out the file of ids")
    if own_ids is None and ids_path is None:
        raise FeatureError(f"{path} has no ids; pass a text file with the id of each row on a line")
    ids = _read_ids(ids_path) if ids_path else own_ids or []
    values = _check_values(path, values)
    if len(ids) != len(values):
        raise FeatureError(
            f"{ids_path or path} has {format_count(len(ids), 'id')}, but {path.name} {format_count(len(values), 'row')}"
        )
    _check_rows(path, ids, values)
    return FeatureFile(path, ids, values, _hash_files(path, ids_path))


def _read_npy(path: Path) -> Content:
    with path.open("rb") as file:
        return None, np.lib.format.read_array(file, allow_pickle=False)


def _read_safetensors(path: Path) -> Content:
    try:
        with safe_open(path, "numpy") as file:
            names = [*file.keys()]
            if "features" not in names and len(names) != 1:
                found = ", ".join(names) or "none"
                raise FeatureError(f"{path}: call the tensor of the features 'features'; the tensors are: {found}")
            ids = json.loads((file.metadata() or {}).get("ids", "null"))
            values = file.get_tensor("features" if "features" in names else names[0])
    except (SafetensorError, TypeError) as error:
        raise FeatureError(f"{path} cannot be read: {one_line(error)}") from None
    if ids is not None and not (isinstance(ids, list) and all(isinstance(row_id, str) for row_id in ids)):
        raise FeatureError(f"{path}: the metadata 'ids' are not a JSON list of texts")
    return ids, values


def _read_parquet(path: Path) -> Content:
    table = pq.read_table(path)
    id_column = next((name for name in ID_COLUMNS if name in table.column_names), None)
    if id_column is None:
        columns = format_examples(table.column_names)
        raise FeatureError(f"{path} has no column {' or '.join(ID_COLUMNS)}; it has {columns}")
    ids = table[id_column].cast(pa.string()).to_pylist()
    features = table.drop_columns([id_column])
    if None in ids or any(column.null_count for column in features.columns):
        raise FeatureError(f"{path} has empty cells; leave out the rows without a feature")
    lists = [field.name for field in features.schema if any(is_type(field.type) for is_type in _LIST_TYPES)]
    if len(lists) == 1 and features.num_columns == 1:
        return ids, _read_lists(path, features[lists[0]])
    if lists or not features.num_columns:
        raise FeatureError(
            f"{path}: beside {id_column} there must be one column of lists, or columns of numbers only; it has "
            f"{format_examples(features.column_names) or 'none'}"
        )
    return ids, np.column_stack([column.to_numpy() for column in features.columns])


def _read_lists(path: Path, column: pa.ChunkedArray) -> NDArray[Any]:
    """Return a column of lists as an array (rows, D). Raises FeatureError if their lengths differ."""
    lengths = np.unique(pc.list_value_length(column).to_numpy())
    if len(lengths) > 1:
        raise FeatureError(f"{path}: the features have different lengths: {format_examples(lengths.tolist())}")
    values: NDArray[Any] = pc.list_flatten(column).to_numpy()
    return values.reshape(len(column), -1) if len(column) else values.reshape(0, 1)


_READERS: Mapping[str, Callable[[Path], Content]] = {
    ".npy": _read_npy,
    ".safetensors": _read_safetensors,
    ".parquet": _read_parquet,
}


def _read_ids(path: Path) -> list[str]:
    with convert_read_errors(path):
        return path.read_text(encoding="utf-8-sig").removesuffix("\n").split("\n")


def _check_values(path: Path, values: NDArray[Any]) -> NDArray[np.floating[Any]]:
    """Return the features in the type that they are stored in. Raises FeatureError for another type or shape."""
    stored_type = _STORED_TYPES.get(values.dtype.name)
    if stored_type is None:
        raise FeatureError(
            f"{path}: the features are {values.dtype.name}, not {', '.join(_STORED_TYPES)}; convert them"
        )
    if values.ndim != 2 or not values.size:
        raise FeatureError(f"{path}: the features have shape {values.shape}, not (rows, D)")
    with np.errstate(over="ignore"):  # values that are too large become infinite, which is checked
        return values.astype(stored_type, copy=False)


def _check_rows(path: Path, ids: list[str], values: NDArray[np.floating[Any]]) -> None:
    """Raise FeatureError if an id occurs twice, or a feature is not finite."""
    repeated = [row_id for row_id, count in Counter(ids).items() if count > 1]
    if repeated:
        count = format_count(len(repeated), "id")
        raise FeatureError(f"{path} has {count} with several rows ({format_examples(repeated)}); keep one of each")
    bad_rows = np.flatnonzero(~np.isfinite(values).all(axis=1)).tolist()
    if bad_rows:
        examples = format_examples([ids[row] for row in bad_rows])
        count = format_count(len(bad_rows), "feature")
        raise FeatureError(f"{path} has {count} that are not finite ({examples}); leave these rows out")


def _hash_files(*paths: Path | None) -> str:
    digest = hashlib.sha256()
    for path in filter(None, paths):
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:16]
