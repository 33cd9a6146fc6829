//! Resources as YAML.

const API: &str = "apiVersion: pgprovisioner.drewsonne.github.io/v1";

/// A `PostgresDatabase` whose name, database and Secret are called alike; `more` is the rest of its spec.
pub(crate) fn database(namespace: &str, name: &str, owner: &str, more: &str) -> String {
    let spec = format!("dbName: {name}, owner: {owner}, secretName: {name}{more}");
    format!("{API}\nkind: PostgresDatabase\n{}", body(namespace, name, &spec))
}

/// A `PostgresUser` whose name, role and Secret are called alike; `more` is the rest of its spec.
pub(crate) fn user(namespace: &str, name: &str, database: &str, more: &str) -> String {
    let spec = format!("username: {name}, dbName: {database}, secretName: {name}{more}");
    format!("{API}\nkind: PostgresUser\n{}", body(namespace, name, &spec))
}

fn body(namespace: &str, name: &str, spec: &str) -> String {
    format!("metadata: {{ name: {name}, namespace: {namespace} }}\nspec: {{ {spec} }}\n")
}
