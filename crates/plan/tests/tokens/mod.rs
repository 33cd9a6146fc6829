//! Statements as a server's lexer takes them apart (PostgreSQL manual, "Lexical Structure").

use std::{iter::Peekable, str::Chars};

/// What a statement consists of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Token {
    /// A key word, or a run of signs.
    Plain(String),
    Name(String),
    Text(String),
}

pub(crate) fn tokens(statement: &str) -> Vec<Token> {
    let mut rest = statement.chars().peekable();
    let mut tokens = Vec::new();
    while let Some(first) = rest.next() {
        tokens.push(match first {
            ' ' => continue,
            '"' => Token::Name(quoted(&mut rest, '"', false)),
            '\'' => Token::Text(quoted(&mut rest, '\'', false)),
            'E' if rest.next_if_eq(&'\'').is_some() => Token::Text(quoted(&mut rest, '\'', true)),
            first => {
                let mut word = String::from(first);
                while let Some(next) = rest.next_if(char::is_ascii_alphabetic) {
                    word.push(next);
                }
                Token::Plain(word)
            }
        });
    }
    tokens
}

/// Up to the quote that ends it.
fn quoted(rest: &mut Peekable<Chars<'_>>, quote: char, has_escapes: bool) -> String {
    let mut text = String::new();
    while let Some(next) = rest.next() {
        let doubled = next == quote && rest.next_if_eq(&quote).is_some();
        if next == quote && !doubled {
            return text;
        }
        // All that we escape is the backslash itself.
        if next == '\\' && has_escapes {
            assert_eq!(rest.next(), Some('\\'), "an escape that means something");
        } else {
            // A server without `standard_conforming_strings` would take it for an escape.
            assert!(quote == '"' || next != '\\', "a backslash in a plain string");
        }
        text.push(next);
    }
    panic!("not terminated")
}
