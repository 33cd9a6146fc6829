//! Every metric but those of the process, in the order in which they are shown.

use prometheus_client::metrics::histogram::Histogram;

use super::book::{Book, Counters, Gauges, Histograms, Seconds};
use super::words;

/// How long passes take, in seconds: most are over in moments, none lasts longer than five minutes in the slow place.
const DURATIONS: [f64; 12] = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0, 60.0, 300.0];

/// A place to talk to servers is waited for.
pub(super) const WAITING: [&str; 1] = ["waiting"];
/// It is had.
pub(super) const WORKING: [&str; 1] = ["working"];

/// Declares the metrics, each with its name, its labels and what it tells.
macro_rules! families {
    ($($field:ident: $type:ty = $kind:ident($name:literal, $labels:expr, $help:literal);)*) => {
        /// The metrics by their name in here.
        pub(super) struct Families {
            $(pub(super) $field: $type,)*
        }

        impl Families {
            /// Enters all of them.
            pub(super) fn new(book: &mut Book) -> Self {
                Self { $($field: book.$kind($name, $labels, $help),)* }
            }
        }
    };
}

families! {
    build_info: Gauges<1> = gauge("build_info", ["version"],
        "Which version this is. Always 1");
    leader: Gauges<0> = gauge("leader", [],
        "Whether this process is the one that works. 1 where there is no election");

    passes: Counters<2> = counter("passes", ["server", "result"],
        "Passes over a database, by how they ended: done, waits (something is missing or in trouble, it is looked at again soon), failed (the API server refused something), gone (nothing is left of the database), panicked");
    pass_duration: Histograms<1> = histogram("pass_duration_seconds", (["server"], durations),
        "How long passes took once they had a place among those that may talk to servers");
    passes_in_progress: Gauges<1> = gauge("passes_in_progress", ["state"],
        "Passes that wait for a place among those that may talk to servers, and passes that have one");
    oldest_check: Seconds<0> = seconds("oldest_check_timestamp_seconds", [],
        "When the database was looked at that has waited longest for its next pass; absent without databases");
    resync_interval: Seconds<0> = seconds("resync_interval_seconds", [],
        "How often a database is looked at although nothing happened");

    statements: Counters<2> = counter("statements", ["kind", "result"],
        "SQL statements that change something, by what they do, and whether the server refused them");
    drift: Counters<2> = counter("drift", ["class", "kind"],
        "Statements that were needed although no resource had changed, by what they do: tampering is undone, growth (objects that default privileges could not cover) is granted");
    secret_writes: Counters<1> = counter("secret_writes", ["operation"],
        "Secrets that were written or deleted");

    resources: Gauges<3> = gauge("resources", ["kind", "state", "reason"],
        "Resources by the reason of their condition Ready: state is ready, waits (it ends by itself), needs_person, planned (it is merely observed, and there is something to do), suspended (it is left alone, whatever was found before), or unknown before the first pass");
    oldest_unready: Seconds<2> = seconds("oldest_unready_timestamp_seconds", ["kind", "state"],
        "Since when the resource has not been Ready that has not been for longest, by state: waits, needs_person, planned or unknown, as in resources; absent when none is. What is suspended does not count");
    drifted: Gauges<2> = gauge("drifted_resources", ["kind", "reason"],
        "Resources whose condition Drifted is True, by its reason, but for those that are suspended");
    repeated: Gauges<1> = gauge("repeatedly_drifted_resources", ["kind"],
        "Resources on which drift was found three times or more within the last hour, as far as this process was asked for metrics meanwhile; without those that are suspended or merely observed");
    withheld: Gauges<2> = gauge("withheld_resources", ["kind", "reason"],
        "Resources whose condition Withheld is True, by its reason, but for those that are suspended");

    servers: Gauges<2> = gauge("servers", ["server", "state"],
        "PostgreSQL servers in use: configured is the operator's own, named are those that resources name; state is up, down (nothing can be done there), or unknown before the first pass");
    server_failures: Counters<2> = counter("server_failures", ["server", "class"],
        "Passes that a server held up, by what was wrong");
    connections: Gauges<1> = gauge("sql_connections", ["server"],
        "Open connections to PostgreSQL servers");
    attempts: Counters<1> = counter("sql_connection_attempts", ["server"],
        "Connections to PostgreSQL servers that were tried");
    connection_failures: Counters<1> = counter("sql_connection_failures", ["server"],
        "Connections that were tried and that no PostgreSQL answered. A refused login is an answer");
    requests: Counters<1> = counter("sql_requests", ["server"],
        "Statements that were sent to PostgreSQL servers, those that only read included");

    api_requests: Counters<2> = counter("api_requests", ["verb", "code"],
        "Requests to the Kubernetes API by verb (get stands for list too) and answer: terminating is a 403 because the namespace is being deleted, none is no answer");
}

impl Families {
    /// Shows from the beginning what will be counted: a series that appears with its first event hides that.
    pub(super) fn begin(&self) {
        self.build_info.of([env!("CARGO_PKG_VERSION")]).set(1);
        self.leader.of([]).set(1);
        for state in [WAITING, WORKING] {
            self.passes_in_progress.of(state);
        }
        for server in words::SERVERS {
            for ending in words::ENDINGS {
                self.passes.of([server, ending]);
            }
            for class in words::TROUBLES {
                self.server_failures.of([server, class]);
            }
            self.pass_duration.of([server]);
            self.connections.of([server]);
            self.attempts.of([server]);
            self.connection_failures.of([server]);
            self.requests.of([server]);
        }
        for action in words::ACTIONS {
            for fate in words::FATES {
                self.statements.of([action, fate]);
            }
            self.drift.of(["tampering", action]);
        }
        for write in words::SECRET_WRITES {
            self.secret_writes.of([write]);
        }
    }
}

fn durations() -> Histogram {
    Histogram::new(DURATIONS)
}
