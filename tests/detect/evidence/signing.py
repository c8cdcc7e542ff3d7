"""Image files with content credentials, signed with certificates that are made for the tests, and other metadata."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import c2pa
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from PIL import Image

from tests import helpers

IPTC = "http://cv.iptc.org/newscodes/digitalsourcetype/"
CREATED = {
    "action": "c2pa.created",
    "softwareAgent": {"name": "Test Diffusion", "version": "3"},
    "digitalSourceType": f"{IPTC}trainedAlgorithmicMedia",
}
MIME_TYPES = {"JPEG": "image/jpeg", "PNG": "image/png", "WEBP": "image/webp"}
_USAGES = (
    "digital_signature",
    "content_commitment",
    "key_encipherment",
    "data_encipherment",
    "key_agreement",
    "key_cert_sign",
    "crl_sign",
    "encipher_only",
    "decipher_only",
)


@dataclass(frozen=True)
class Signer:
    """A certificate with its key, and the certificate of the authority that issued it, in PEM format."""

    certificate: str
    key: str
    authority: str

    def sign(self, data: bytes, mime_type: str, *actions: dict[str, Any], parent: bytes | None = None) -> bytes:
        """Add content credentials to a file."""
        with self._start(actions) as builder:
            if parent is not None:
                builder.set_intent(c2pa.C2paBuilderIntent.EDIT)
                builder.add_ingredient({"title": "parent", "relationship": "parentOf"}, mime_type, BytesIO(parent))
            return self._finish(builder, data, mime_type)

    def sign_remotely(self, data: bytes, mime_type: str, address: str) -> bytes:
        """Add the address of content credentials to a file, but not the credentials."""
        with self._start((CREATED,)) as builder:
            builder.set_no_embed()
            builder.set_remote_url(address)
            return self._finish(builder, data, mime_type)

    def _start(self, actions: tuple[dict[str, Any], ...]) -> Any:
        manifest = {
            "claim_generator_info": [{"name": "Test Program", "version": "1.0"}],
            "assertions": [{"label": "c2pa.actions.v2", "data": {"actions": actions}}],
        }
        settings = {"builder": {"thumbnail": {"enabled": False}}}
        return c2pa.Builder(manifest, c2pa.Context.from_dict(settings))

    def _finish(self, builder: Any, data: bytes, mime_type: str) -> bytes:
        chain = (self.certificate + self.authority).encode()
        signer = c2pa.Signer.from_info(c2pa.C2paSignerInfo(b"es256", chain, self.key.encode(), None))
        signed = BytesIO()
        builder.sign(signer, mime_type, BytesIO(data), signed)
        return signed.getvalue()


def make_signer(organisation: str) -> Signer:
    """Make an authority and a certificate for an organisation that it issues."""
    authority_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    authority_name = _make_name("Test Authority", f"Authority of {organisation}")
    authority = _build(authority_name, authority_name, authority_key, authority_key, "key_cert_sign", "crl_sign")
    certificate = _build(_make_name("Signer", organisation), authority_name, key, authority_key, "digital_signature")
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return Signer(certificate.public_bytes(pem).decode(), private.decode(), authority.public_bytes(pem).decode())


def encode(image_format: str, *, seed: int = 0, **options: Any) -> bytes:
    """A small image as a file of this format."""
    buffer = BytesIO()
    helpers.natural(seed, side=64).save(buffer, image_format, **options)
    return buffer.getvalue()


def encode_with_exif(image_format: str, image_tags: dict[int, Any], camera_tags: dict[int, Any]) -> bytes:
    """A small image with EXIF data."""
    exif = Image.Exif()
    exif.update(image_tags)
    exif.get_ifd(0x8769).update(camera_tags)
    return encode(image_format, exif=exif)


def _make_name(common_name: str, organisation: str) -> x509.Name:
    attributes = ((NameOID.COUNTRY_NAME, "XX"), (NameOID.ORGANIZATION_NAME, organisation))
    return x509.Name([x509.NameAttribute(*pair) for pair in (*attributes, (NameOID.COMMON_NAME, common_name))])


def _build(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    issuer_key: ec.EllipticCurvePrivateKey,
    *usages: str,
) -> x509.Certificate:
    now, day = datetime.datetime.now(datetime.UTC), datetime.timedelta(days=1)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - day)
        .not_valid_after(now + day)
        .add_extension(x509.BasicConstraints(ca=key is issuer_key, path_length=None), critical=True)
        .add_extension(x509.KeyUsage(**{usage: usage in usages for usage in _USAGES}), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
    )
    if key is not issuer_key:
        builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), critical=False)
    return builder.sign(issuer_key, hashes.SHA256())
