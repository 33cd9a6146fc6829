//! Names that belong to PostgreSQL or to the services that run it.

use crate::Ident;

/// Names that are taken on every server: databases and roles that come with it, key words of `pg_hba.conf`.
const NAMES: [&str; 15] = [
    "all",
    "anon",
    "authenticated",
    "authenticator",
    "azuresu",
    "none",
    "pgbouncer",
    "postgres",
    "public",
    "replication",
    "samehost",
    "samenet",
    "sameuser",
    "service_role",
    "template",
];

/// Prefixes of the names that PostgreSQL and managed services keep for themselves.
const PREFIXES: [&str; 12] = [
    "_aiven",
    "aiven",
    "alloydb",
    "avn",
    "azure_",
    "cloudsql",
    "neon_",
    "neondb_owner",
    "pg_",
    "rds",
    "supabase_",
    "template0",
];

/// Whether a database or role of this name is never made, altered or dropped. Compared without regard to case,
/// because the server accepts `PG_x` and people do not tell it from `pg_x`.
pub fn is_reserved(name: &Ident) -> bool {
    let name = name.as_str().to_ascii_lowercase();
    NAMES.contains(&name.as_str())
        || name == "template1"
        || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_servers_and_services_are_reserved_in_any_case() {
        for name in
            ["postgres", "Template1", "PG_monitor", "rdsadmin", "cloudsqladmin", "public", "azure_sys"]
        {
            assert!(is_reserved(&name.parse().unwrap()), "{name}");
        }
        for name in ["app", "postgres_app", "my_rds", "templates", "allowed"] {
            assert!(!is_reserved(&name.parse().unwrap()), "{name}");
        }
    }
}
