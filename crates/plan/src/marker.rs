//! Whose a role or database is: a mark in its comment.
//!
//! `COMMENT ON ROLE/DATABASE` is readable by everyone, transactional, bound to the object's number and kept by
//! `pg_dumpall`; hence it holds identifiers only. The first line is ours, a person's comment may follow below.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::Ident;

/// The key that tells our comments from others'.
const KEY: &str = "postgres-provisioner";

/// What we write on a role or database: a JSON object on the first line of its comment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Marker {
    /// Which installation of the operator.
    pub installation: String,
    /// A digest of namespace and name of the resource, which its re-created namesake shares.
    pub resource: String,
    /// The resource's uid.
    pub uid: String,
    /// Whether we made the object.
    pub origin: Origin,
    /// Whether the resource is gone and its namesake may take the object.
    pub released: bool,
}

impl Marker {
    /// The marker in this comment; `None` when there is none of ours.
    pub fn of(comment: &str) -> Option<Self> {
        match Mark::of(Some(comment)) {
            Mark::Marked(marker) => Some(marker),
            Mark::Unmarked | Mark::Adopt { .. } | Mark::Unreadable => None,
        }
    }
}

/// How an object came to be ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// We made it.
    Created,
    /// It was there before.
    Adopted,
}

/// Who asks for a role or database, and as whom it may be recognised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// What to write. [`Marker::origin`] is what a new object gets; a present one keeps its own.
    pub marker: Marker,
    /// Uids of all resources that share the object, the marker's own included.
    pub uids: BTreeSet<String>,
    /// Namespace and name of those resources, as an administrator's word of adoption spells them.
    pub names: BTreeSet<(String, String)>,
}

/// What a comment says of ownership.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Mark {
    /// No word of ours.
    Unmarked,
    /// Our marker.
    Marked(Marker),
    /// The administrator lets this resource adopt the object.
    Adopt { namespace: String, name: String },
    /// Our key with something that this version does not understand.
    Unreadable,
}

impl Mark {
    pub(crate) fn of(comment: Option<&str>) -> Self {
        let first = comment.and_then(|text| text.lines().next()).unwrap_or_default();
        let Some(fields) = parse_flat_object(first) else { return Self::Unmarked };
        let text = |key: &str| fields.get(key).cloned().unwrap_or_default();
        match fields.get(KEY).map(String::as_str) {
            None => Self::Unmarked,
            Some("adopt") => Self::Adopt { namespace: text("ns"), name: text("name") },
            Some("v1") => Self::Marked(Marker {
                installation: text("installation"),
                resource: text("resource"),
                uid: text("uid"),
                origin: if text("origin") == "adopted" { Origin::Adopted } else { Origin::Created },
                released: text("released") == "true",
            }),
            Some(_) => Self::Unreadable,
        }
    }
}

/// The comment with our marker in its first line and a person's words kept below.
pub(crate) fn comment_with(marker: &Marker, present: Option<&str>) -> String {
    let present = present.unwrap_or_default();
    let kept = match Mark::of(Some(present)) {
        Mark::Unmarked => present,
        Mark::Marked(_) | Mark::Adopt { .. } | Mark::Unreadable => {
            present.split_once('\n').map_or("", |(_, rest)| rest)
        }
    };
    if kept.is_empty() { marker.to_string() } else { format!("{marker}\n{kept}") }
}

/// Whether a role or database is the claimant's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ownership {
    /// It carries our marker.
    Ours(Origin),
    /// It does not, but `proof` shows that it may be taken.
    Adoptable,
    /// It is somebody else's.
    Foreign(Foreign),
}

/// Why an object is not the claimant's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Foreign {
    /// Nobody marked it.
    Unmarked,
    /// Another resource of this installation marked it.
    OtherResource(Origin),
    /// Another installation of the operator marked it.
    OtherInstallation,
    /// The administrator lets another resource adopt it.
    OtherMayAdopt,
    /// A later version of the operator marked it.
    Unreadable,
}

