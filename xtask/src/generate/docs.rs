//! The tables in `docs/`: fields of the kinds, conditions, events and metrics.

use anyhow::Context as _;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps, JSONSchemaPropsOrArray,
};
use operator::{
    conditions::{Class, EventKind, Notice, Reason},
    metrics::{Description, Metrics},
};
use xshell::Shell;

use super::{File, replace_section};

/// The pages with their sections replaced; the prose around these is written by hand.
pub(super) fn files(shell: &Shell) -> anyhow::Result<Vec<File>> {
    let mut files = Vec::new();
    for crd in operator::api::crds() {
        let path = format!("docs/{}.md", crd.spec.names.singular.as_deref().unwrap_or_default());
        let schema = root_schema(crd).with_context(|| format!("schema for {path}"))?;
        let sections = [("fields", fields("spec", &schema)), ("status", fields("status", &schema))];
        files.push(page(shell, &path, &sections)?);
    }
    let sections = [("conditions", conditions()), ("events", events())];
    files.push(page(shell, "docs/conditions.md", &sections)?);
    files.push(page(shell, "docs/metrics.md", &[("metrics", metrics())])?);
    Ok(files)
}

fn page(shell: &Shell, path: &str, sections: &[(&str, String)]) -> anyhow::Result<File> {
    let mut contents = shell.read_file(path)?;
    for (name, section) in sections {
        contents = replace_section(&contents, name, section).with_context(|| path.to_owned())?;
    }
    Ok(File { path: path.into(), contents })
}

fn root_schema(crd: CustomResourceDefinition) -> Option<JSONSchemaProps> {
    crd.spec.versions.into_iter().next()?.schema?.open_api_v3_schema
}

fn fields(section: &str, schema: &JSONSchemaProps) -> String {
    let mut rows = Vec::new();
    if let Some(section) = schema.properties.iter().flatten().find(|(name, _)| *name == section) {
        push_fields(&mut rows, "", section.1);
    }
    table(["Field", "Type", "Required", "Description"], &rows)
}

fn push_fields(rows: &mut Vec<[String; 4]>, parent: &str, schema: &JSONSchemaProps) {
    let required = schema.required.as_deref().unwrap_or_default();
    let mut properties: Vec<_> = schema.properties.iter().flatten().collect();
    properties.sort_by_key(|(name, _)| !required.contains(name));
    for (name, field) in properties {
        let path = format!("{parent}{name}");
        let is_required = if required.contains(name) { "yes" } else { "" };
        let description = field.description.clone().unwrap_or_default();
        rows.push([format!("`{path}`"), field_type(field), is_required.to_owned(), description]);
        // Conditions are Kubernetes' own type, and described there.
        if name != "conditions" {
            push_fields(rows, &format!("{path}."), field);
        }
    }
}

fn field_type(field: &JSONSchemaProps) -> String {
    if let Some(values) = &field.enum_ {
        let words: Vec<String> =
            values.iter().filter_map(|value| value.0.as_str()).map(|word| format!("`{word}`")).collect();
        return words.join(" or ");
    }
    let name = field.type_.clone().unwrap_or_default();
    match &field.items {
        Some(JSONSchemaPropsOrArray::Schema(item)) => format!("list of {}", field_type(item)),
        Some(JSONSchemaPropsOrArray::Schemas(_)) | None => name,
    }
}

fn conditions() -> String {
    let rows: Vec<[String; 5]> = Reason::ALL
        .iter()
        .map(|reason| {
            let (condition, status) = reason.class().condition();
            let state = match reason.class() {
                Class::Waits => format!("{status}, ends by itself"),
                Class::NeedsPerson => format!("{status}, needs a person"),
                Class::Planned => format!("{status}, observed"),
                Class::Ready
                | Class::InSync
                | Class::Drifted
                | Class::Complete
                | Class::Withheld
                | Class::Suspended => status.to_owned(),
            };
            let condition = format!("`{}`", condition.as_str());
            let word = format!("`{}`", reason.as_str());
            [condition, state, word, reason.meaning().to_owned(), reason.advice().to_owned()]
        })
        .collect();
    table(["Condition", "Status", "Reason", "Meaning", "What to do"], &rows)
}

fn events() -> String {
    let rows: Vec<[String; 4]> = Notice::ALL
        .iter()
        .map(|notice| {
            let EventKind { reason, event_type } = (*notice).into();
            let kind = format!("{event_type:?}");
            [format!("`{reason}`"), kind, notice.meaning().to_owned(), notice.advice().to_owned()]
        })
        .collect();
    table(["Reason", "Type", "Meaning", "What to do"], &rows)
}

fn metrics() -> String {
    let row = |Description { name, kind, labels, help }: &Description| {
        let labels: Vec<String> = labels.iter().map(|label| format!("`{label}`")).collect();
        [format!("`{name}`"), (*kind).to_owned(), labels.join(", "), format!("{help}.")]
    };
    let rows: Vec<[String; 4]> = Metrics::default().descriptions().iter().map(row).collect();
    table(["Metric", "Type", "Labels", "Tells"], &rows)
}

/// A Markdown table.
pub(super) fn table<const N: usize>(head: [&str; N], rows: &[[String; N]]) -> String {
    let mut lines = vec![format!("| {} |", head.join(" | ")), format!("|{}", "---|".repeat(N))];
    lines.extend(rows.iter().map(|row| {
        let cells = row.each_ref().map(|cell| cell.replace('|', "\\|").replace('\n', " "));
        format!("| {} |", cells.join(" | "))
    }));
    lines.join("\n")
}
