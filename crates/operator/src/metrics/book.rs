//! The registry with its table of contents: nothing is registered that is not described.

use std::fmt;
use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::{prometheus_text, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::TypedMetric;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Metric, Registry};

/// Of our own metrics; those of the process have their usual names.
pub(super) const PREFIX: &str = "postgres_provisioner_";

/// Names of labels, and a value for each. All are ours: whatever a tenant chose is no `'static`.
pub(super) type Labels<const N: usize> = [(&'static str, &'static str); N];

/// A metric for each set of label values.
pub(super) struct Labelled<M, const N: usize> {
    names: [&'static str; N],
    family: Family<Labels<N>, M>,
}

pub(super) type Counters<const N: usize> = Labelled<Counter, N>;
pub(super) type Gauges<const N: usize> = Labelled<Gauge, N>;
/// Seconds since 1970, or of something.
pub(super) type Seconds<const N: usize> = Labelled<Gauge<f64, AtomicU64>, N>;
pub(super) type Histograms<const N: usize> = Labelled<Histogram, N>;

/// A metric as its documentation shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// Its whole name.
    pub name: String,
    /// `counter`, `gauge` or `histogram`.
    pub kind: &'static str,
    /// The names of its labels.
    pub labels: Vec<&'static str>,
    /// What it tells.
    pub help: &'static str,
}

/// The form in which metrics are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Format {
    /// `OpenMetrics` 1.0.
    OpenMetrics,
    /// Prometheus' older text format.
    Text,
}

/// Everything that is measured.
#[derive(Default)]
pub(super) struct Book {
    registry: Registry,
    pub(super) descriptions: Vec<Description>,
}

impl<M: Clone, const N: usize> Labelled<M, N> {
    /// The metric with these values of its labels.
    pub(super) fn of(&self, values: [&'static str; N]) -> M {
        self.family.get_or_create_owned(&std::array::from_fn(|at| (self.names[at], values[at])))
    }

    /// Forgets all values.
    pub(super) fn clear(&self) {
        self.family.clear();
    }
}

impl Book {
    /// A counter; `name` is without prefix and `_total`.
    pub(super) fn counter<const N: usize>(
        &mut self,
        name: &str,
        labels: [&'static str; N],
        help: &'static str,
    ) -> Counters<N> {
        self.describe(&format!("{PREFIX}{name}_total"), "counter", &labels, help);
        self.add(name, help, Labelled { names: labels, family: Family::default() })
    }

    /// A gauge of a number.
    pub(super) fn gauge<const N: usize>(
        &mut self,
        name: &str,
        labels: [&'static str; N],
        help: &'static str,
    ) -> Gauges<N> {
        self.describe(&format!("{PREFIX}{name}"), "gauge", &labels, help);
        self.add(name, help, Labelled { names: labels, family: Family::default() })
    }

    /// A gauge of seconds.
    pub(super) fn seconds<const N: usize>(
        &mut self,
        name: &str,
        labels: [&'static str; N],
        help: &'static str,
    ) -> Seconds<N> {
        self.describe(&format!("{PREFIX}{name}"), "gauge", &labels, help);
        self.add(name, help, Labelled { names: labels, family: Family::default() })
    }

    /// A histogram.
    pub(super) fn histogram<const N: usize>(
        &mut self,
        name: &str,
        (labels, new): ([&'static str; N], fn() -> Histogram),
        help: &'static str,
    ) -> Histograms<N> {
        self.describe(&format!("{PREFIX}{name}"), "histogram", &labels, help);
        self.add(name, help, Labelled { names: labels, family: Family::new_with_constructor(new) })
    }

    /// A metric of the process; `name` is whole but for `_total`.
    pub(super) fn process<M>(&mut self, name: &str, help: &'static str, metric: &M)
    where
        M: Metric + TypedMetric + Clone,
    {
        let (suffix, kind) = match M::TYPE {
            MetricType::Counter => ("_total", "counter"),
            MetricType::Gauge | MetricType::Histogram | MetricType::Info | MetricType::Unknown => {
                ("", "gauge")
            }
        };
        self.describe(&format!("{name}{suffix}"), kind, &[], help);
        self.registry.register(name, help, metric.clone());
    }

    fn add<M, const N: usize>(&mut self, name: &str, help: &str, labelled: Labelled<M, N>) -> Labelled<M, N>
    where
        Family<Labels<N>, M>: Metric,
    {
        self.registry.register(format!("{PREFIX}{name}"), help, labelled.family.clone());
        labelled
    }

    fn describe(&mut self, name: &str, kind: &'static str, labels: &[&'static str], help: &'static str) {
        self.descriptions.push(Description { name: name.to_owned(), kind, labels: labels.to_vec(), help });
    }

    /// All values now.
    pub(super) fn text(&self, format: Format) -> String {
        let mut text = String::new();
        let encoded = match format {
            Format::OpenMetrics => text::encode(&mut text, &self.registry),
            Format::Text => prometheus_text::encode(&mut text, &self.registry),
        };
        encoded.expect("a String takes everything");
        text
    }
}

impl Format {
    /// What the answer to a request with this `Accept` header has: the older one where nothing better is named.
    pub fn accepted(accept: &str) -> Self {
        if accept.contains("application/openmetrics-text") { Self::OpenMetrics } else { Self::Text }
    }

    /// How it is announced.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

impl fmt::Debug for Book {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Book").field("metrics", &self.descriptions.len()).finish_non_exhaustive()
    }
}
