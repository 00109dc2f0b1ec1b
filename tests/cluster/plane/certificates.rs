//! One authority, one serving certificate and one signing key: all that the control plane needs.
//!
//! Users are told apart by static tokens, not by certificates of their own: one file instead of a
//! pair for each.

use std::{fs, net::IpAddr, path::Path};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

/// The files of a folder; their names are what the API server is started with.
const FILES: [&str; 5] = ["ca.crt", "apiserver.crt", "apiserver.key", "sa.key", "sa.pub"];

/// Writes the certificates of an API server that is reached under this address and on loopback.
pub fn write(folder: &Path, address: IpAddr) {
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority.distinguished_name.push(DnType::CommonName, "cluster tests");
    let key = KeyPair::generate().unwrap();
    let issuer = Issuer::from_params(&authority, &key);

    let names = ["localhost".to_owned(), "127.0.0.1".to_owned(), address.to_string()];
    let mut server = CertificateParams::new(names).unwrap();
    server.distinguished_name.push(DnType::CommonName, "kube-apiserver");
    let server_key = KeyPair::generate().unwrap();

    let accounts = KeyPair::generate().unwrap();

    let contents = [
        authority.self_signed(&key).unwrap().pem(),
        server.signed_by(&server_key, &issuer).unwrap().pem(),
        server_key.serialize_pem(),
        accounts.serialize_pem(),
        accounts.public_key_pem(),
    ];
    for (name, content) in FILES.iter().zip(contents) {
        fs::write(folder.join(name), content).unwrap();
    }
}
