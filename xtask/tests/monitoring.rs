//! What the chart brings for Prometheus and Grafana, held against what the operator really tells.
#![expect(clippy::unwrap_used, reason = "clippy.toml allows it in tests, not in their helpers")]

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use operator::metrics::Metrics;
use serde_json::{Value, json};
use testbed::promtool;

/// Two replicas, and everything that a cluster with the Prometheus Operator and Grafana can use.
const ALL: &str = "
replicas: 2
metrics:
  serviceMonitor: { enabled: true, interval: 30s, labels: { release: prometheus } }
  prometheusRule: { enabled: true, labels: { release: prometheus } }
  dashboard: { enabled: true }
networkPolicy: { enabled: true }
";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn helm(values: &str) -> Result<String, String> {
    testbed::helm::template(
        &root().join("charts/postgres-provisioner"),
        "some-release",
        "some-namespace",
        values,
    )
}

#[track_caller]
fn render(values: &str) -> Vec<Value> {
    serde_saphyr::from_multiple(&helm(values).unwrap()).unwrap()
}

#[track_caller]
fn object<'a>(objects: &'a [Value], kind: &str) -> &'a Value {
    objects.iter().find(|object| object["kind"] == kind).unwrap_or_else(|| panic!("no {kind}"))
}

fn dashboard() -> Value {
    let objects = render(ALL);
    let text = object(&objects, "ConfigMap")["data"]["postgres-provisioner.json"].as_str().unwrap();
    serde_json::from_str(text).unwrap()
}

/// Every query of the dashboard.
fn queries(dashboard: &Value) -> Vec<&str> {
    let panels = dashboard["panels"].as_array().unwrap().iter();
    let targets = panels.filter_map(|panel| panel["targets"].as_array()).flatten();
    targets.map(|target| target["expr"].as_str().unwrap()).collect()
}

/// The names of metrics in an expression.
fn names(expression: &str) -> impl Iterator<Item = &str> {
    let words = expression.split(|character: char| !character.is_ascii_alphanumeric() && character != '_');
    words.filter(|word| word.starts_with("postgres_provisioner_") || word.starts_with("process_"))
}

/// The names of all series that there are.
fn told() -> BTreeSet<String> {
    let metrics = Metrics::default();
    let series = |name: &str, kind: &str| match kind {
        "histogram" => ["_bucket", "_count", "_sum"].map(|suffix| format!("{name}{suffix}")).to_vec(),
        _ => vec![name.to_owned()],
    };
    metrics.descriptions().iter().flat_map(|one| series(&one.name, one.kind)).collect()
}

#[test]
fn by_default_nothing_is_made_that_a_cluster_may_not_know() {
    for object in render("") {
        let kind = object["kind"].as_str().unwrap();
        assert!(
            !["Service", "ServiceMonitor", "PodMonitor", "PrometheusRule", "ConfigMap"].contains(&kind),
            "{kind}"
        );
    }
}

#[test]
fn with_everything_on_each_pod_is_found_and_its_metrics_are_let_through() {
    let objects = render(ALL);
    let deployment = object(&objects, "Deployment");
    assert_eq!(deployment["spec"]["replicas"], 2);
    let pod = &deployment["spec"]["template"];
    let selects = json!({ "app": "postgres-provisioner" });
    assert_eq!(pod["metadata"]["labels"], selects);
    let service = object(&objects, "Service");
    assert_eq!((&service["spec"]["selector"], &service["spec"]["clusterIP"]), (&selects, &json!("None")));
    assert_eq!(service["spec"]["ports"][0]["targetPort"], pod["spec"]["containers"][0]["ports"][0]["name"]);
    let monitor = object(&objects, "ServiceMonitor");
    assert_eq!(monitor["metadata"]["labels"]["release"], "prometheus");
    assert_eq!(service["metadata"]["labels"]["app"], monitor["spec"]["selector"]["matchLabels"]["app"]);
    let endpoint =
        json!({ "port": service["spec"]["ports"][0]["name"], "path": "/metrics", "interval": "30s" });
    assert_eq!(monitor["spec"]["endpoints"], json!([endpoint]));
    let ingress = &object(&objects, "NetworkPolicy")["spec"]["ingress"];
    assert_eq!(*ingress, json!([{ "ports": [{ "port": "http" }] }]));
    assert_eq!(object(&objects, "ConfigMap")["metadata"]["labels"]["grafana_dashboard"], "1");
    for object in &objects {
        assert!(
            object["metadata"]["namespace"] == "some-namespace"
                || object["kind"].to_string().contains("Cluster")
        );
    }
}

