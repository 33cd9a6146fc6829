//! Encryption and trust: every mode at every kind of server, and what is sent before a server is trusted.

use exec::{Class, Error, Part, Server, SslMode, Tls};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd};
use sqlx::{
    ConnectOptions as _,
    postgres::{PgConnectOptions, PgSslMode},
};
use testbed::{Postgres, eventually};

use crate::{
    support::{Admin, Place, place, read, server, sql},
    wiretap::{Answer, SSL_REQUEST, Wiretap},
};

const MODES: [SslMode; 5] =
    [SslMode::Disable, SslMode::Prefer, SslMode::Require, SslMode::VerifyCa, SslMode::VerifyFull];

/// Who may log in with a certificate and a password, and who with a certificate alone.
const RULES: &str = "\
    hostssl all demanded 127.0.0.1/32 scram-sha-256 clientcert=verify-ca\n\
    hostssl all certified 127.0.0.1/32 cert\n\
    host all demanded,certified 127.0.0.1/32 reject\n\
    host all all 127.0.0.1/32 scram-sha-256\n";

/// A certificate authority; `trusted` is its certificate in PEM.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    trusted: Vec<u8>,
}

/// A certificate and its key in PEM.
#[derive(Clone)]
struct Pair {
    certificate: String,
    key: String,
}

/// When a certificate is good.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Valid {
    Now,
    LongAgo,
}

fn authority() -> Authority {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let trusted = issuer.pem().into_bytes();
    Authority { issuer, trusted }
}

impl Authority {
    fn issue(&self, name: &str, valid: Valid) -> Pair {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        if valid == Valid::LongAgo {
            params.not_before = date_time_ymd(2001, 1, 1);
            params.not_after = date_time_ymd(2002, 1, 1);
        }
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Pair { certificate: certificate.pem(), key: key.serialize_pem() }
    }
}

/// A server with this certificate that lets in whom this authority certifies.
async fn encrypted(major: u16, pair: &Pair, clients: &Authority) -> Postgres {
    let builder = Postgres::builder(major).set("ssl", "on").set("ssl_ca_file", "clients.crt");
    let builder = builder.file("server.crt", &*pair.certificate).file("server.key", &*pair.key);
    let postgres = builder.file("clients.crt", &*clients.trusted).file("pg_hba.conf", RULES).start().await;
    for role in ["demanded", "certified"] {
        let made = format!("CREATE ROLE {role} SUPERUSER LOGIN PASSWORD '{}'", postgres.password());
        sql(&postgres, "postgres", made).await;
    }
    postgres
}

/// What becomes of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Clear,
    Encrypted,
    /// No connection: not encrypted, or not trusted.
    Tls,
    /// The server wants another client.
    Refused,
    /// It was not even tried.
    Unusable,
}

use Outcome::{Clear, Encrypted, Refused, Tls as Untrusted, Unusable};

async fn outcome(server: Server) -> (Outcome, String) {
    let place = Place { server, ..place(17, Admin::Superuser).await };
    match read(&place, &place.desired()).await {
        Ok(catalog) if catalog.server.encrypted => (Encrypted, String::new()),
        Ok(_) => (Clear, String::new()),
        Err(Error::Unusable(unusable)) => (Unusable, unusable.to_string()),
        Err(error) => match error.class() {
            Class::Tls => (Untrusted, error.to_string()),
            Class::InvalidCredentials => (Refused, error.to_string()),
            class => panic!("{class:?}: {error}"),
        },
    }
}

/// A kind of server, and what a client brings along.
struct Row<'a> {
    what: &'static str,
    postgres: &'a Postgres,
    role: &'static str,
    ca: Option<&'a Authority>,
    client: Option<&'a Pair>,
    /// One for each mode.
    wanted: [Outcome; 5],
}

impl Row<'_> {
    fn tls(&self, mode: SslMode) -> Tls {
        Tls {
            mode,
            ca: self.ca.map(|ca| ca.trusted.clone()),
            client_certificate: self.client.map(|pair| pair.certificate.clone().into_bytes()),
            client_key: self.client.map(|pair| pair.key.clone().into_bytes().into()),
        }
    }

    async fn check(&self) {
        let mut found = Vec::new();
        let mut said = Vec::new();
        for mode in MODES {
            let user = self.role.to_owned();
            let server = Server { user, tls: self.tls(mode), ..server(self.postgres) };
            let (outcome, message) = outcome(server).await;
            found.push(outcome);
            said.push(message);
        }
        assert_eq!(found, self.wanted, "{} at {}: {said:#?}", self.what, self.postgres);
    }
}

