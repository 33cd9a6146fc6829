//! What a session tells of itself and of the server, and whether that will do.

use plan::ServerVersion;
use serde::Deserialize;

use crate::{Error, connect::EVENT_TRIGGERS_OFF};

/// The answer to the first statement.
#[derive(Clone, Debug, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "facts")]
pub(crate) struct Facts {
    version: i32,
    session_user: String,
    current_user: String,
    search_path: String,
    nonce: Option<String>,
    in_recovery: bool,
    read_only_by: Option<String>,
    superuser: bool,
    event_triggers: Option<bool>,
    pub(crate) encrypted: bool,
    pub(crate) reads_verifiers: bool,
    pub(crate) reads_control: bool,
}

impl Facts {
    pub(crate) fn version(&self) -> ServerVersion {
        ServerVersion(self.version.unsigned_abs())
    }

    /// Names what a pooler lost, then what makes the server useless for us.
    pub(crate) fn check(&self, nonce: &str) -> Result<(), Error> {
        let lost = [
            ("nonce", self.nonce.as_deref() != Some(nonce)),
            ("search_path", !matches!(self.search_path.as_str(), "" | "\"\"")),
            ("role", self.current_user != self.session_user),
        ];
        if let Some((setting, _)) = lost.into_iter().find(|(_, is_lost)| *is_lost) {
            return Err(Error::Pooler { setting });
        }
        if self.version().major() < 13 {
            return Err(Error::Unsupported(self.version()));
        }
        if self.in_recovery {
            return Err(Error::Standby);
        }
        match &self.read_only_by {
            Some(source) if !is_database_setting(source) => {
                Err(Error::ReadOnly { source_of_setting: source.clone() })
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Settings that only some versions know, and one that must not hide a read-only server.
    pub(crate) fn later_settings(&self) -> Vec<(&'static str, &'static str)> {
        let major = self.version().major();
        let mut settings = Vec::new();
        if self.read_only_by.is_some() {
            settings.push(("default_transaction_read_only", "off"));
        }
        if major >= 14 {
            settings.push(("idle_session_timeout", "0"));
        }
        if major >= 17 {
            settings.push(("transaction_timeout", "0"));
        }
        if self.superuser {
            // It would keep verifiers, for everyone who may read it. Where it is not loaded, nobody asks.
            settings.push(("pg_stat_statements.track_utility", "off"));
        }
        if self.can_do_without_event_triggers() {
            settings.push(EVENT_TRIGGERS_OFF);
        }
        if self.superuser && self.event_triggers.is_none() {
            // Event triggers cannot be off there, but most do not fire for whoever replays what happened elsewhere.
            settings.push(("session_replication_role", "replica"));
        }
        settings
    }

    /// Whether they are on although we may turn them off: the server was an older one, or the admin role less than a
    /// superuser, when that was tried.
    pub(crate) fn can_do_without_event_triggers(&self) -> bool {
        self.superuser && self.event_triggers == Some(true)
    }
}

/// Whether `pg_settings.source` says that the database has the setting: its owner may have set it, which is no
/// statement about the server. (Files, command line and the admin role's own settings are the administrator's.)
fn is_database_setting(source: &str) -> bool {
    source == "database"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> Facts {
        Facts {
            version: 170_005,
            session_user: "admin".to_owned(),
            current_user: "admin".to_owned(),
            search_path: String::new(),
            nonce: Some("1".to_owned()),
            in_recovery: false,
            read_only_by: None,
            superuser: true,
            event_triggers: Some(true),
            encrypted: false,
            reads_verifiers: true,
            reads_control: true,
        }
    }

    #[track_caller]
    fn check(facts: &Facts, wanted: &Result<(), Error>) {
        assert_eq!(facts.check("1"), *wanted);
    }

    #[test]
    fn a_session_that_lost_a_setting_is_no_session_of_ours() {
        check(&facts(), &Ok(()));
        check(&Facts { nonce: None, ..facts() }, &Err(Error::Pooler { setting: "nonce" }));
        check(&Facts { nonce: Some("2".to_owned()), ..facts() }, &Err(Error::Pooler { setting: "nonce" }));
        let search_path = "\"$user\", public".to_owned();
        check(&Facts { search_path, ..facts() }, &Err(Error::Pooler { setting: "search_path" }));
        let current_user = "tenant".to_owned();
        check(&Facts { current_user, ..facts() }, &Err(Error::Pooler { setting: "role" }));
    }

    #[test]
    fn servers_that_cannot_be_provisioned_are_told_apart() {
        check(&Facts { in_recovery: true, ..facts() }, &Err(Error::Standby));
        check(&Facts { version: 120_022, ..facts() }, &Err(Error::Unsupported(ServerVersion(120_022))));
        check(&Facts { version: 190_000, ..facts() }, &Ok(()));
    }

    #[test]
    fn a_read_only_database_is_no_read_only_server() {
        let by = |source: &str| Facts { read_only_by: Some(source.to_owned()), ..facts() };
        check(&by("database"), &Ok(()));
        assert!(by("database").later_settings().contains(&("default_transaction_read_only", "off")));
        for source in ["configuration file", "command line", "user", "global"] {
            check(&by(source), &Err(Error::ReadOnly { source_of_setting: source.to_owned() }));
        }
    }

    #[test]
    fn settings_that_a_version_does_not_know_are_not_sent() {
        let names =
            |facts: Facts| facts.later_settings().into_iter().map(|(name, _)| name).collect::<Vec<_>>();
        let statements = "pg_stat_statements.track_utility";
        let old = |version| Facts { version, event_triggers: None, ..facts() };
        let replay = "session_replication_role";
        assert_eq!(names(old(130_000)), [statements, replay]);
        assert_eq!(names(old(160_000)), ["idle_session_timeout", statements, replay]);
        let all = ["idle_session_timeout", "transaction_timeout", statements, "event_triggers"];
        assert_eq!(names(facts()), all);
        assert_eq!(names(Facts { superuser: false, ..facts() }), all[..2]);
        assert_eq!(names(Facts { event_triggers: Some(false), ..facts() }), all[..3]);
    }
}
