//! Encryption and trust.

use exec::{Class, Server, SslMode, Tls};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use testbed::Postgres;

use crate::support::{Admin, Place, place, read, server};

/// A certificate authority; `trusted` is its certificate in PEM.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    trusted: Vec<u8>,
}

fn authority() -> Authority {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let trusted = issuer.pem().into_bytes();
    Authority { issuer, trusted }
}

/// A server whose certificate names these hosts.
async fn encrypted(authority: &Authority, names: &[&str]) -> Postgres {
    let key = KeyPair::generate().unwrap();
    let names = names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let certificate = CertificateParams::new(names).unwrap().signed_by(&key, &authority.issuer).unwrap();
    let builder = Postgres::builder(17).set("ssl", "on");
    builder.file("server.crt", certificate.pem()).file("server.key", key.serialize_pem()).start().await
}

#[tokio::test]
async fn with_a_ca_only_the_right_server_is_trusted() {
    let (ours, theirs) = (authority(), authority());
    let right = encrypted(&ours, &["127.0.0.1"]).await;
    let misnamed = encrypted(&ours, &["db.example"]).await;
    let tls =
        |mode, authority: &Authority| Tls { mode, ca: Some(authority.trusted.clone()), ..Tls::default() };
    for (postgres, tls, wanted) in [
        (&right, Tls { mode: SslMode::Prefer, ..Tls::default() }, None),
        (&right, tls(SslMode::Prefer, &ours), None),
        (&right, tls(SslMode::Prefer, &theirs), Some(Class::Tls)),
        (&right, tls(SslMode::Require, &theirs), Some(Class::Tls)),
        (&right, tls(SslMode::VerifyCa, &theirs), Some(Class::Tls)),
        (&right, Tls { mode: SslMode::VerifyFull, ..Tls::default() }, Some(Class::Tls)),
        (&misnamed, tls(SslMode::VerifyCa, &ours), None),
        (&misnamed, tls(SslMode::VerifyFull, &ours), Some(Class::Tls)),
        (&misnamed, tls(SslMode::Disable, &ours), Some(Class::Tls)),
    ] {
        let shown = format!("{tls:?} at {postgres}");
        let place = Place { server: Server { tls, ..server(postgres) }, ..place(17, Admin::Superuser).await };
        match read(&place, &place.desired()).await {
            Ok(catalog) => assert_eq!((catalog.server.encrypted, wanted), (true, None), "{shown}"),
            Err(error) => assert_eq!(Some(error.class()), wanted, "{shown}: {error}"),
        }
    }
}

#[tokio::test]
async fn without_encryption_the_catalog_says_so() {
    let place = place(17, Admin::Superuser).await;
    assert!(!read(&place, &place.desired()).await.unwrap().server.encrypted);
}
