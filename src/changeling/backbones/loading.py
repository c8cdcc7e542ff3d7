"""Errors of the libraries that load models, turned into errors for the user."""

from __future__ import annotations

import difflib
import logging
import pickle
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext

from huggingface_hub import constants, get_session

from changeling.errors import BackboneError, WeightsError, one_line

HUB_TIMEOUT = 10  # seconds


@contextmanager
def convert_loading_errors(name: str, *, may_fetch: bool) -> Iterator[None]:
    """Silence the library that loads the model `name`, and raise its errors as errors of one line.

    Raises:
        BackboneError: the model cannot be loaded.
        WeightsError: an OSError while `may_fetch`, that is, while the library may use the network.
    """
    disabled = logging.root.manager.disable
    logging.disable()
    try:
        with warnings.catch_warnings(action="ignore"), _use_hub_or_cache() if may_fetch else nullcontext():
            yield
    except (BackboneError, WeightsError):
        raise
    except Exception as error:  # the libraries raise exceptions of many types
        raise _convert_error(error, name, may_fetch) from None
    finally:
        logging.disable(disabled)


def suggest_names(name: str, known: Iterable[str], prefix: str) -> str:
    """Return the end of an error message that suggests known names close to `name`, each after `prefix`; or ""."""
    matches = difflib.get_close_matches(name, known, n=5, cutoff=0.5)
    return "; did you mean " + ", ".join(f"{prefix}{match}" for match in matches) + "?" if matches else ""


@contextmanager
def _use_hub_or_cache() -> Iterator[None]:
    """Use the cache alone if the Hugging Face Hub cannot be reached: its library tries for 23 s for each of many files.

    Raises:
        OSError: a file is not in the cache, and the Hub cannot be reached.
    """
    reason, is_offline = _explain_unreachable_hub(), constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = is_offline or bool(reason)
    try:
        yield
    except FileNotFoundError:
        if reason:
            raise OSError(f"there is no way to {constants.ENDPOINT} ({reason})") from None
        raise
    finally:
        constants.HF_HUB_OFFLINE = is_offline


def _explain_unreachable_hub() -> str:
    """Return why there is no connection to the Hugging Face Hub; "" if there is one, or its library is set offline."""
    if constants.HF_HUB_OFFLINE:
        return ""
    try:
        get_session().head(constants.ENDPOINT, timeout=HUB_TIMEOUT)
    except Exception as error:  # of the HTTP library that huggingface_hub happens to use
        is_unreachable = type(error).__name__ in ("ConnectError", "ConnectTimeout", "ConnectionError", "ProxyError")
        return one_line(error, 200) or type(error).__name__ if is_unreachable else ""
    return ""


def _convert_error(error: Exception, name: str, may_fetch: bool) -> BackboneError | WeightsError:
    message = (one_line(error, 300) or type(error).__name__).replace("local-dir:", "")
    if may_fetch and isinstance(error, OSError):
        return WeightsError(
            f"cannot fetch the weights of {name}: {message}; check the network, or name a checkpoint on disk "
            "(open_clip:ARCH/FILE, open_clip:FOLDER, timm:FOLDER)"
        )
    is_pickle = any(isinstance(cause, pickle.UnpicklingError) for cause in (error, error.__cause__))
    if is_pickle or "TorchScript" in str(error):
        return BackboneError(f"{name}: the checkpoint contains code, which is not run; save its state dict alone")
    if isinstance(error, ModuleNotFoundError) and error.name:
        return BackboneError(f"{name} needs {error.name}: pip install {error.name}")
    return BackboneError(f"{name} cannot be loaded: {message}")
