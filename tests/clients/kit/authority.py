"""A certificate authority of one run, a certificate for this computer, and variables that make clients trust the authority."""

from . import commands


class Authority:
    """Files in this folder: `certificate` of the authority, and `words`, the options of a server."""

    def __init__(self, folder):
        req = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30"]
        authority = ["-subj", "/CN=authority", "-addext", "keyUsage=critical,keyCertSign"]
        commands.run([*req, "-keyout", "ca.key", "-out", "ca.pem", *authority], cwd=folder).good()
        leaf = ["-CA", "ca.pem", "-CAkey", "ca.key", "-addext", "basicConstraints=critical,CA:FALSE"]
        leaf += ["-addext", "keyUsage=critical,digitalSignature", "-addext", "extendedKeyUsage=serverAuth"]
        server = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
        commands.run([*req, *leaf, *server, "-keyout", "key.pem", "-out", "cert.pem"], cwd=folder).good()
        self.certificate = folder / "ca.pem"
        self.words = ["--tls-cert", folder / "cert.pem", "--tls-key", folder / "key.pem"]


# OpenSSL, Go and lynx; curl; requests; node; git; cargo. Other clients have an option.
VARIABLES = ["SSL_CERT_FILE", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS", "GIT_SSL_CAINFO", "CARGO_HTTP_CAINFO"]


def trust(certificate):
    """Makes all clients started from now on trust this authority."""
    commands.EVERYWHERE.update(dict.fromkeys(VARIABLES, str(certificate)))