#[tokio::test]
async fn every_mode_at_every_kind_of_server() {
    let (ours, theirs, clients) = (authority(), authority(), authority());
    let [named, misnamed] = ["127.0.0.1", "db.example"].map(|name| ours.issue(name, Valid::Now));
    let expired = ours.issue("127.0.0.1", Valid::LongAgo);
    let [demanded, certified] = ["demanded", "certified"].map(|name| clients.issue(name, Valid::Now));
    let stranger = theirs.issue("demanded", Valid::Now);
    for major in [13, 18] {
        let plain = Postgres::shared(major).await;
        let [right, misnamed, expired] =
            [&named, &misnamed, &expired].map(|pair| encrypted(major, pair, &clients));
        let (right, misnamed, expired) = (right.await, misnamed.await, expired.await);
        let role = "postgres";
        let row = |what, postgres, ca, wanted| Row { what, postgres, role, ca, client: None, wanted };
        for row in [
            // Modes:                             disable, prefer, require, verify-ca, verify-full
            row("no TLS, no CA", plain, None, [Clear, Clear, Untrusted, Unusable, Unusable]),
            row("no TLS", plain, Some(&ours), [Untrusted; 5]),
            row("TLS, no CA", &right, None, [Clear, Encrypted, Encrypted, Unusable, Unusable]),
            row("right CA", &right, Some(&ours), [Encrypted; 5]),
            row("wrong CA", &right, Some(&theirs), [Untrusted; 5]),
            row("wrong name, no CA", &misnamed, None, [Clear, Encrypted, Encrypted, Unusable, Unusable]),
            row(
                "wrong name",
                &misnamed,
                Some(&ours),
                [Untrusted, Untrusted, Untrusted, Encrypted, Untrusted],
            ),
            row("expired, no CA", &expired, None, [Clear, Encrypted, Encrypted, Unusable, Unusable]),
            row("expired", &expired, Some(&ours), [Untrusted; 5]),
        ] {
            row.check().await;
        }
        let row = |what, role, ca, client: &'static str, wanted| {
            let client = match client {
                "" => None,
                "stranger" => Some(&stranger),
                "demanded" => Some(&demanded),
                _ => Some(&certified),
            };
            Row { what, postgres: &right, role, ca, client, wanted }
        };
        for row in [
            row("no client certificate", "demanded", Some(&ours), "", [Refused; 5]),
            row(
                "no client certificate, no CA",
                "demanded",
                None,
                "",
                [Refused, Refused, Refused, Unusable, Unusable],
            ),
            row("client certificate", "demanded", Some(&ours), "demanded", [Encrypted; 5]),
            row(
                "client certificate, no CA",
                "demanded",
                None,
                "demanded",
                [Refused, Encrypted, Encrypted, Unusable, Unusable],
            ),
            row("somebody's client certificate", "demanded", Some(&ours), "stranger", [Untrusted; 5]),
            row("wrong CA, client certificate", "demanded", Some(&theirs), "demanded", [Untrusted; 5]),
            row("only a client certificate", "certified", Some(&ours), "certified", [Encrypted; 5]),
            row("another role's client certificate", "certified", Some(&ours), "demanded", [Refused; 5]),
        ] {
            row.check().await;
        }
    }
}

#[tokio::test]
async fn nothing_is_sent_to_a_server_that_is_not_trusted() {
    let (ours, theirs) = (authority(), authority());
    let [right, misnamed] = ["127.0.0.1", "db.example"].map(|name| ours.issue(name, Valid::Now));
    let expired = ours.issue("127.0.0.1", Valid::LongAgo);
    for (pair, ca) in [(&right, &theirs), (&misnamed, &ours), (&expired, &ours)] {
        let postgres = encrypted(17, pair, &ours).await;
        let wiretap = Wiretap::start(postgres.port(), Answer::Servers).await;
        let tls = Tls { ca: Some(ca.trusted.clone()), ..Tls::default() };
        let server = Server { port: wiretap.port, tls, ..server(&postgres) };
        let (outcome, message) = outcome(server.clone()).await;
        assert_eq!(outcome, Untrusted, "{message}");
        // The server knows of the failure before its log is looked at.
        eventually("the server to see the failure", std::time::Duration::from_secs(10), async || {
            if postgres.log().contains("could not accept SSL connection") {
                Ok(())
            } else {
                Err(postgres.log())
            }
        })
        .await;
        let records = wiretap.records();
        // A greeting (22), or two, and that the handshake failed (21, or 23 when that is encrypted already). A login
        // would be 23 as well, with some hundred bytes.
        assert!(records.iter().all(|(kind, length)| matches!(kind, 20..=22) || *length < 40), "{records:?}");

        let trusting = Tls { mode: SslMode::Require, ..Tls::default() };
        let (outcome, _) = self::outcome(Server { tls: trusting, ..server }).await;
        assert_eq!(outcome, Encrypted);
        assert!(wiretap.sent().len() > 1_000, "the same way, a login is seen");
    }
}

