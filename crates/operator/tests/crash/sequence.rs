//! What the program has done to others, in order, and its end after one of these effects.

use std::process::Child;
use std::sync::{Mutex, MutexGuard, PoisonError};

use testbed::postgres::is_change;

/// How much of a statement is shown.
const SHOWN: usize = 70;

/// After which effect the process is killed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kill {
    /// After the one of this number, from 1.
    Nth(usize),
    /// After the first of this text.
    First(String),
}

/// The effects of one program on all others.
#[derive(Default)]
pub(crate) struct Sequence(Mutex<State>);

#[derive(Default)]
struct State {
    process: Option<Child>,
    /// When the process is killed; effects count while it is still to come.
    until: Option<Kill>,
    effects: Vec<String>,
    /// The last statement.
    statement: String,
    /// The effect after which it was killed.
    killed: Option<String>,
}

impl Sequence {
    /// The process whose effects these are from now on; one before it is killed.
    pub(crate) fn run(&self, process: Child) {
        let before = self.state().process.replace(process);
        before.into_iter().for_each(end);
    }

    /// Counts from now on, and kills the process directly after this effect.
    pub(crate) fn arm(&self, kill: Kill) {
        let mut state = self.state();
        let process = state.process.take();
        *state = State { process, until: Some(kill), ..State::default() };
    }

    /// Kills the process, if there is one.
    pub(crate) fn end(&self) {
        self.state().process.take().into_iter().for_each(end);
    }

    /// Whether the process has not ended.
    pub(crate) fn lives(&self) -> bool {
        self.state().process.as_mut().is_some_and(|process| process.try_wait().unwrap().is_none())
    }

    /// Counts no longer.
    pub(crate) fn disarm(&self) {
        self.state().until = None;
    }

    /// The effect after which the process was killed.
    pub(crate) fn killed(&self) -> Option<String> {
        self.state().killed.clone()
    }

    /// Every effect that was counted.
    pub(crate) fn effects(&self) -> Vec<String> {
        self.state().effects.clone()
    }

    /// Notes a statement.
    pub(crate) fn statement(&self, text: &str) {
        if is_change(text) {
            // No password, nor what is made of it, is for anybody to see.
            let text = text.split(" PASSWORD ").next().unwrap_or_default();
            let text: String = text.chars().take(SHOWN).collect();
            let before = std::mem::replace(&mut self.state().statement, text.clone());
            // One is not like another: what is there for good from now on?
            self.note(if text == "COMMIT" { format!("COMMIT after {before}") } else { text });
        }
    }

    /// Notes an effect.
    pub(crate) fn note(&self, effect: String) {
        let mut state = self.state();
        let Some(until) = state.until.clone() else { return };
        state.effects.push(effect.clone());
        let is_last = match until {
            Kill::Nth(number) => state.effects.len() == number,
            Kill::First(text) => effect == text,
        };
        if is_last {
            // Nobody learns of another effect before it is dead.
            state.process.take().into_iter().for_each(end);
            (state.until, state.killed) = (None, Some(effect));
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn end(mut process: Child) {
    // It may have ended by itself.
    _ = process.kill();
    _ = process.wait();
}
