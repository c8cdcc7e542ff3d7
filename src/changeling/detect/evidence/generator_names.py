"""Names of programs and services that generate images, as they write them into metadata."""

from __future__ import annotations

import re

# Names that are also common words, such as Imagen, Gemini or Flux, count only with what makes them clear.
_GENERATORS = (
    r"stable[ _-]?diffusion|midjourney|dall[ ._·-]?e\b|adobe firefly|made with google ai|google imagen|nano banana"
    r"|black forest labs|\bflux[ .]?[12]\b|\bopenai\b|chatgpt|gpt-4o|gpt-image|\bgrok\b|ideogram|recraft|seedream"
    r"|jimeng|leonardo\.ai|novelai|comfyui|invokeai|fooocus|automatic1111|bing image creator|microsoft designer"
    r"|draw things|dreamstudio|nightcafe|playground ai"
)


def find_generator_name(text: str) -> str | None:
    """Return the first name of a generator in a text of metadata, or None."""
    found = re.search(_GENERATORS, text, re.IGNORECASE)  # compiled once, on first use
    return found[0] if found else None
