//! What version 1 wrote into the status of a resource: the results of its handlers. It is read, and never written.

use serde::Deserialize;
use serde_json::Value;

/// The last result of each handler that provisions. Whatever else they hold is let through: it must not keep a resource
/// from being read.
// Only results that name what was provisioned: those of the periodic checks do not.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
pub struct Results {
    #[serde(rename = "create_fn")]
    create: Option<Value>,
    #[serde(rename = "resume_fn")]
    resume: Option<Value>,
    #[serde(rename = "update_fn")]
    update: Option<Value>,
    #[serde(rename = "user_create_fn")]
    user_create: Option<Value>,
    #[serde(rename = "user_resume_fn")]
    user_resume: Option<Value>,
    #[serde(rename = "user_update_fn")]
    user_update: Option<Value>,
}

/// What one resource asks for, as far as version 1 wrote down that it had provided it.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// The key of the role in a result.
    pub role_key: &'static str,
    /// The role.
    pub role: &'a str,
    /// The database.
    pub database: &'a str,
    /// `read` or `readwrite`; `None` of an owner.
    pub access: Option<&'a str>,
    /// The schemas; none for every schema.
    pub schemas: &'a [String],
}

impl Results {
    /// Whether there are results, and every one says that exactly this was provided. They have no order, so one of a
    /// spec that was changed since leaves it open which is the last.
    pub fn tell_of(&self, asked: Asked<'_>) -> bool {
        let all = [
            &self.create,
            &self.resume,
            &self.update,
            &self.user_create,
            &self.user_resume,
            &self.user_update,
        ];
        let mut results = all.into_iter().flatten().peekable();
        results.peek().is_some() && results.all(|result| tells_of(result, asked))
    }
}

fn tells_of(result: &Value, asked: Asked<'_>) -> bool {
    let schemas: Vec<_> = result["schemas"].as_array().into_iter().flatten().collect();
    result["ready"] == true
        && result["database"] == asked.database
        && result[asked.role_key] == asked.role
        && result["access"].as_str() == asked.access
        && schemas == asked.schemas.iter().collect::<Vec<_>>()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn tell_of_app(status: Value) -> bool {
        let results: Results = serde_json::from_value(status).unwrap();
        let asked =
            Asked { role_key: "owner", role: "app_owner", database: "app", access: None, schemas: &[] };
        results.tell_of(asked)
    }

    fn tell_of_reader(schemas: &[&str], status: Value) -> bool {
        let results: Results = serde_json::from_value(status).unwrap();
        let schemas: Vec<_> = schemas.iter().map(|name| (*name).to_owned()).collect();
        let (role_key, role, access) = ("username", "reader", Some("read"));
        results.tell_of(Asked { role_key, role, database: "app", access, schemas: &schemas })
    }

    #[test]
    fn what_was_provided_is_told() {
        let result = json!({ "database": "app", "owner": "app_owner", "ready": true });
        assert!(tell_of_app(json!({ "create_fn": result })));
        assert!(tell_of_app(
            json!({ "create_fn": result, "resume_fn": result, "check_drift": { "drift": true } })
        ));
        let result = json!({ "username": "reader", "database": "app", "access": "read", "schemas": null, "ready": true });
        assert!(tell_of_reader(&[], json!({ "user_create_fn": result })));
    }

    #[test]
    fn nothing_is_told_without_a_result_or_by_one_that_cannot_be_read() {
        assert!(!tell_of_app(json!({})));
        assert!(!tell_of_app(json!({ "create_fn": null, "check_drift": { "ready": true } })));
        for result in [
            json!({ "ready": true }),
            json!("app"),
            json!([]),
            json!({ "database": "app", "owner": "app_owner" }),
        ] {
            assert!(!tell_of_app(json!({ "create_fn": result })), "{result}");
        }
    }

    #[test]
    fn results_that_disagree_tell_nothing() {
        let [now, before] =
            ["app_owner", "former"].map(|owner| json!({ "database": "app", "owner": owner, "ready": true }));
        assert!(!tell_of_app(json!({ "create_fn": before, "update_fn": now })));
        assert!(!tell_of_app(json!({ "create_fn": now, "update_fn": before })));
    }

    #[test]
    fn more_access_than_was_given_is_not_told() {
        let result = json!({ "username": "reader", "database": "app", "access": "read", "schemas": ["public"], "ready": true });
        assert!(tell_of_reader(&["public"], json!({ "user_update_fn": result })));
        assert!(!tell_of_reader(&[], json!({ "user_update_fn": result })));
        assert!(!tell_of_reader(&["public", "other"], json!({ "user_update_fn": result })));
        let result = json!({ "username": "reader", "database": "app", "access": "readwrite", "schemas": ["public"], "ready": true });
        assert!(!tell_of_reader(&["public"], json!({ "user_update_fn": result })));
    }
}