impl Foreign {
    /// In words, after "it is not touched: ".
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Unmarked => "it was there before and nothing proves that it may be taken",
            Self::OtherResource(_) => "it belongs to another resource",
            Self::OtherInstallation => "it belongs to another installation of the operator",
            Self::OtherMayAdopt => "its comment lets another resource adopt it",
            Self::Unreadable => "its marker was written by a later version of the operator",
        }
    }

    /// Whether a status that remembers the object outweighs this: the comment was lost, or a resource that shared
    /// the object is gone. A resource that was refused has no such status.
    pub(crate) const fn yields_to_record(self) -> bool {
        match self {
            Self::Unmarked | Self::OtherResource(_) => true,
            Self::OtherInstallation | Self::OtherMayAdopt | Self::Unreadable => false,
        }
    }
}

impl Claim {
    /// The claim of a tool that knows its roles and databases by one name each: `installation` tells it from other
    /// tools and from its own namesakes, `resource` is that name. An administrator's word of adoption has them as
    /// `ns` and `name`.
    ///
    /// Both are written into a comment as they are: with a quote, a backslash or a line end in them the marker
    /// could not be read back, and the object would be nobody's.
    pub fn new(installation: impl Into<String>, resource: impl Into<String>) -> Self {
        let (installation, resource) = (installation.into(), resource.into());
        let uids = [resource.clone()].into();
        let names = [(installation.clone(), resource.clone())].into();
        let marker = Marker {
            installation,
            uid: resource.clone(),
            resource,
            origin: Origin::Created,
            released: false,
        };
        Self { marker, uids, names }
    }

    /// Judges a comment. Whether an unmarked object may be taken is the caller's to prove.
    pub(crate) fn judge(&self, comment: Option<&str>) -> Ownership {
        match Mark::of(comment) {
            Mark::Marked(found) if found.installation != self.marker.installation => {
                Ownership::Foreign(Foreign::OtherInstallation)
            }
            Mark::Marked(found) if self.recognises(&found) => Ownership::Ours(found.origin),
            Mark::Marked(found) => Ownership::Foreign(Foreign::OtherResource(found.origin)),
            Mark::Adopt { namespace, name } => self.judge_adoption(&(namespace, name)),
            Mark::Unreadable => Ownership::Foreign(Foreign::Unreadable),
            Mark::Unmarked => Ownership::Foreign(Foreign::Unmarked),
        }
    }

    /// Whether the comment marks an object of this origin for one of the sharers: one's marker is as good as another's.
    pub(crate) fn is_marked(&self, comment: Option<&str>, origin: Origin) -> bool {
        match Mark::of(comment) {
            Mark::Marked(found) => {
                found.installation == self.marker.installation
                    && self.uids.contains(&found.uid)
                    && found.origin == origin
                    && !found.released
            }
            Mark::Unmarked | Mark::Adopt { .. } | Mark::Unreadable => false,
        }
    }

    fn judge_adoption(&self, resource: &(String, String)) -> Ownership {
        if self.names.contains(resource) {
            Ownership::Adoptable
        } else {
            Ownership::Foreign(Foreign::OtherMayAdopt)
        }
    }

    fn recognises(&self, found: &Marker) -> bool {
        self.uids.contains(&found.uid) || found.resource == self.marker.resource
    }

    /// The marker that an object of this origin should carry.
    pub(crate) fn marker_for(&self, origin: Origin) -> Marker {
        Marker { origin, ..self.marker.clone() }
    }
}

/// How an administrator lets a resource adopt a role.
pub(crate) fn adoption_hint(role: &Ident, claim: &Claim) -> String {
    let (namespace, name) = claim.names.first().cloned().unwrap_or_default();
    format!(
        "put its password into the Secret, or run: COMMENT ON ROLE {role} IS \
         '{{\"{KEY}\":\"adopt\",\"ns\":\"{namespace}\",\"name\":\"{name}\"}}'"
    )
}

