//! Charts are rendered and checked by a real Helm.

use std::path::Path;

use testbed::helm::{lint, template};

fn chart() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/helm"))
}

#[test]
fn a_chart_is_rendered_with_its_values() {
    let rendered = template(chart(), "one", "somewhere", "greeting: hello").unwrap();
    assert!(rendered.contains("name: one-map\n  namespace: somewhere"), "{rendered}");
    assert!(rendered.contains("greeting: hello"), "{rendered}");
}

#[test]
fn what_a_chart_refuses_is_an_error_that_says_so() {
    let error = template(chart(), "one", "somewhere", "").unwrap_err();
    assert!(error.contains("missing property 'greeting'"), "{error}");
}

#[test]
fn a_chart_is_linted() {
    lint(chart(), "greeting: hello").unwrap();
    assert!(lint(chart(), "").unwrap_err().contains("missing property 'greeting'"));
}
