"""Certificates made when a test wants them, with the program `openssl`."""

from __future__ import annotations

import ssl
import subprocess
from pathlib import Path

_CONFIG = """
[ca]
default_ca = own
[own]
database = {folder}/index.txt
new_certs_dir = {folder}
rand_serial = yes
default_md = sha256
policy = any
copy_extensions = copy
unique_subject = no
email_in_dn = no
[any]
commonName = supplied
"""


def certificate(
    folder: Path,
    names: str,
    begins: str = "20200101000000Z",
    ends: str = "20990101000000Z",
    issuer: Path | None = None,
) -> ssl.SSLContext:
    """A server's side of TLS with a certificate, `folder`/cert.pem, for names as `DNS:a.example,IP:::1`; signed by itself
    or by the certificate in the folder `issuer`."""
    folder.mkdir(exist_ok=True)
    (folder / "index.txt").touch()
    (folder / "ca.cnf").write_text(_CONFIG.format(folder=folder))
    key, request, cert = folder / "key.pem", folder / "request.pem", folder / "cert.pem"
    _openssl(
        *("req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", "/CN=test"),
        *("-keyout", str(key), "-out", str(request), "-addext", f"subjectAltName={names}"),
    )
    _openssl(
        *("ca", "-batch", "-notext", "-config", str(folder / "ca.cnf")),
        *(
            ("-cert", f"{issuer}/cert.pem", "-keyfile", f"{issuer}/key.pem")
            if issuer
            else ("-selfsign", "-keyfile", str(key))
        ),
        *("-in", str(request), "-out", str(cert), "-startdate", begins, "-enddate", ends),
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    return context


def _openssl(*arguments: str) -> None:
    done = subprocess.run(["openssl", *arguments], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
