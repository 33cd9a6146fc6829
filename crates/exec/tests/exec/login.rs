//! Passwords on real servers.

use exec::{Password, SslMode, scram, try_login};
use plan::{PasswordState, testing::ident};
use testbed::{
    Postgres,
    postgres::{fetch_text, run},
    unique,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional},
    net::{TcpListener, TcpStream},
};

use crate::support::{MAJORS, server, sql};

/// What `SASLprep` maps to something else, to nothing, puts together, or leaves alone.
const PASSWORDS: [&str; 46] = [
    "secret",
    "it's \"quoted\" \\",
    "  spaces  ",
    "~!@#$%^&*()_+{}|:<>?`-=[];,./",
    "pässwörd",
    "a\u{a0}b",
    "\u{a0}",
    "\u{2003}\u{3000}\u{1680}\u{202f}",
    "I\u{ad}X",
    "z\u{200b}z",
    "\u{200b}",
    "x\u{34f}\u{1806}\u{2060}\u{feff}\u{fe0f}y",
    "a\u{200c}b\u{200d}c",
    "ª",
    "ªe\u{301}",
    "e\u{301}",
    "é",
    "o\u{302}\u{323}\u{302}",
    "\u{323}first",
    "\u{212b}\u{2126}",
    "ﬁﬀﬃ",
    "ⅨⅫ①㍿",
    "ｆｕｌｌ",
    "ﾊﾟｽﾜｰﾄﾞ",
    "½²³µ",
    "İıſß",
    "ẛ\u{323}",
    "한글",
    "\u{1112}\u{1161}\u{11ab}\u{1100}\u{1173}\u{11af}",
    "ㅎㅏㄴ",
    "السلام",
    "\u{fedf}\u{fe8e}",
    "ا1ب",
    "שלום",
    "\u{fb2a}\u{5dc}\u{5c1}\u{5dd}",
    "пароль",
    "й\u{306}",
    "密码",
    "\u{f900}\u{2f800}",
    "パスワード",
    "รหัสผ่าน",
    "पासवर्ड",
    "Ελληνικά\u{345}",
    "Tiếng Việt",
    "${PGPASSWORD} %s %% $1 $$",
    "trailing ",
];

#[tokio::test]
async fn verifiers_made_here_and_by_the_server_mean_the_same_passwords() {
    // The last one is as long as all versions take.
    let long = ["p".repeat(200), "ä".repeat(100), "한".repeat(100), "x".repeat(1000)];
    let passwords: Vec<_> = PASSWORDS.into_iter().chain(long.iter().map(String::as_str)).collect();
    for major in MAJORS {
        let postgres = Postgres::shared(major).await;
        let mut admin = postgres.admin("postgres").await;
        run(&mut admin, "SET password_encryption = 'scram-sha-256'").await.unwrap();
        for text in &passwords {
            let (password, role) = (Password::new(*text), unique("role"));
            let verifier = scram::verifier(&password).unwrap_or_else(|error| panic!("{text:?}: {error}"));
            let made = format!("CREATE ROLE {role} LOGIN PASSWORD '{}'", verifier.expose());
            run(&mut admin, made).await.unwrap();
            let session = postgres.connect("postgres", &role, text).await;
            session.unwrap_or_else(|error| panic!("{text:?} on {major}: {error}"));

            run(&mut admin, format!("ALTER ROLE {role} PASSWORD {}", plan::Literal(text))).await.unwrap();
            let stored = format!("SELECT rolpassword FROM pg_authid WHERE rolname = '{role}'");
            let stored = fetch_text(&mut admin, stored).await.unwrap().unwrap();
            assert_ne!(stored, verifier.expose(), "the server has made its own");
            assert!(scram::matches(&stored, &password), "{text:?} on {major}");
            assert!(!scram::matches(&stored, &Password::new("another")), "{text:?} on {major}");
        }
    }
}