impl fmt::Display for Marker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { installation, resource, uid, .. } = self;
        write!(f, r#"{{"{KEY}":"v1","installation":"{installation}","resource":"{resource}","uid":"{uid}""#)?;
        match self.origin {
            Origin::Created => (),
            Origin::Adopted => f.write_str(r#","origin":"adopted""#)?,
        }
        if self.released {
            f.write_str(r#","released":"true""#)?;
        }
        f.write_str("}")
    }
}

/// A JSON object whose values are strings without escapes: all that a marker needs. A comment is written by
/// strangers, so anything else is simply not a marker.
fn parse_flat_object(line: &str) -> Option<BTreeMap<String, String>> {
    let mut rest = line.trim().strip_prefix('{')?.strip_suffix('}')?.trim();
    let mut fields = BTreeMap::new();
    while !rest.is_empty() {
        let (key, after) = take_string(rest)?;
        let (value, after) = take_string(after.trim_start().strip_prefix(':')?.trim_start())?;
        fields.insert(key.to_owned(), value.to_owned());
        rest = match after.trim_start() {
            "" => "",
            more => Some(more.strip_prefix(',')?.trim_start()).filter(|more| !more.is_empty())?,
        };
    }
    Some(fields)
}

fn take_string(text: &str) -> Option<(&str, &str)> {
    let (value, rest) = text.strip_prefix('"')?.split_once('"')?;
    (!value.contains('\\')).then_some((value, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marker(uid: &str) -> Marker {
        Marker {
            installation: "i".into(),
            resource: "r".into(),
            uid: uid.into(),
            origin: Origin::Created,
            released: false,
        }
    }

    fn claim(uid: &str) -> Claim {
        let names = [("shop".to_owned(), "reader".to_owned())].into();
        Claim { marker: Marker { resource: uid.into(), ..marker(uid) }, uids: [uid.to_owned()].into(), names }
    }

    #[test]
    fn a_marker_is_read_back_as_written() {
        let released = Marker { origin: Origin::Adopted, released: true, ..marker("u") };
        for marker in [marker("u"), released] {
            assert_eq!(Mark::of(Some(&marker.to_string())), Mark::Marked(marker));
        }
    }

    #[test]
    fn words_below_the_marker_are_kept() {
        let comment = comment_with(&marker("u"), Some("nightly reports"));
        assert_eq!(comment, format!("{}\nnightly reports", marker("u")));
        assert_eq!(comment_with(&marker("v"), Some(&comment)), format!("{}\nnightly reports", marker("v")));
    }

    #[test]
    fn another_resource_or_installation_is_foreign() {
        let other = Marker { installation: "j".into(), ..marker("u") };
        assert!(matches!(claim("u").judge(Some(&other.to_string())), Ownership::Foreign(_)));
        assert!(matches!(claim("v").judge(Some(&marker("u").to_string())), Ownership::Foreign(_)));
        assert_eq!(claim("u").judge(Some(&marker("u").to_string())), Ownership::Ours(Origin::Created));
    }

    #[test]
    fn an_administrators_word_lets_the_named_resource_adopt() {
        let word = r#"{ "postgres-provisioner" : "adopt", "ns":"shop", "name":"reader" }"#;
        assert_eq!(claim("u").judge(Some(word)), Ownership::Adoptable);
        assert!(matches!(claim("u").judge(Some(&word.replace("shop", "bank"))), Ownership::Foreign(_)));
    }

    #[test]
    fn a_strangers_comment_is_no_marker() {
        for comment in
            ["", "{", "{}", "{\"a\":1}", "{\"a\":\"b\",}", "nightly", "{\"a\":\"\\u0000\"}", "[\"a\"]"]
        {
            assert_eq!(Mark::of(Some(comment)), Mark::Unmarked, "{comment}");
        }
    }
}
