"""Content credentials (C2PA): signed statements about how an image was made, and whether they are valid."""

from __future__ import annotations

import json
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any, Final

from changeling.detect.evidence.evidence import Evidence, State, Suggestion, quote, shorten
from changeling.detect.evidence.source_types import combine_suggestions, describe_source_type
from changeling.errors import ChangelingError

Manifest = dict[str, Any]  # as the library's report has it

KIND: Final = "content credentials"
MAX_TRUST_LIST_BYTES = 1 << 20  # c2pa-python takes settings of at most 1 MiB, in which each line end counts twice
MIME_TYPES = {  # of the formats that can have credentials, by Pillow's names
    "JPEG": "image/jpeg",
    "MPO": "image/jpeg",
    "PNG": "image/png",
    "WEBP": "image/webp",
    "AVIF": "image/avif",
    "GIF": "image/gif",
    "TIFF": "image/tiff",
}
# Nothing is fetched: neither manifests that a file refers to, nor whether a certificate was revoked.
_SETTINGS = {"remote_manifest_fetch": False, "ocsp_fetch": False, "verify_trust": True}
_STATES: dict[str, State] = {"Trusted": "trusted signer", "Valid": "unknown signer"}
_WORTH: dict[State, str] = {
    "trusted signer": "Strong. A signer on the trust list is responsible for these statements.",
    "unknown signer": "Weak. The file is unchanged since someone signed it, but anyone can sign, under any name.",
    "invalid": "None: the file, the statements or the certificate failed validation. Saving a copy can cause that.",
}
_FORGING: dict[State, str] = {
    "trusted signer": "Hard: it takes the private key of the signer. Removing credentials is easy and leaves no trace.",
    "unknown signer": "Easily: with a certificate of one's own. Removing credentials is easy, too.",
    "invalid": "Does not matter: what failed validation is not relied on.",
}
_FAILURES = {  # the library's code of a failure: what it means
    "assertion.dataHash.mismatch": "the file was changed after it was signed",
    "assertion.bmffHash.mismatch": "the file was changed after it was signed",
    "assertion.boxesHash.mismatch": "the file was changed after it was signed",
    "assertion.hashedURI.mismatch": "the statements were changed after they were signed",
    "claimSignature.mismatch": "the signature does not fit the statements",
    "signingCredential.expired": "the certificate of the signer had expired, or it is not known when it was used",
    "signingCredential.ocsp.revoked": "the certificate of the signer was revoked",
    "signingCredential.invalid": "the certificate of the signer is not one for content credentials",
}


class CredentialsReader:
    """Reads and validates content credentials. It can be used by several threads at once."""

    def __init__(self, trust_list: Path | None = None) -> None:
        """Trust the certificates of a PEM file, and whoever they certify. By default no signer is trusted.

        Raises:
            ChangelingError: the file cannot be read or has no certificates, or c2pa-python is not installed.
        """
        try:
            import c2pa
        except ImportError:
            if trust_list is not None:
                raise ChangelingError("a trust list needs c2pa-python: pip install 'changeling[evidence]'") from None
            self._c2pa = None
            return
        self._c2pa = c2pa
        self._has_trust_list = trust_list is not None
        settings: dict[str, dict[str, object]] = {"verify": dict(_SETTINGS)}
        if trust_list is not None:
            settings["trust"] = {"trust_anchors": _read_trust_list(trust_list)}
        try:
            self._context = c2pa.Context.from_dict(settings)
        except c2pa.C2paError as error:
            raise ChangelingError(f"trust list {trust_list}: c2pa-python refuses it: {shorten(error)}") from None

    def read(self, data: bytes, image_format: str) -> Evidence:
        """Return the content credentials of a file with this content, in a format that Pillow names."""
        if self._c2pa is None:
            return Evidence(KIND, "unavailable", "Not read. Install c2pa-python: pip install 'changeling[evidence]'")
        absent = Evidence(KIND, "absent", "No content credentials (C2PA).")
        if image_format not in MIME_TYPES:
            return absent
        try:
            with self._c2pa.Reader(MIME_TYPES[image_format], BytesIO(data), context=self._context) as reader:
                report = json.loads(reader.json())
        except self._c2pa.C2paError.ManifestNotFound:
            return absent
        except self._c2pa.C2paError as error:
            return _describe_error(error)
        return _describe_report(report, self._has_trust_list)


def _read_trust_list(path: Path) -> str:
    from cryptography.x509 import load_pem_x509_certificates

    try:
        with path.open("rb") as file:
            data = file.read(MAX_TRUST_LIST_BYTES + 1)
        if len(data) > MAX_TRUST_LIST_BYTES:
            limit = f"{MAX_TRUST_LIST_BYTES >> 20} MiB"
            raise ChangelingError(f"trust list {path}: is larger than {limit}; keep only the certificates you need")
        load_pem_x509_certificates(data)
    except OSError as error:
        raise ChangelingError(f"trust list {path}: {error.strerror or error}") from None
    except ValueError:
        raise ChangelingError(f"trust list {path}: is not a list of certificates in PEM format") from None
    return data.decode("utf-8", "replace")


def _describe_error(error: Exception) -> Evidence:
    message = shorten(error)
    if "remote manifest" in message:
        summary = "The credentials are not in the file but at an address that it names; it was not asked."
        return Evidence(KIND, "unavailable", summary, details={"address": message.rpartition(" ")[2]})
    return Evidence(KIND, "unreadable", f"The file, or its credentials if it has any, is damaged: {message}")