#[test]
fn labels_and_annotations_arrive_where_others_look_for_them() {
    let chart = root().join("charts/postgres-provisioner");
    let objects = render(&fs::read_to_string(chart.join("ci/everything-values.yaml")).unwrap());
    for kind in ["ServiceMonitor", "PrometheusRule"] {
        assert_eq!(object(&objects, kind)["metadata"]["labels"]["release"], "prometheus", "{kind}");
    }
    let service = &object(&objects, "Service")["metadata"];
    assert_eq!(service["annotations"]["example.invalid/scrape"], "true");
    assert_eq!(
        (&service["name"], &service["namespace"]),
        (&json!("second-provisioner"), &json!("databases"))
    );
    let dashboard = &object(&objects, "ConfigMap")["metadata"];
    assert_eq!(dashboard["labels"]["example.invalid/dashboard"], "true");
    assert_eq!(dashboard["annotations"]["example.invalid/folder"], "Databases");
}

#[test]
fn a_pod_monitor_needs_no_service_and_two_monitors_are_one_too_many() {
    let objects = render("metrics: { podMonitor: { enabled: true, labels: { release: prometheus } } }");
    assert!(!objects.iter().any(|object| object["kind"] == "Service"));
    let monitor = object(&objects, "PodMonitor");
    assert_eq!(monitor["spec"]["podMetricsEndpoints"], json!([{ "port": "http", "path": "/metrics" }]));
    assert_eq!(monitor["spec"]["selector"]["matchLabels"], json!({ "app": "postgres-provisioner" }));
    let both = "metrics: { podMonitor: { enabled: true }, serviceMonitor: { enabled: true } }";
    let message = helm(both).unwrap_err();
    assert!(message.contains("enable one of them"), "{message}");
    let message = helm("metrics: { serviceMonitor: { interval: often } }").unwrap_err();
    assert!(message.contains("interval"), "{message}");
}

#[test]
fn each_alert_fires_when_it_should_and_only_then() {
    let objects = render(ALL);
    let rules = object(&objects, "PrometheusRule")["spec"].clone();
    let tests = fs::read_to_string(root().join("xtask/tests/rules/alerts.yaml")).unwrap();
    promtool::test_rules(&rules.to_string(), &tests).unwrap_or_else(|said| panic!("{said}"));
    for rule in rules["groups"][0]["rules"].as_array().unwrap() {
        let alert = rule["alert"].as_str().unwrap();
        let times = tests.matches(&format!("alertname: {alert}")).count();
        assert!(times >= 2, "{alert} is not tested");
    }
}

#[test]
fn each_alert_has_a_page_that_says_what_to_do() {
    let page = fs::read_to_string(root().join("docs/metrics.md")).unwrap();
    let objects = render(ALL);
    for rule in object(&objects, "PrometheusRule")["spec"]["groups"][0]["rules"].as_array().unwrap() {
        let alert = rule["alert"].as_str().unwrap();
        assert!(page.contains(&format!("\n### {alert}\n")), "docs/metrics.md does not know {alert}");
        let url = rule["annotations"]["runbook_url"].as_str().unwrap();
        assert!(url.ends_with(&format!("/docs/metrics.md#{}", alert.to_lowercase())), "{url}");
    }
}

#[test]
fn alerts_and_dashboard_ask_for_nothing_that_is_not_told() {
    let (objects, dashboard, told) = (render(ALL), dashboard(), told());
    let rules = object(&objects, "PrometheusRule")["spec"]["groups"][0]["rules"].as_array().unwrap();
    let alerts = rules.iter().map(|rule| rule["expr"].as_str().unwrap());
    let asked: BTreeSet<_> = alerts.chain(queries(&dashboard)).flat_map(names).collect();
    let unknown: Vec<_> = asked.iter().filter(|name| !told.contains(**name)).collect();
    assert!(asked.len() > 20 && unknown.is_empty(), "{unknown:?}");
}

#[test]
fn prometheus_understands_every_query_of_the_dashboard() {
    let dashboard = dashboard();
    let rules = queries(&dashboard).into_iter().enumerate().map(|(number, query)| {
        let query = query.replace("$__rate_interval", "5m").replace("$job", ".*");
        json!({ "record": format!("dashboard:query{number}"), "expr": query })
    });
    let groups = json!({ "groups": [{ "name": "dashboard", "rules": rules.collect::<Vec<_>>() }] });
    promtool::test_rules(&groups.to_string(), "tests: []").unwrap_or_else(|said| panic!("{said}"));
    let ids: Vec<_> =
        dashboard["panels"].as_array().unwrap().iter().map(|panel| panel["id"].to_string()).collect();
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len());
}

#[test]
fn metrics_are_named_as_prometheus_wants_before_anything_has_happened() {
    promtool::check_metrics(&Metrics::default().text(operator::metrics::Format::Text)).unwrap();
}
