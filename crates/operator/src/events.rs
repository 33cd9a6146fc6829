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
use tokio::sync::mpsc::{Sender, channel};
use tokio::time::timeout;

use crate::api::OPERATOR;
use crate::conditions::EventKind;

/// How long the others wait for one.
const PATIENCE: Duration = Duration::from_secs(5);
/// How many may wait to be written. What comes on top of that while the API server takes none is not said.
const QUEUE: usize = 1_000;
/// The API server's limit for `note`.
const LONGEST_NOTE: usize = 1024;
/// How long an event may be counted up instead of written again.
const SERIES: SignedDuration = SignedDuration::from_mins(6);

/// How many events of one reason on one resource are told apart: whoever may change a server could have many written.
const MOST_NOTES: usize = 8;
/// What is said in place of more.
const MORE: &str = "more of the same, in other words: see the status";
/// How often the same is said before it is no longer counted up at once.
const AT_ONCE: i32 = 10;
/// How long it is collected then.
const COLLECTED: SignedDuration = SignedDuration::from_secs(30);

/// Writes events in the background, one after the other: no pass waits for one, none fails for one, and many do not
/// keep the API server from what passes ask for.
pub struct Events {
    sender: Sender<Saying>,
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
    /// When the count was last told.
    told: Timestamp,
}

/// What becomes of something that is said.
#[derive(Debug, PartialEq, Eq)]
enum Telling {
    /// It is an event of its own.
    New,
    /// It is counted up on the event of this name.
    Again(String, i32),
    /// It is counted, and told later.
    Later,
}

impl Events {
    /// Nothing has been said yet.
    pub fn new(client: Client) -> Self {
        let (sender, mut sayings) = channel::<Saying>(QUEUE);
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
        if let Err(error) = self.sender.try_send(saying) {
            tracing::debug!(%error, "event not written");
        }
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
        self.written.retain(|_, event| now.duration_since(event.last) < SERIES);
        let said = self.bounded((regarding.uid.clone().unwrap_or_default(), kind.reason, note));
        let api: Api<Event> =
            Api::namespaced(self.client.clone(), regarding.namespace.as_deref().unwrap_or("default"));
        match self.telling(&said, now) {
            Telling::New => (),
            Telling::Later => return Ok(()),
            Telling::Again(name, count) => {
                let series = EventSeries { count, last_observed_time: MicroTime(now) };
                let patch = Patch::Merge(json!({ "series": series }));
                return api.patch(&name, &PatchParams::default(), &patch).await.map(|_| ());
            }
        }
        let name = format!("{}.{:x}", regarding.name.as_deref().unwrap_or(OPERATOR), now.as_nanosecond());
        let event = event(name.clone(), regarding, kind, said.2.clone(), now);
        api.create(&PostParams::default(), &event).await?;
        self.written.insert(said, Written { name, count: 1, last: now, told: now });
        Ok(())
    }

    /// The same, or that there is more than is told apart.
    fn bounded(&self, said: Said) -> Said {
        let is_alike = |other: &&Said| (&other.0, other.1) == (&said.0, said.1);
        let is_known = self.written.contains_key(&said);
        if is_known || self.written.keys().filter(is_alike).count() < MOST_NOTES {
            return said;
        }
        (said.0, said.1, MORE.to_owned())
    }

    fn telling(&mut self, said: &Said, now: Timestamp) -> Telling {
        let Some(event) = self.written.get_mut(said) else { return Telling::New };
        event.count += 1;
        event.last = now;
        if event.count > AT_ONCE && now.duration_since(event.told) < COLLECTED {
            return Telling::Later;
        }
        event.told = now;
        Telling::Again(event.name.clone(), event.count)
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

    fn writer() -> Writer {
        let config = kube::Config::new("http://localhost".parse().unwrap());
        Writer { client: Client::try_from(config).unwrap(), written: BTreeMap::new() }
    }

    fn said(note: &str) -> Said {
        ("uid".to_owned(), "DriftRepaired", note.to_owned())
    }

    fn second(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[tokio::test]
    async fn many_notes_of_one_reason_become_one() {
        let mut writer = writer();
        let written =
            |name: &str| Written { name: name.to_owned(), count: 1, last: second(0), told: second(0) };
        for number in 0..100 {
            let said = writer.bounded(said(&format!("table t{number}")));
            if writer.telling(&said, second(0)) == Telling::New {
                writer.written.insert(said, written("event"));
            }
        }
        let notes: Vec<_> = writer.written.keys().map(|said| said.2.as_str()).collect();
        assert_eq!((notes.len(), notes[0]), (MOST_NOTES + 1, MORE));
        // Others are not concerned.
        let other = ("uid".to_owned(), "Extended", "schema".to_owned());
        assert_eq!(writer.bounded(other.clone()), other);
    }

    #[tokio::test]
    async fn what_is_said_all_the_time_is_told_now_and_then() {
        let mut writer = writer();
        let written = Written { name: "event".to_owned(), count: 1, last: second(0), told: second(0) };
        writer.written.insert(said("a"), written);
        let told = (1..=3_600).filter(|at| writer.telling(&said("a"), second(*at)) != Telling::Later);
        assert_eq!(told.count(), 9 + 119);
        assert_eq!(writer.written[&said("a")].count, 3_601);
    }

    #[test]
    fn a_note_is_one_line_and_moves_no_cursor() {
        assert_eq!(presentable("a\nb\u{1b}[2Jc\u{202e}d", 99), "a\\nb\\u{1b}[2Jc\\u{202e}d");
    }
}
