//! What the chart renders for the values files that its users have.
#![expect(clippy::unwrap_used, reason = "clippy.toml allows it in tests, not in their helpers")]

use std::{
    fs,
    path::{Path, PathBuf},
};

use operator::lanes::Budget;
use serde_json::{Value, json};

fn chart() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("charts/postgres-provisioner")
}

/// The values file `ci/NAME-values.yaml`, or nothing for the name "".
fn values(name: &str) -> String {
    if name.is_empty() {
        return String::new();
    }
    fs::read_to_string(chart().join(format!("ci/{name}-values.yaml"))).unwrap()
}

fn helm(values: &str) -> Result<String, String> {
    testbed::helm::template(&chart(), "some-release", "some-namespace", values)
}

/// The objects that a values file gives.
#[track_caller]
fn render(name: &str) -> Vec<Value> {
    serde_saphyr::from_multiple(&helm(&values(name)).unwrap()).unwrap()
}

/// Whether it gives the rights that the operator has in its own namespace only. The old chart had nothing like it.
fn is_of_ledger(object: &Value) -> bool {
    object["metadata"]["name"].as_str().is_some_and(|name| name.ends_with("-ledger"))
}

#[track_caller]
fn object<'a>(objects: &'a [Value], kind: &str) -> &'a Value {
    objects.iter().find(|object| object["kind"] == kind).unwrap()
}

/// The one container's variables as `NAME=value`, `NAME=secret/key` or `NAME=field.path`.
fn environment(objects: &[Value]) -> Vec<String> {
    let containers = &object(objects, "Deployment")["spec"]["template"]["spec"]["containers"];
    let variables = containers[0]["env"].as_array().unwrap();
    variables
        .iter()
        .map(|variable| {
            let name = variable["name"].as_str().unwrap();
            let secret = &variable["valueFrom"]["secretKeyRef"];
            let field = &variable["valueFrom"]["fieldRef"]["fieldPath"];
            match (&variable["value"], secret, field) {
                (Value::String(value), _, _) => format!("{name}={value}"),
                (_, Value::Object(secret), _) => {
                    format!("{name}={}/{}", secret["name"].as_str().unwrap(), secret["key"].as_str().unwrap())
                }
                (_, _, Value::String(field)) => format!("{name}={field}"),
                other => panic!("{name} has no value: {other:?}"),
            }
        })
        .collect()
}

#[test]
fn helm_has_no_objection() {
    for name in ["", "old", "no-server", "everything", "replicas"] {
        testbed::helm::lint(&chart(), &values(name)).unwrap();
    }
}

#[test]
fn an_old_values_file_gives_the_old_objects() {
    let objects = render("old");
    for object in &objects {
        let name = object["metadata"]["name"].as_str().unwrap();
        let suffix = if ["Role", "RoleBinding"].iter().any(|kind| object["kind"] == *kind) {
            &["-leader", "-ledger"][..]
        } else {
            &[""]
        };
        let is_right = suffix.iter().any(|suffix| name == format!("postgres-provisioner{suffix}"));
        assert!(is_right, "{} {name}", object["kind"]);
    }
    let deployment = object(&objects, "Deployment");
    assert_eq!(deployment["metadata"]["namespace"], "app-db");
    assert_eq!(object(&objects, "ServiceAccount")["metadata"]["namespace"], "app-db");
    assert_eq!(object(&objects, "ClusterRoleBinding")["subjects"][0]["namespace"], "app-db");

    let spec = &deployment["spec"];
    assert_eq!(spec["selector"], json!({ "matchLabels": { "app": "postgres-provisioner" } }));
    assert_eq!(spec["template"]["metadata"]["labels"], json!({ "app": "postgres-provisioner" }));
    assert_eq!(spec["strategy"], json!({ "type": "Recreate" }));
    assert_eq!(spec["replicas"], 1);

    let container = &spec["template"]["spec"]["containers"][0];
    assert_eq!(container["name"], "controller");
    assert_eq!(container["image"], "drewsonne/postgres-provisioner:latest");
    assert_eq!(container["livenessProbe"]["httpGet"], json!({ "path": "/healthz", "port": "http" }));
    assert_eq!(container["ports"], json!([{ "name": "http", "containerPort": 8080 }]));
    assert_eq!(
        environment(&objects),
        [
            "PG_HOST=pg-rw.app-db.svc.cluster.local",
            "PG_USER=pg-superuser/username",
            "PG_PASSWORD=pg-superuser/password",
            "PG_PORT=5432",
            "PG_DATABASE=postgres",
            "RESYNC_SECONDS=300",
            "DELETION_TIMEOUT_SECONDS=600",
            "CATALOG_LIMIT_MIB=4",
            "SERVER_CONNECTIONS=12",
            "TOTAL_CONNECTIONS=72",
            "POD_NAMESPACE=metadata.namespace",
            "LEADER_ELECT=true",
            "LEASE_NAME=postgres-provisioner",
            "LEASE_SECONDS=10",
            "POD_NAME=metadata.name",
            "SECRETS_ACROSS_NAMESPACES=consent",
            "SUPERUSER_SECRETS_ACROSS_NAMESPACES=consent",
            "DATABASES_ACROSS_NAMESPACES=consent",
            "NAMED_SERVERS=any",
            "MANAGE_CRDS=true",
            "HTTP_PORT=8080",
            "LOG_LEVEL=info",
            "LOG_FORMAT=text",
        ]
    );
}

