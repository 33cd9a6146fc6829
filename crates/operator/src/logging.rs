//! Log lines on standard error. Called by the program only: tests run several operators in one process.

mod json;

use std::io::{self, Write};
use std::panic;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::JsonFields;

use crate::cli::flags::LogFormat;
use crate::events::without_controls;

/// Sends log lines to standard error.
pub fn start(filter: EnvFilter, format: LogFormat) {
    // A body that cannot be read is logged whole at that level, and it may be a Secret's.
    let filter = filter.add_directive("kube_client::client=error".parse().expect("a constant"));
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match format {
        LogFormat::Text => logs.with_ansi(false).with_writer(|| OneLine(io::stderr())).init(),
        LogFormat::Json => logs.fmt_fields(JsonFields::new()).event_format(json::Flat).init(),
    }
    panic::set_hook(Box::new(tell_panic));
}

/// A panic is a line like others, with the fields of the pass that it ends.
fn tell_panic(panic: &panic::PanicHookInfo<'_>) {
    let place = panic.location().map(ToString::to_string).unwrap_or_default();
    let message = panic.payload_as_str().unwrap_or("something that is no text");
    tracing::error!(place, panic = message, "a bug: please report it");
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

    /// Events in spans, as JSON lines.
    fn json_lines(events: impl FnOnce()) -> Vec<serde_json::Value> {
        let shown = Shared::default();
        let writer = shown.clone();
        let logs = tracing_subscriber::fmt()
            .fmt_fields(JsonFields::new())
            .event_format(json::Flat)
            .with_writer(move || writer.clone());
        tracing::subscriber::with_default(logs.finish(), events);
        let text = String::from_utf8(shown.0.lock().unwrap().clone()).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[test]
    fn a_line_has_what_its_spans_know_and_its_own_word_counts() {
        let lines = json_lines(|| {
            let span =
                tracing::error_span!("pass", pass = 7, database = "app", resource = tracing::field::Empty);
            let _entered = span.enter();
            span.record("resource", "PostgresDatabase ops/app");
            tracing::info!(statements = 2, "changed");
            tracing::warn!(resource = "PostgresUser ops/reader", "not ready");
        });
        assert_eq!(lines[0]["pass"], 7);
        assert_eq!(lines[0]["database"], "app");
        assert_eq!(lines[0]["resource"], "PostgresDatabase ops/app");
        assert_eq!((&lines[0]["message"], &lines[0]["level"]), (&"changed".into(), &"INFO".into()));
        assert_eq!(lines[0]["statements"], 2);
        assert_eq!(lines[1]["resource"], "PostgresUser ops/reader");
        assert!(lines[1]["timestamp"].as_str().unwrap().ends_with('Z'), "{lines:?}");
    }

    #[test]
    fn a_name_in_json_is_one_line_and_moves_no_cursor_once_it_is_decoded() {
        let name = "a\n{\"level\":\"INFO\"}\u{1b}[2J\u{2028}";
        let lines = json_lines(|| {
            let span = tracing::error_span!("pass", database = name);
            span.in_scope(|| tracing::warn!(%name, "drift: {name}"));
        });
        assert_eq!(lines.len(), 1, "{lines:?}");
        for field in ["database", "name", "message"] {
            let shown = lines[0][field].as_str().unwrap();
            assert_eq!(crate::events::without_controls(shown), shown, "{field}");
        }
        assert_eq!(lines[0]["level"], "WARN");
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
