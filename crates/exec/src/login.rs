//! Finds out by logging in whether a password is a role's.

use plan::{Ident, PasswordState};

use crate::{
    Error, Part, Password, Server, Unlimited,
    connect::{Login, connect, nonce},
    random_password,
};

/// How the server took a password.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Answer {
    /// A session.
    Welcome,
    /// The password is wrong, or nothing could be right: no password, expired, no such role.
    Wrong,
    /// Something else stood in the way, with this SQLSTATE.
    Refused(String),
    /// `SASLprep` forbids it, so that the driver does not send it; or the server did not come to it.
    Untried,
}

/// How the message begins that a role or database has as many connections as it may. Translated it is not recognised.
const LIMIT: &str = "too many connections for ";

/// Whether `password` is the role's, by a login to the maintenance database.
///
/// Passwords are checked before databases, rights and limits of roles, so that a refusal for another reason means that the
/// password was right, if a random one is answered otherwise. Where a random one is answered the same way (`trust`,
/// a reject line in `pg_hba.conf`), nothing is known.
///
/// # Errors
///
/// When the server gives no answer. What it says to the role is no error.
pub async fn try_login(server: &Server, role: &Ident, password: &Password) -> Result<PasswordState, Error> {
    let answer = answer(server, role, password).await?;
    match answer {
        Answer::Wrong => return Ok(PasswordState::Differs),
        Answer::Untried => return Ok(PasswordState::Unknown),
        Answer::Welcome | Answer::Refused(_) => (),
    }
    // Messages are translated and codes ambiguous: only the comparison tells when a password is looked at.
    match self::answer(server, role, &random_password()).await? {
        Answer::Wrong => Ok(PasswordState::Matches),
        Answer::Welcome | Answer::Refused(_) | Answer::Untried => Ok(PasswordState::Unknown),
    }
}

async fn answer(server: &Server, role: &Ident, password: &Password) -> Result<Answer, Error> {
    let nonce = nonce();
    let login = Login {
        role: role.as_str(),
        password,
        database: &server.maintenance,
        nonce: &nonce,
        silence: Unlimited::SILENCE,
    };
    match connect(server, login).await {
        Ok(_) => Ok(Answer::Welcome),
        Err(Error::Login { code, .. }) if code == "28P01" => Ok(Answer::Wrong),
        Err(Error::Login { code, message }) => match code.as_str() {
            // A server without room for anybody says so before it looks at the password.
            "53300" if !message.starts_with(LIMIT) => Ok(Answer::Untried),
            "28000" | "3D000" | "42501" | "53300" | "55000" => Ok(Answer::Refused(code)),
            _ => Err(Error::Login { code, message }),
        },
        // It cannot even be tried.
        Err(Error::Unusable(unusable)) if unusable.part == Part::Login => Ok(Answer::Untried),
        Err(error) => Err(error),
    }
}
