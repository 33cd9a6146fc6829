//! Events on resources. Kube's own recorder takes repeated reasons for repeated events and keeps the first note;
//! here an event is repeated only when its words are.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::{Event, EventSeries};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::api::{Patch, PatchParams, PostParams};
use kube::runtime::events::EventType;
use kube::{Api, Client};
use serde_json::json;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::time::timeout;

use crate::api::OPERATOR;
use crate::conditions::EventKind;

/// How long the others wait for one.
const PATIENCE: Duration = Duration::from_secs(5);
/// The API server's limit for `note`.
const LONGEST_NOTE: usize = 1024;
/// How long an event may be counted up instead of written again.
const SERIES: SignedDuration = SignedDuration::from_mins(6);

/// Writes events in the background, one after the other: no pass waits for one, none fails for one, and many do not
/// keep the API server from what passes ask for.
pub struct Events {
    sender: UnboundedSender<Saying>,
}

/// Something about a resource that is still to be written.
struct Saying {
    regarding: ObjectReference,
    kind: EventKind,
    note: String,
}

/// What makes two events the same: resource, reason, note.
type Said = (String, &'static str, String);

struct Written {
    name: String,
    count: i32,
    last: Timestamp,
}

impl Events {
    /// Nothing has been said yet.
    pub fn new(client: Client) -> Self {
        let (sender, mut sayings) = unbounded_channel::<Saying>();
        tokio::spawn(async move {
            let mut writer = Writer { client, written: BTreeMap::new() };
            while let Some(saying) = sayings.recv().await {
                let reason = saying.kind.reason;
                // A namespace that is being deleted takes no event; nothing else depends on one.
                match timeout(PATIENCE, writer.write(saying)).await {
                    Ok(Ok(())) => (),
                    Ok(Err(error)) => tracing::debug!(%error, reason, "event not written"),
                    Err(_) => tracing::debug!(reason, "event not written in time"),
                }
            }
        });
        Self { sender }
    }

    /// Says something about a resource.
    pub fn publish(&self, regarding: ObjectReference, kind: impl Into<EventKind>, note: &str) {
        let saying = Saying { regarding, kind: kind.into(), note: presentable(note, LONGEST_NOTE) };
        // Nobody writes any more when the runtime ends.
        _ = self.sender.send(saying);
    }
}

/// What was written of late.
struct Writer {
    client: Client,
    written: BTreeMap<Said, Written>,
}

impl Writer {
    async fn write(&mut self, Saying { regarding, kind, note }: Saying) -> Result<(), kube::Error> {
        let now = Timestamp::now();
        let said = (regarding.uid.clone().unwrap_or_default(), kind.reason, note.clone());
        let api: Api<Event> =
            Api::namespaced(self.client.clone(), regarding.namespace.as_deref().unwrap_or("default"));
        if let Some((name, count)) = self.repeat(&said, now) {
            let series = EventSeries { count, last_observed_time: MicroTime(now) };
            let patch = Patch::Merge(json!({ "series": series }));
            return api.patch(&name, &PatchParams::default(), &patch).await.map(|_| ());
        }
        let name = format!("{}.{:x}", regarding.name.as_deref().unwrap_or(OPERATOR), now.as_nanosecond());
        let event = event(name.clone(), regarding, kind, note, now);
        api.create(&PostParams::default(), &event).await?;
        self.written.insert(said, Written { name, count: 1, last: now });
        Ok(())
    }

    /// The event that says the same already, and how often it has been said by now.
    fn repeat(&mut self, said: &Said, now: Timestamp) -> Option<(String, i32)> {
        self.written.retain(|_, event| now.duration_since(event.last) < SERIES);
        let event = self.written.get_mut(said)?;
        event.count += 1;
        event.last = now;
        Some((event.name.clone(), event.count))
    }
}

fn event(name: String, regarding: ObjectReference, kind: EventKind, note: String, now: Timestamp) -> Event {
    let event_type = match kind.event_type {
        EventType::Normal => "Normal",
        EventType::Warning => "Warning",
    };
    Event {
        metadata: ObjectMeta {
            name: Some(name),
            namespace: regarding.namespace.clone(),
            ..ObjectMeta::default()
        },
        action: Some("Reconcile".to_owned()),
        event_time: Some(MicroTime(now)),
        note: Some(note),
        reason: Some(kind.reason.to_owned()),
        regarding: Some(regarding),
        reporting_controller: Some(OPERATOR.to_owned()),
        reporting_instance: Some(OPERATOR.to_owned()),
        type_: Some(event_type.to_owned()),
        ..Event::default()
    }
}

/// The text as a person may see it: cut where it is longer than so many bytes, on one line and without codes that a
/// terminal would obey. It may hold names that a tenant chose.
pub fn presentable(text: &str, bytes: usize) -> String {
    let text = without_controls(text);
    if text.len() <= bytes {
        return text;
    }
    let end = (0..=bytes - '…'.len_utf8()).rev().find(|at| text.is_char_boundary(*at)).unwrap_or_default();
    format!("{}…", &text[..end])
}

/// The text with its control characters written out.
pub fn without_controls(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            // Separators of lines, and what turns the direction of writing around.
            '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                plain.extend(character.escape_unicode());
            }
            _ if character.is_control() => plain.extend(character.escape_default()),
            _ => plain.push(character),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_note_is_cut_between_characters() {
        assert_eq!(presentable("short", 10), "short");
        let cut = presentable(&"ä".repeat(600), 1024);
        assert!(cut.len() <= 1024 && cut.ends_with("ä…"));
    }

    #[test]
    fn a_note_is_one_line_and_moves_no_cursor() {
        assert_eq!(presentable("a\nb\u{1b}[2Jc\u{202e}d", 99), "a\\nb\\u{1b}[2Jc\\u{202e}d");
    }
}
