"""XMP packets: the IPTC digital source type, and the programs that they name."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from PIL import Image

from changeling.detect.evidence.evidence import Evidence, Suggestion, quote, shorten
from changeling.detect.evidence.generator_names import find_generator_name
from changeling.detect.evidence.source_types import combine_suggestions, describe_source_type
from changeling.errors import ChangelingError

KIND: Final = "digital source type"
MAX_BYTES = 1 << 20  # of a packet that is parsed
_SOURCE_TYPE = "DigitalSourceType"
# names of other properties, without their namespaces: what they are in plain words
_PROPERTIES = {"CreatorTool": "program", "Credit": "credit", "AISystemUsed": "AI system"}
_WORTH = "Moderate. Generators of large companies write it, and few people add it to a photograph."
_FORGING = "Easily: any metadata editor can write or remove it."


def read_source_type(image: Image.Image) -> Evidence:
    """Return what the XMP packet of an image says about how it was made.

    Raises:
        ChangelingError: the packet is too large, is not XML, or declares entities.
    """
    packet = _get_packet(image)
    properties = list(_list_properties(packet)) if packet else []
    source_types = [value for name, value in properties if name == _SOURCE_TYPE and value.strip()]
    details = {_PROPERTIES[name]: shorten(value) for name, value in properties if name in _PROPERTIES and value.strip()}
    generator = find_generator_name(f"{details.get('program', '')} {details.get('AI system', '')}")
    if not source_types and not generator:
        return Evidence(KIND, "absent", "No XMP packet with a digital source type.", details=details)
    sentences = [f"XMP says: {describe_source_type(source_type)}." for source_type in dict.fromkeys(source_types)][:5]
    if generator:
        sentences.append(f"It names {quote(generator)}, which generates images.")
    suggests: Suggestion | None = combine_suggestions(source_types) if source_types else "generated"
    return Evidence(KIND, "found", " ".join(sentences), suggests, _WORTH, _FORGING, details)


def _get_packet(image: Image.Image) -> bytes:
    packet = image.info.get("xmp") or b""
    data = packet.encode() if isinstance(packet, str) else bytes(packet)
    if len(data) > MAX_BYTES:
        raise ChangelingError(f"the XMP packet has more than {MAX_BYTES >> 20} MiB")
    return data.strip(b"\0 \n\r\t")


def _list_properties(packet: bytes) -> Iterator[tuple[str, str]]:
    """Yield the name, without its namespace, and the value of each property of a packet.

    A property is an element with a text or a reference, or an attribute.
    """
    from xml.etree.ElementTree import ParseError

    from defusedxml import DefusedXmlException
    from defusedxml.ElementTree import fromstring

    try:
        root = fromstring(packet, forbid_dtd=True)
    except DefusedXmlException:
        raise ChangelingError("the XMP packet declares entities, which no program needs to") from None
    except (ParseError, ValueError, LookupError) as error:
        raise ChangelingError(f"the XMP packet is not XML: {error}") from None
    for element in root.iter():
        name = _strip_namespace(element.tag)
        yield name, element.text or ""
        for key, value in element.attrib.items():
            attribute = _strip_namespace(key)
            yield name if attribute == "resource" else attribute, value
        for container in element:  # a list: the property, its container, its items
            yield from ((name, item.text or "") for item in container if _strip_namespace(item.tag) == "li")


def _strip_namespace(name: str) -> str:
    return name.rpartition("}")[2]
