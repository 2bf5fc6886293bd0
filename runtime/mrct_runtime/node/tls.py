"""TLS contexts for both ends: version 1.2 or newer, and both sides show a certificate of the configured authority."""

from __future__ import annotations

import ssl

from mrct_runtime.errors import UsageError
from mrct_runtime.node.configuration import Tls


def server_context(tls: Tls | None) -> ssl.SSLContext | None:
    """What the node speaks to its callers; None for plain TCP."""
    return _context(tls, ssl.Purpose.CLIENT_AUTH) if tls is not None and tls.receive else None


def client_context(tls: Tls | None) -> ssl.SSLContext | None:
    """What the node speaks to the destination; None for plain TCP."""
    return _context(tls, ssl.Purpose.SERVER_AUTH) if tls is not None and tls.send else None


def _context(tls: Tls, purpose: ssl.Purpose) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(purpose, cafile=str(tls.authority))
        context.load_cert_chain(tls.certificate, tls.key)
    except OSError as error:
        raise UsageError(
            f"tls: certificate, key and authority cannot be used together: {error.strerror or 'not PEM'}"
        ) from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_mode = ssl.CERT_REQUIRED
    return context
