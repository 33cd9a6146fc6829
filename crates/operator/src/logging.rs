//! Log lines on standard error. Called by the program only: tests run several operators in one process.

use std::io::{self, Write};

use tracing_subscriber::EnvFilter;

use crate::cli::LogFormat;
use crate::events::without_controls;

/// Sends log lines to standard error.
pub fn start(filter: EnvFilter, format: LogFormat) {
    // A body that cannot be read is logged whole at that level, and it may be a Secret's.
    let filter = filter.add_directive("kube_client::client=error".parse().expect("a constant"));
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match format {
        LogFormat::Text => logs.with_ansi(false).with_writer(|| OneLine(io::stderr())).init(),
        LogFormat::Json => logs.json().init(),
    }
}

/// Writes each event as one line, whatever the names in it are: a tenant may call a schema like another line.
struct OneLine<W>(W);

impl<W: Write> Write for OneLine<W> {
    /// The bytes are one event with its end of line.
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(event);
        let line = without_controls(text.trim_end_matches('\n'));
        self.0.write_all(format!("{line}\n").as_bytes())?;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_name_cannot_pass_for_another_line() {
        let shown = Shared::default();
        let writer = shown.clone();
        let logs = tracing_subscriber::fmt().with_ansi(false).with_writer(move || OneLine(writer.clone()));
        let name = "a\n2026-01-01T00:00:00Z INFO superuser: granted\u{1b}[2J";
        tracing::subscriber::with_default(logs.finish(), || {
            tracing::warn!(%name, "drift: {name}");
            tracing::info!("next");
        });
        let text = String::from_utf8(shown.0.lock().unwrap().clone()).unwrap();
        assert_eq!(text.lines().count(), 2, "{text}");
        assert!(text.contains("drift: a\\n2026") && !text.contains('\u{1b}'), "{text}");
    }
}
