//! What roles may do, from the rules: who owns a thing may everything; `read` is SELECT; `readwrite` is SELECT,
//! INSERT, UPDATE, DELETE, nextval and CREATE; where the resources name no access there is none.
//!
//! Nothing here knows how that is brought about.

use std::collections::BTreeSet;

use plan::{Access, Grantee, Prune, Schemas, testing::ident};

use super::{
    objects::{Objects, Relation},
    world::World,
};

type Words = BTreeSet<&'static str>;

/// What a role must have, and what it may have at most.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Bounds {
    pub(super) least: Words,
    pub(super) most: Words,
}

impl Bounds {
    fn exactly(words: Words) -> Self {
        Self { least: words.clone(), most: words }
    }

    /// Whether what was found lies between them.
    pub(super) fn hold(&self, found: &BTreeSet<String>) -> bool {
        self.least.iter().all(|word| found.contains(*word))
            && found.iter().all(|word| self.most.contains(word.as_str()))
    }

    /// Whether it is had; `None` where that is left open.
    pub(super) fn has(&self, word: &str) -> Option<bool> {
        match (self.least.contains(word), self.most.contains(word)) {
            (true, _) => Some(true),
            (false, false) => Some(false),
            (false, true) => None,
        }
    }
}

/// Every privilege on relations of this kind.
pub(super) fn all_on_relation(kind: char, major: u16) -> Words {
    if kind == 'S' {
        return Words::from(["USAGE", "SELECT", "UPDATE"]);
    }
    let maintain = (major >= 17).then_some("MAINTAIN");
    let rest = ["SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE", "REFERENCES", "TRIGGER"];
    rest.into_iter().chain(maintain).collect()
}

/// What each role may do on each thing.
pub(super) struct Oracle<'a> {
    pub(super) world: &'a World,
    pub(super) objects: &'a Objects,
}

impl Oracle<'_> {
    pub(super) fn on_relation(&self, role: &str, relation: &Relation) -> Bounds {
        let all = all_on_relation(relation.kind, self.world.major);
        if relation.owner == role {
            return Bounds::exactly(all);
        }
        let wanted = match (self.access(role, &relation.schema, &relation.owner), relation.kind) {
            (None, _) | (Some(Access::Read), 'S') => Words::new(),
            (Some(Access::Read), _) => Words::from(["SELECT"]),
            (Some(Access::ReadWrite), 'S') => Words::from(["USAGE", "SELECT"]),
            (Some(Access::ReadWrite), _) => Words::from(["SELECT", "INSERT", "UPDATE", "DELETE"]),
        };
        self.bounds(role, wanted, all)
    }

    /// Including what everybody has through PUBLIC.
    pub(super) fn on_schema(&self, role: &str, schema: &str) -> Bounds {
        let found = &self.objects.schemas[schema];
        let all = Words::from(["USAGE", "CREATE"]);
        if found.owner == role {
            return Bounds::exactly(all);
        }
        let wanted = match self.access(role, schema, &found.owner) {
            None => Words::new(),
            Some(Access::Read) => Words::from(["USAGE"]),
            Some(Access::ReadWrite) => all.clone(),
        };
        let mut bounds = self.bounds(role, wanted, all.clone());
        if self.world.owner.as_str() == role && schema == "public" && self.world.major <= 14 {
            // It belongs to the bootstrap superuser, who lets the owner in.
            let is_exact = self.world.prune != Prune::Never && !self.world.is_public_open();
            bounds = Bounds { least: if is_exact { all.clone() } else { Words::new() }, most: all.clone() };
        }
        let public: Words = all.iter().copied().filter(|word| found.public.contains(*word)).collect();
        bounds.least.extend(&public);
        bounds.most.extend(&public);
        bounds
    }

    pub(super) fn on_database(&self, role: &str) -> Bounds {
        let all = Words::from(["CONNECT", "CREATE", "TEMPORARY"]);
        if self.world.owner.as_str() == role {
            return Bounds::exactly(all);
        }
        let public: Words = all.iter().copied().filter(|word| self.objects.public.contains(*word)).collect();
        let mut bounds = self.bounds(role, Words::from(["CONNECT", "TEMPORARY"]), all);
        bounds.least.extend(&public);
        bounds.most.extend(&public);
        bounds
    }

    /// What PUBLIC must have lost.
    pub(super) fn public_is_closed(&self) -> Result<(), String> {
        if self.world.prune == Prune::Never {
            return Ok(());
        }
        let create =
            self.objects.schemas.get("public").is_some_and(|schema| schema.public.contains("CREATE"));
        match (&self.objects.public, create && !self.world.is_public_open()) {
            (found, _) if !found.is_empty() => Err(format!("PUBLIC has {found:?} on the database")),
            (_, true) => Err("PUBLIC has CREATE on schema public".to_owned()),
            (_, false) => Ok(()),
        }
    }

    fn user(&self, role: &str) -> Option<&Grantee> {
        self.world.users.iter().find(|(name, _)| name.as_str() == role).map(|(_, user)| user)
    }

    /// What the resources give on a thing in this schema, if the admin role can give it.
    fn access(&self, role: &str, schema: &str, owner: &str) -> Option<Access> {
        let user = self.user(role).filter(|_| self.world.can_act_as(owner))?;
        let includes = match &user.schemas {
            Schemas::All => true,
            Schemas::Listed(listed) => listed.contains(&ident(schema)),
        };
        includes.then_some(user.access)
    }

    fn bounds(&self, role: &str, wanted: Words, all: Words) -> Bounds {
        let keeps = self.user(role).is_some_and(|user| user.prune == Prune::Never);
        if keeps { Bounds { least: wanted, most: all } } else { Bounds::exactly(wanted) }
    }
}
