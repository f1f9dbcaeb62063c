"""Certificates and kubeconfigs of one test cluster: one authority, EC P-256, thirty days.

Called by the keeper before anything starts. Nothing here is fit for anything but a test.
"""

import base64
import ipaddress
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from bed.layout import DOMAIN, NODE, Layout
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

# file name -> (common name, organization): the users that the components log in as
USERS = {
    "admin": ("bed-admin", "system:masters"),
    "apiserver-kubelet": ("kube-apiserver-kubelet-client", "system:masters"),
    "controllers": ("system:kube-controller-manager", ""),
    "scheduler": ("system:kube-scheduler", ""),
    "proxy": ("system:kube-proxy", ""),
    "kubelet": (f"system:node:{NODE}", "system:nodes"),
    "dns": ("bed-dns", "system:masters"),  # it starts before anything could grant it less
    "kwok": ("bed-kwok", "system:masters"),
    "prometheus": ("bed-prometheus", ""),
}


@dataclass(frozen=True)
class Authority:
    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate


def write_all(layout: Layout) -> None:
    """Write every key, certificate and kubeconfig into `layout.pki`."""
    folder = layout.pki
    folder.mkdir(parents=True)
    authority = _authority(folder)
    kubernetes = ["kubernetes", "kubernetes.default", "kubernetes.default.svc"]
    _leaf(
        folder, authority, "apiserver", "kube-apiserver",
        hosts=[
            *kubernetes, f"kubernetes.default.svc.{DOMAIN}", "localhost", "127.0.0.1",
            layout.api_service, layout.node_ip, layout.inner_ip,
        ],
    )  # fmt: skip
    _leaf(
        folder, authority, "kubelet-serving", f"system:node:{NODE}", "system:nodes",
        hosts=[NODE, layout.node_ip],
    )  # fmt: skip
    for name, (user, group) in USERS.items():
        _leaf(folder, authority, name, user, group)
        _kubeconfig(folder, name, layout.api_url)
    _service_account_key(folder)


def _authority(folder: Path) -> Authority:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "speechtrain test bed")])
    builder = _builder(name, name, key).add_extension(x509.BasicConstraints(True, None), True)
    builder = builder.add_extension(_usage(signs_certificates=True), True).add_extension(
        x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False
    )
    certificate = builder.sign(key, hashes.SHA256())
    _write(folder, "ca", key, certificate)
    return Authority(key, certificate)


def _leaf(
    folder: Path,
    authority: Authority,
    name: str,
    user: str,
    group: str = "",
    hosts: Sequence[str] = (),
) -> None:
    """A server's certificate where `hosts` are given, else a client's."""
    key = ec.generate_private_key(ec.SECP256R1())
    attributes = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group)] if group else []
    subject = x509.Name([*attributes, x509.NameAttribute(NameOID.COMMON_NAME, user)])
    purpose = ExtendedKeyUsageOID.SERVER_AUTH if hosts else ExtendedKeyUsageOID.CLIENT_AUTH
    builder = _builder(subject, authority.certificate.subject, key)
    builder = (
        builder.add_extension(x509.BasicConstraints(False, None), True)
        .add_extension(_usage(signs_certificates=False), True)
        .add_extension(x509.ExtendedKeyUsage([purpose]), False)
        # Python 3.13 verifies strictly: without this identifier it refuses the certificate
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key()), False
        )
    )
    if hosts:
        names = [_host(host) for host in dict.fromkeys(hosts)]
        builder = builder.add_extension(x509.SubjectAlternativeName(names), False)
    _write(folder, name, key, builder.sign(authority.key, hashes.SHA256()))


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey
) -> x509.CertificateBuilder:
    since = datetime.now(UTC) - timedelta(hours=1)  # clocks of test machines are set back at times
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(since)
        .not_valid_after(since + timedelta(days=30))
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=not signs_certificates,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _write(
    folder: Path, name: str, key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate | None
) -> None:
    secret = folder / f"{name}.key"
    secret.touch(mode=0o600)
    secret.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    if certificate is not None:
        (folder / f"{name}.crt").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))


def _service_account_key(folder: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    _write(folder, "sa", key, None)
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    (folder / "sa.pub").write_bytes(public)


def _kubeconfig(folder: Path, name: str, server: str) -> None:
    def content(file: str) -> str:
        return base64.b64encode((folder / file).read_bytes()).decode()

    cluster = {"server": server, "certificate-authority-data": content("ca.crt")}
    user = {
        "client-certificate-data": content(f"{name}.crt"),
        "client-key-data": content(f"{name}.key"),
    }
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "bed",
        "clusters": [{"name": "bed", "cluster": cluster}],
        "users": [{"name": name, "user": user}],
        "contexts": [{"name": "bed", "context": {"cluster": "bed", "user": name}}],
    }
    path = folder / f"{name}.kubeconfig"
    path.touch(mode=0o600)
    path.write_text(json.dumps(config))  # JSON is YAML