#[test]
fn without_values_it_runs_in_the_releases_namespace_with_the_charts_version() {
    let objects = render("");
    let deployment = object(&objects, "Deployment");
    assert_eq!(deployment["metadata"]["namespace"], "some-namespace");
    let container = &deployment["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(container["image"], format!("drewsonne/postgres-provisioner:{}", env!("CARGO_PKG_VERSION")));
}

#[test]
fn without_a_server_no_variable_names_one() {
    let variables = environment(&render("no-server"));
    assert!(variables.iter().all(|variable| !variable.starts_with("PG_")), "{variables:?}");
}

#[test]
fn every_value_arrives_where_it_belongs() {
    let objects = render("everything");
    assert_eq!(
        environment(&objects),
        [
            "PG_HOST=postgres.example",
            "PG_USER=postgres-admin/username",
            "PG_PASSWORD=postgres-admin/password",
            "PG_PORT=6432",
            "PG_DATABASE=maintenance",
            "PG_SSLMODE=verify-ca",
            "PG_PASSWORD_MODE=plaintext",
            "PG_SSLROOTCERT=/etc/postgres-provisioner/ca.crt",
            "RESYNC_SECONDS=60",
            "OBSERVE=true",
            "DELETION_TIMEOUT_SECONDS=900",
            "CATALOG_LIMIT_MIB=8",
            "SERVER_CONNECTIONS=18",
            "TOTAL_CONNECTIONS=60",
            "WATCH_NAMESPACES=team-a,team-b",
            "POD_NAMESPACE=metadata.namespace",
            "LEADER_ELECT=true",
            "LEASE_NAME=second-provisioner",
            "LEASE_SECONDS=15",
            "POD_NAME=metadata.name",
            "SECRETS_ACROSS_NAMESPACES=any",
            "SUPERUSER_SECRETS_ACROSS_NAMESPACES=none",
            "DATABASES_ACROSS_NAMESPACES=any",
            "NAMED_SERVERS=none",
            "MANAGE_CRDS=false",
            "HTTP_PORT=8080",
            "LOG_LEVEL=debug",
            "LOG_FORMAT=json",
            "INSTALLATION_ID=cluster-b",
            "NO_COLOR=1",
        ]
    );
    let deployment = object(&objects, "Deployment");
    assert_eq!(deployment["metadata"]["namespace"], "databases");
    assert_eq!(deployment["spec"]["replicas"], 0);
    let template = &deployment["spec"]["template"];
    assert_eq!(template["metadata"]["labels"], json!({ "app": "second-provisioner", "team": "storage" }));
    assert_eq!(template["metadata"]["annotations"]["example.invalid/scrape"], "true");
    let pod = &template["spec"];
    assert_eq!(pod["serviceAccountName"], "provisioner-account");
    assert_eq!(pod["priorityClassName"], "important");
    assert_eq!(pod["terminationGracePeriodSeconds"], 20);
    assert_eq!(pod["imagePullSecrets"], json!([{ "name": "my-registry" }]));
    assert_eq!(pod["nodeSelector"], json!({ "disk": "ssd" }));
    assert_eq!(pod["tolerations"][0]["key"], "dedicated");
    assert!(pod["affinity"]["nodeAffinity"].is_object());
    assert_eq!(pod["topologySpreadConstraints"][0]["maxSkew"], 1);
    assert_eq!(pod["volumes"][0]["secret"]["secretName"], "postgres-ca");
    assert_eq!(pod["containers"][0]["volumeMounts"][0]["mountPath"], "/etc/postgres-provisioner");
    assert_eq!(pod["containers"][0]["image"], "example.invalid/operator:2.1");
    assert_eq!(pod["containers"][0]["imagePullPolicy"], "IfNotPresent");
    assert_eq!(pod["containers"][0]["resources"]["limits"]["memory"], "64Mi");
    let account = object(&objects, "ServiceAccount");
    assert_eq!(account["metadata"]["annotations"]["example.invalid/role"], "admin");
}

#[test]
fn the_pod_meets_the_restricted_standard() {
    let objects = render("");
    let pod = &object(&objects, "Deployment")["spec"]["template"]["spec"];
    assert_eq!(
        pod["securityContext"],
        json!({
            "runAsNonRoot": true, "runAsUser": 65532, "runAsGroup": 65532,
            "seccompProfile": { "type": "RuntimeDefault" },
        })
    );
    assert_eq!(
        pod["containers"][0]["securityContext"],
        json!({
            "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true,
            "capabilities": { "drop": ["ALL"] },
        })
    );
}

#[test]
fn only_the_operators_own_pod_gets_the_token() {
    let objects = render("");
    assert_eq!(object(&objects, "ServiceAccount")["automountServiceAccountToken"], false);
    let pod = &object(&objects, "Deployment")["spec"]["template"]["spec"];
    assert_eq!(pod["automountServiceAccountToken"], true);
}

#[test]
fn no_rule_is_a_wildcard() {
    let objects = render("");
    for rule in object(&objects, "ClusterRole")["rules"].as_array().unwrap() {
        assert!(!rule.to_string().contains('*'), "{rule}");
    }
}

/// Who may do what: the kind and namespace of each role, and its rules.
fn roles(objects: &[Value]) -> Vec<(String, String)> {
    let roles = objects.iter().filter(|one| one["rules"].is_array() && !is_of_ledger(one));
    let name = |role: &Value| format!("{} {}", role["kind"], role["metadata"]["namespace"]).replace('"', "");
    roles.map(|role| (name(role), role["rules"].to_string())).collect()
}

#[test]
fn with_listed_namespaces_no_right_goes_beyond_them() {
    let everywhere: Vec<_> = roles(&render("")).into_iter().map(|(name, _)| name).collect();
    assert_eq!(everywhere, ["ClusterRole null", "Role some-namespace"]);
    let listed = roles(&render("everything"));
    let names: Vec<_> = listed.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["ClusterRole null", "Role databases", "Role team-a", "Role team-b"]);
    assert!(listed[0].1.contains(r#""resourceNames":["team-a","team-b"]"#), "{}", listed[0].1);
    for (name, rules) in &listed {
        assert_eq!(rules.contains("secrets"), name.starts_with("Role team-"), "{name}: {rules}");
        assert!(!rules.contains('*'), "{name}: {rules}");
    }
    let bindings: Vec<_> =
        render("everything").into_iter().filter(|one| one["kind"] == "RoleBinding").collect();
    assert_eq!(bindings.len(), 4);
    for binding in bindings {
        let subject =
            json!({ "kind": "ServiceAccount", "name": "provisioner-account", "namespace": "databases" });
        assert_eq!((&binding["subjects"], &binding["roleRef"]["kind"]), (&json!([subject]), &json!("Role")));
    }
}

#[test]
fn definitions_are_written_only_where_that_is_wanted_and_only_ours() {
    let rules = |values: &str| {
        let objects: Vec<Value> = serde_saphyr::from_multiple(&helm(values).unwrap()).unwrap();
        let rules = object(&objects, "ClusterRole")["rules"].as_array().unwrap().clone();
        let rules = rules.into_iter().filter(|rule| rule["apiGroups"] == json!(["apiextensions.k8s.io"]));
        rules.map(|rule| json!([rule["verbs"], rule["resourceNames"]])).collect::<Vec<_>>()
    };
    let names = ["postgresdatabases", "postgresusers"]
        .map(|name| format!("{name}.pgprovisioner.drewsonne.github.io"));
    let look = json!([["get", "list", "watch"], names]);
    assert_eq!(rules("crds: { manage: false }"), [look]);
    assert_eq!(rules(""), [json!([["get", "list", "watch", "patch"], names]), json!([["create"], null])]);
}

#[test]
fn the_ledger_is_in_the_operators_namespace_and_needs_no_right_elsewhere() {
    for (values, namespace) in [("", "some-namespace"), ("everything", "databases")] {
        let objects = render(values);
        let rules = |object: &Value| object["rules"].to_string();
        let with_maps: Vec<_> =
            objects.iter().filter(|object| rules(object).contains("configmaps")).collect();
        let [role] = with_maps[..] else { panic!("{with_maps:?}") };
        assert_eq!((&role["kind"], &role["metadata"]["namespace"]), (&json!("Role"), &json!(namespace)));
        assert_eq!(role["rules"][0]["verbs"], json!(["list", "watch", "create", "delete"]));
        // Where events may be written everywhere anyway, it is not said again.
        assert_eq!(rules(role).contains("events"), values == "everything");
    }
}

#[test]
fn of_leases_the_operator_changes_only_its_own() {
    let objects = render("everything");
    let role = objects.iter().find(|object| object["rules"].to_string().contains("leases")).unwrap();
    assert_eq!(role["metadata"]["namespace"], "databases");
    assert_eq!(
        role["rules"],
        json!([
            {
                "apiGroups": ["coordination.k8s.io"], "resources": ["leases"],
                "resourceNames": ["second-provisioner"], "verbs": ["get", "update"],
            },
            { "apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["create"] },
        ])
    );
    let alone = serde_saphyr::from_multiple::<Value>(&helm("leaderElection: { enabled: false }").unwrap());
    let alone = alone.unwrap();
    assert_eq!(roles(&alone).len(), 1);
    let variables = environment(&alone);
    assert!(variables.iter().all(|variable| !variable.starts_with("LEA")), "{variables:?}");
}

#[test]
fn several_replicas_are_spread_and_go_one_after_the_other() {
    let one = render("");
    assert_eq!(object(&one, "Deployment")["spec"]["strategy"], json!({ "type": "Recreate" }));
    assert!(!one.iter().any(|object| object["kind"] == "PodDisruptionBudget"));

    let objects = render("replicas");
    let spec = &object(&objects, "Deployment")["spec"];
    let labels = json!({ "matchLabels": { "app": "postgres-provisioner" } });
    assert_eq!((&spec["replicas"], &spec["selector"]), (&json!(2), &labels));
    assert_eq!(
        spec["strategy"],
        json!({ "type": "RollingUpdate", "rollingUpdate": { "maxSurge": 1, "maxUnavailable": 0 } })
    );
    assert_eq!(
        spec["template"]["spec"]["topologySpreadConstraints"],
        json!([{
            "maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": labels,
        }])
    );
    let budget = &object(&objects, "PodDisruptionBudget")["spec"];
    assert_eq!(*budget, json!({ "maxUnavailable": 1, "selector": labels }));
}

#[test]
fn without_an_election_there_is_one_replica() {
    let message = helm("replicas: 2\nleaderElection: { enabled: false }\n").unwrap_err();
    assert!(message.contains("replicas: without leaderElection.enabled there can be only one"), "{message}");
}

#[test]
fn the_network_policy_names_all_that_the_pod_may_talk_to() {
    assert!(!render("").iter().any(|object| object["kind"] == "NetworkPolicy"));
    let objects = render("everything");
    let policy = &object(&objects, "NetworkPolicy")["spec"];
    assert_eq!(policy["podSelector"]["matchLabels"], json!({ "app": "second-provisioner" }));
    assert_eq!(policy["policyTypes"], json!(["Ingress", "Egress"]));
    let team = json!([{ "namespaceSelector": { "matchLabels": { "team": "monitoring" } } }]);
    assert_eq!(policy["ingress"], json!([{ "ports": [{ "port": "http" }], "from": team }]));
    let names = [json!({ "port": 53, "protocol": "UDP" }), json!({ "port": 53, "protocol": "TCP" })];
    let block = |cidr: &str| json!([{ "ipBlock": { "cidr": cidr } }]);
    assert_eq!(
        policy["egress"],
        json!([
            { "ports": names },
            { "ports": [{ "port": 443 }, { "port": 6443 }], "to": block("192.0.2.1/32") },
            { "ports": [{ "port": 6432 }, { "port": 5432 }], "to": block("198.51.100.0/24") },
        ])
    );
    let alone =
        serde_saphyr::from_multiple::<Value>(&helm("networkPolicy: { enabled: true }").unwrap()).unwrap();
    let egress = &object(&alone, "NetworkPolicy")["spec"]["egress"];
    assert_eq!(egress[2], json!({ "ports": [{ "port": 5432 }] }));
}

#[test]
fn a_value_of_the_wrong_type_is_named() {
    let message = helm("replicas: three\n").unwrap_err();
    assert!(message.contains("replicas") && message.contains("integer"), "{message}");
    let message = helm("postgres:\n  sslMode: always\n").unwrap_err();
    assert!(message.contains("sslMode") && message.contains("verify-full"), "{message}");
    let message = helm("postgres:\n  passwordMode: clear\n").unwrap_err();
    assert!(message.contains("passwordMode") && message.contains("plaintext"), "{message}");
    let message = helm("namespaces:\n  secrets: all\n").unwrap_err();
    assert!(message.contains("secrets") && message.contains("consent"), "{message}");
}

#[test]
fn half_a_server_is_refused_with_what_to_do() {
    let message = helm("postgres:\n  secretName: \"\"\n").unwrap_err();
    assert!(message.contains("postgres.host and postgres.secretName count only together"), "{message}");
}

#[test]
fn connections_that_leave_nothing_for_other_servers_are_refused_with_what_to_do() {
    let least = Budget::LEAST;
    let with = |total: u32| helm(&format!("connections: {{ server: 72, total: {total} }}"));
    let message = with(71 + least).unwrap_err();
    for part in ["connections.total", &format!("at least {}", 72 + least), "lower connections.server"] {
        assert!(message.contains(part), "{part}: {message}");
    }
    with(72 + least).unwrap();
}

/// `--reuse-values` keeps an earlier chart's defaults, in which what is new is missing.
#[test]
fn values_that_are_missing_are_named_with_what_to_do() {
    let defaults = fs::read_to_string(chart().join("values.yaml")).unwrap();
    let defaults: serde_json::Map<String, Value> = serde_saphyr::from_str(&defaults).unwrap();
    let optional = |name: &str| name == "resources";
    for (name, value) in &defaults {
        if value.as_object().is_some_and(|group| !group.is_empty()) && !optional(name) {
            let message = helm(&format!("{name}: null\n")).unwrap_err();
            assert!(message.contains(&format!("the value {name} is missing")), "{message}");
            assert!(message.contains("--reset-then-reuse-values"), "{message}");
        }
    }
}

#[test]
fn values_that_the_chart_does_not_know_are_let_through() {
    helm("somethingOld: true\npostgres:\n  legacy: 1\n").unwrap();
}
