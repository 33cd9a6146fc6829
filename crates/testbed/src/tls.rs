//! The crypto provider of this process, and certificates for test servers.

use std::sync::Once;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose};

/// Chooses the crypto provider of this process: more than one is linked in, and rustls does not guess.
pub fn install_provider() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // The program under test may have been first, with the same choice.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    });
}

/// A certificate authority that nobody trusts who was not told to.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key, both as PEM.
pub struct Certificate {
    /// The certificate, without that of its authority.
    pub certificate: String,
    /// The private key.
    pub key: String,
}

impl Authority {
    /// A new authority with this common name.
    pub fn new(name: &str) -> Authority {
        let mut parameters = named(name, &[]);
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        let issuer = CertifiedIssuer::self_signed(parameters, key());
        Authority(issuer.expect("the parameters make a certificate"))
    }

    /// The authority's own certificate, as PEM.
    pub fn certificate(&self) -> String {
        self.0.pem()
    }

    /// A certificate for a server under these DNS names and addresses, or for a client when empty.
    pub fn issue(&self, common_name: &str, subjects: &[&str]) -> Certificate {
        let key = key();
        let certificate = named(common_name, subjects).signed_by(&key, &self.0);
        Certificate {
            certificate: certificate.expect("the parameters make a certificate").pem(),
            key: key.serialize_pem(),
        }
    }
}

/// A new pair of keys, as PEM: the private and the public one.
pub(crate) fn key_pair() -> (String, String) {
    let pair = key();
    (pair.serialize_pem(), pair.public_key_pem())
}

fn named(common_name: &str, subjects: &[&str]) -> CertificateParams {
    let subjects: Vec<String> = subjects.iter().map(|&subject| subject.to_owned()).collect();
    let mut parameters = CertificateParams::new(subjects).expect("tests name servers in ASCII");
    parameters.distinguished_name.push(DnType::CommonName, common_name);
    parameters
}

fn key() -> KeyPair {
    KeyPair::generate().expect("the system has randomness")
}
