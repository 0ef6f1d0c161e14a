"""sslyze, from PyPI: Mozilla's "intermediate" configuration and its other checks, with the server of `tls`."""

import json

from clients.tls import secured
from kit import packages
from kit.checks import same

NAME = "sslyze"
DEBIAN = {"openssl": "openssl"}
PYPI = ["sslyze"]
LIMITS = {"mozilla": 120, "the_rest": 120}


def version(at):
    return packages.python_version("sslyze")


def scan(at, name, *words):
    """Its output, its exit status, and its findings by name."""
    server, authority = secured(at)
    file = at.folder(f"sslyze-{name}") / "found.json"
    sslyze = [packages.python(), "-W", "ignore", "-m", "sslyze", "--certinfo_ca_file", authority, "--json_out", file]
    done = at.run([*sslyze, *words, f"localhost:{server.port}"], within=110)
    scans = json.loads(file.read_text())["server_scan_results"][0]["scan_result"].items()
    scans = {name: scan for name, scan in scans if scan["status"] != "NOT_SCHEDULED"}
    same({name: scan["error_reason"] for name, scan in scans.items() if scan["status"] != "COMPLETED"}, {}, "what went wrong")
    return done.good().text, {name: scan["result"] for name, scan in scans.items()}


def check_mozilla(at):
    """conforms to Mozilla's intermediate configuration; a valid certificate; none of the known vulnerabilities"""
    said, found = scan(at, "mozilla")
    assert "OK - Compliant" in said, said[-1000:]
    assert "Supplied CA file CA Store (N/A):   OK - Certificate is trusted" in said, said
    assert not found["tls_compression"]["supports_compression"]
    assert not found["openssl_ccs_injection"]["is_vulnerable_to_ccs_injection"]
    assert not found["heartbleed"]["is_vulnerable_to_heartbleed"]
    same(found["robot"]["robot_result"], "NOT_VULNERABLE_RSA_NOT_SUPPORTED", "ROBOT")
    assert found["tls_fallback_scsv"]["supports_fallback_scsv"]
    assert found["tls_extended_master_secret"]["supports_ems_extension"]
    same(found["session_renegotiation"]["client_renegotiations_success_count"], 0, "renegotiations")


def check_the_rest(at):
    """no early data; sessions are resumed; HSTS is sent"""
    _, found = scan(at, "rest", "--early_data", "--resum", "--http_headers")
    assert not found["tls_1_3_early_data"]["supports_early_data"]
    # sslyze reports that no ticket is accepted, because it expects to get the same ticket back. A resumed session gets a new one
    # here; `tls` checks with openssl that tickets are accepted.
    resumption = found["session_resumption"]
    same(resumption["session_id_successful_resumptions_count"], 5, "sessions resumed by their id")
    same(found["http_headers"]["strict_transport_security_header"]["max_age"], 31536000, "HSTS")