def _describe_report(report: dict[str, Any], has_trust_list: bool) -> Evidence:
    """Return what the report of the library says about the active manifest, the last one that was signed."""
    state = _STATES.get(report.get("validation_state", ""), "invalid")
    active, *earlier = _list_history(report)
    signer = _get_signer(active)
    if state == "invalid":
        summary = f"Signed by {signer}, but not valid: {_describe_failures(report)}."
        details = _describe_signature(active) | _describe_actions("claimed action", [active])
        return Evidence(KIND, state, summary, None, _WORTH[state], _FORGING[state], details)
    if state == "trusted signer":
        summary = f"Signed by {signer}, who is on the trust list; the file is unchanged since."
    else:
        trust = "who is not on the trust list" if has_trust_list else "but no trust list was given to check that name"
        summary = f"Signed by {signer}, {trust}; the file is unchanged since."
    if source_types := _list_source_types(active):
        summary += f" The signer says: {_join_source_types(source_types)}."
    for manifest in earlier[:3]:
        if _list_source_types(manifest):
            summary += f" Earlier credentials, by {_get_signer(manifest)}, say: "
            summary += f"{_join_source_types(_list_source_types(manifest))}."
    details = _describe_signature(active) | _describe_actions("action", [active])
    details |= _describe_actions("earlier action", earlier)
    return Evidence(KIND, state, summary, _suggest(active, earlier), _WORTH[state], _FORGING[state], details)


def _suggest(active: Manifest, earlier: list[Manifest]) -> Suggestion | None:
    """Return what a manifest and the earlier ones suggest together.

    The signer of the last manifest is not responsible for the earlier ones, which anyone may have signed. They can show
    that an image is generated, but not that a camera captured it.
    """
    history = [source_type for manifest in (active, *earlier) for source_type in _list_source_types(manifest)]
    suggestion = combine_suggestions(history)
    if suggestion == "captured":
        return combine_suggestions(_list_source_types(active))
    return suggestion


def _list_source_types(manifest: Manifest) -> list[str]:
    """Return the different digital source types of the actions of a manifest."""
    return list(dict.fromkeys(action["source type"] for action in _list_actions(manifest) if "source type" in action))


def _join_source_types(source_types: list[str]) -> str:
    return "; ".join(map(describe_source_type, source_types[:5]))


def _get_signer(manifest: Manifest) -> str:
    return quote(manifest.get("signature_info", {}).get("issuer") or "someone without a name", 100)


def _describe_actions(name: str, manifests: list[Manifest]) -> dict[str, str]:
    actions = [action for manifest in manifests for action in _list_actions(manifest)]
    return {f"{name} {number}": _describe_action(action) for number, action in enumerate(actions[:10], 1)}


def _describe_failures(report: dict[str, Any]) -> str:
    """Return what is wrong, in plain words where they are known, and otherwise in the library's."""
    results = report.get("validation_results", {})
    failures = list(results.get("activeManifest", {}).get("failure", []))
    for delta in results.get("ingredientDeltas", []):
        failures += delta.get("validationDeltas", {}).get("failure", [])
    codes = [str(failure.get("code")) for failure in failures if failure.get("code") != "signingCredential.untrusted"]
    if not codes:
        return "no reason is given"
    return "; ".join(dict.fromkeys(_FAILURES.get(code, shorten(code, 80)) for code in codes[:5]))


def _list_history(report: dict[str, Any]) -> Iterator[Manifest]:
    """Yield the active manifest and those of the images that it was edited from, back to the first."""
    manifests = report["manifests"]
    label = report["active_manifest"]
    seen: set[str] = set()
    while label in manifests and label not in seen:
        yield manifests[label]
        seen.add(label)
        parents = [item for item in manifests[label].get("ingredients", []) if item.get("relationship") == "parentOf"]
        label = parents[0].get("active_manifest") if parents else None


def _list_actions(manifest: Manifest) -> Iterator[dict[str, str]]:
    """Yield the actions of a manifest: what was done, with what, and the digital source type of the result."""
    for assertion in manifest.get("assertions", []):
        if not str(assertion.get("label", "")).startswith("c2pa.actions"):
            continue
        for action in assertion.get("data", {}).get("actions", []):
            fields = {
                "action": action.get("action", ""),
                "program": _describe_program(action.get("softwareAgent", "")),
                "source type": action.get("digitalSourceType", ""),
                "when": action.get("when", ""),
            }
            yield {name: shorten(value, 200) for name, value in fields.items() if value}


def _describe_action(action: dict[str, str]) -> str:
    parts = [action.get("action", "").removeprefix("c2pa.")]
    if "program" in action:
        parts.append(f"with {quote(action['program'], 100)}")
    if "source type" in action:
        parts.append(f"as {describe_source_type(action['source type'])}")
    if "when" in action:
        parts.append(f"on {action['when']}")
    return " ".join(parts)


def _describe_signature(manifest: Manifest) -> dict[str, str]:
    signature = manifest.get("signature_info", {})
    programs = manifest.get("claim_generator_info") or [manifest.get("claim_generator", "")]
    fields = {
        "certificate": signature.get("common_name", ""),
        "signed": signature.get("time", ""),
        "claim generator": ", ".join(map(_describe_program, programs[:5])),
        "title": manifest.get("title", ""),
    }
    return {name: shorten(value, 200) for name, value in fields.items() if value}


def _describe_program(program: object) -> str:
    """Return the name and the version of a program, which is a text or an object."""
    if isinstance(program, dict):
        return " ".join(str(program[name]) for name in ("name", "version") if program.get(name))
    return str(program)