/// Server-made verifiers of what `SASLprep` forbids are recognised, although no client can agree on them.
#[tokio::test]
async fn what_saslprep_forbids_is_compared_as_bytes() {
    let postgres = Postgres::shared(17).await;
    let mut admin = postgres.admin("postgres").await;
    for text in [
        "a\tb",
        "\u{2028}",
        "\u{627}1",
        "ש\u{5c1}",
        "aבc",
        "😀",
        "\u{e000}",
        "\u{200e}x",
        "\u{fffd}",
        "\u{221}",
        "é\u{7f}",
        "e\u{301}\u{1}",
    ] {
        let role = unique("role");
        let set = format!("CREATE ROLE {role} PASSWORD {}", plan::Literal(text));
        run(&mut admin, set).await.unwrap();
        let stored = format!("SELECT rolpassword FROM pg_authid WHERE rolname = '{role}'");
        let stored = fetch_text(&mut admin, stored).await.unwrap().unwrap();
        assert!(scram::matches(&stored, &Password::new(text)), "{text:?}");
    }
}

#[tokio::test]
async fn a_login_tells_whether_a_password_is_right_even_where_it_is_refused() {
    for major in MAJORS {
        let postgres = Postgres::shared(major).await;
        let server = server(postgres);
        let password = Password::new("secret");
        let verifier = scram::verifier(&password).unwrap();
        for (attributes, wanted) in [
            ("LOGIN", PasswordState::Matches),
            ("NOLOGIN", PasswordState::Matches),
            ("LOGIN CONNECTION LIMIT 0", PasswordState::Matches),
            ("LOGIN VALID UNTIL '2001-01-01'", PasswordState::Differs),
        ] {
            let role = unique("role");
            let create = format!("CREATE ROLE {role} {attributes} PASSWORD '{}'", verifier.expose());
            sql(postgres, "postgres", create).await;
            let found = try_login(&server, &ident(&role), &password).await.unwrap();
            assert_eq!(found, wanted, "{attributes} on {major}");
            let found = try_login(&server, &ident(&role), &Password::new("wrong")).await.unwrap();
            assert_eq!(found, PasswordState::Differs, "{attributes} on {major}");
        }
        let found = try_login(&server, &ident("nobody"), &password).await.unwrap();
        assert_eq!(found, PasswordState::Differs);
    }
}

#[tokio::test]
async fn where_any_password_is_right_nothing_is_known() {
    let rules = "host all all 127.0.0.1/32 trust\n";
    let postgres = Postgres::builder(17).file("pg_hba.conf", rules).start().await;
    let found = try_login(&server(&postgres), &ident("postgres"), &Password::new("any")).await.unwrap();
    assert_eq!(found, PasswordState::Unknown);
}

#[tokio::test]
async fn where_a_role_may_not_even_try_nothing_is_known() {
    let rules = "host all rejected 127.0.0.1/32 reject\nhost all all 127.0.0.1/32 scram-sha-256\n";
    let postgres = Postgres::builder(17).file("pg_hba.conf", rules).start().await;
    sql(&postgres, "postgres", "CREATE ROLE rejected LOGIN PASSWORD 'secret'").await;
    let found = try_login(&server(&postgres), &ident("rejected"), &Password::new("secret")).await.unwrap();
    assert_eq!(found, PasswordState::Unknown);
}

/// Leads to a server that has no room for the first who comes.
async fn full_at_first(port: u16) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let here = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let (mut first, _) = listener.accept().await.unwrap();
        first.read_buf(&mut Vec::with_capacity(1_000)).await.unwrap();
        let body = b"SFATAL\0VFATAL\0C53300\0Msorry, too many clients already\0\0";
        first.write_u8(b'E').await.unwrap();
        first.write_u32(u32::try_from(body.len() + 4).unwrap()).await.unwrap();
        first.write_all(body).await.unwrap();
        drop(first);
        loop {
            let (mut next, _) = listener.accept().await.unwrap();
            let mut server = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
            tokio::spawn(async move { copy_bidirectional(&mut next, &mut server).await });
        }
    });
    here
}

#[tokio::test]
async fn a_server_without_room_says_nothing_of_a_password() {
    let postgres = Postgres::shared(17).await;
    let role = unique("role");
    sql(postgres, "postgres", format!("CREATE ROLE {role} LOGIN PASSWORD 'secret'")).await;
    let mut server = server(postgres);
    server.tls.mode = SslMode::Disable;
    server.port = full_at_first(postgres.port()).await;
    let found = try_login(&server, &ident(&role), &Password::new("wrong")).await.unwrap();
    assert_eq!(found, PasswordState::Unknown);
    let found = try_login(&server, &ident(&role), &Password::new("wrong")).await.unwrap();
    assert_eq!(found, PasswordState::Differs);
}