#[tokio::test]
async fn with_a_ca_nobody_in_between_can_switch_encryption_off() {
    let ours = authority();
    let postgres = encrypted(17, &ours.issue("127.0.0.1", Valid::Now), &ours).await;
    for mode in MODES {
        let wiretap = Wiretap::start(postgres.port(), Answer::Instead(b"N")).await;
        let tls = Tls { mode, ca: Some(ours.trusted.clone()), ..Tls::default() };
        let (outcome, message) = outcome(Server { port: wiretap.port, tls, ..server(&postgres) }).await;
        assert_eq!(outcome, Untrusted, "{mode}: {message}");
        assert_eq!(wiretap.sent(), SSL_REQUEST, "{mode}");
    }
    // Nor with `require`; `prefer` lets it happen.
    for (mode, wanted) in [(SslMode::Require, Untrusted), (SslMode::Prefer, Clear)] {
        let wiretap = Wiretap::start(postgres.port(), Answer::Instead(b"N")).await;
        let tls = Tls { mode, ..Tls::default() };
        let (outcome, message) = outcome(Server { port: wiretap.port, tls, ..server(&postgres) }).await;
        assert_eq!(outcome, wanted, "{mode}: {message}");
        assert_eq!(wiretap.sent() == SSL_REQUEST, wanted == Untrusted, "{mode}");
    }
}

/// CVE-2021-23222: what stood in the client's buffer before encryption was taken for what came through it.
#[tokio::test]
async fn what_is_put_in_before_encryption_starts_is_not_read_as_the_servers_words() {
    let ours = authority();
    let postgres = encrypted(17, &ours.issue("127.0.0.1", Valid::Now), &ours).await;
    // "Authentication succeeded", in clear.
    let welcome = Answer::Followed(b"R\0\0\0\x08\0\0\0\0");
    let wiretap = Wiretap::start(postgres.port(), welcome).await;
    for tls in [
        Tls { ca: Some(ours.trusted.clone()), ..Tls::default() },
        Tls { mode: SslMode::Require, ..Tls::default() },
    ] {
        let (outcome, message) = outcome(Server { port: wiretap.port, tls, ..server(&postgres) }).await;
        assert_eq!(outcome, Untrusted, "{message}");
    }
}

#[tokio::test]
async fn the_driver_trusts_nobody_of_its_own() {
    let ours = authority();
    let postgres = encrypted(17, &ours.issue("127.0.0.1", Valid::Now), &ours).await;
    let options = PgConnectOptions::new_without_pgpass()
        .host(postgres.host())
        .port(postgres.port())
        .ssl_mode(PgSslMode::VerifyCa)
        .ssl_root_cert_from_pem(Vec::new());
    let error = options.connect().await.unwrap_err().to_string();
    assert!(error.contains("no root trust anchors"), "there are some without a CA: {error}");
}

#[tokio::test]
async fn what_cannot_be_used_is_named_before_anybody_is_asked() {
    let ours = authority();
    let pem = |text: &str| Some(text.as_bytes().to_vec());
    let key = |text: &str| Some(text.as_bytes().to_vec().into());
    let Pair { certificate, key: ours_key } = ours.issue("app", Valid::Now);
    let other = ours.issue("app", Valid::Now).key;
    let broken = certificate.replacen("MII", "MIJ", 1);
    for (tls, part) in [
        (Tls { ca: pem(""), ..Tls::default() }, Part::Ca),
        (Tls { ca: pem("ca"), ..Tls::default() }, Part::Ca),
        (Tls { ca: pem(&ours_key), ..Tls::default() }, Part::Ca),
        (Tls { ca: pem(&broken), ..Tls::default() }, Part::Ca),
        (Tls { client_certificate: pem(&certificate), ..Tls::default() }, Part::ClientKey),
        (Tls { client_key: key(&ours_key), ..Tls::default() }, Part::ClientCertificate),
        (
            Tls { client_certificate: pem(&certificate), client_key: key("key"), ..Tls::default() },
            Part::ClientKey,
        ),
        (
            Tls { client_certificate: pem(&certificate), client_key: key(&other), ..Tls::default() },
            Part::ClientKey,
        ),
        (
            Tls { client_certificate: pem("app"), client_key: key(&ours_key), ..Tls::default() },
            Part::ClientCertificate,
        ),
        (Tls { mode: SslMode::VerifyFull, ..Tls::default() }, Part::Mode),
    ] {
        let unusable = tls.check().unwrap_err();
        assert_eq!(unusable.part, part, "{unusable}");
        let server = Server { tls, host: "nobody.invalid".to_owned(), ..server(Postgres::shared(17).await) };
        assert_eq!(outcome(server).await.0, Unusable);
    }
    let pair = Tls { client_certificate: pem(&certificate), client_key: key(&ours_key), ..Tls::default() };
    assert_eq!(pair.check(), Ok(()));
}

#[tokio::test]
async fn without_encryption_the_catalog_says_so() {
    let place = place(17, Admin::Superuser).await;
    assert!(!read(&place, &place.desired()).await.unwrap().server.encrypted);
}
