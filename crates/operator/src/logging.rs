//! Log lines on standard error. Called by the program only: tests run several operators in one process.

use tracing_subscriber::EnvFilter;

use crate::cli::LogFormat;

/// Sends log lines to standard error.
pub fn start(filter: EnvFilter, format: LogFormat) {
    // A body that cannot be read is logged whole at that level, and it may be a Secret's.
    let filter = filter.add_directive("kube_client::client=error".parse().expect("a constant"));
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match format {
        LogFormat::Text => logs.with_ansi(false).init(),
        LogFormat::Json => logs.json().init(),
    }
}
