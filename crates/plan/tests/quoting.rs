//! Names and strings in statements, as a server's lexer takes them apart (PostgreSQL manual, "Lexical Structure").

extern crate postgres_provisioner_plan as plan;

mod hostile;

use std::{iter::Peekable, str::Chars};

use hostile::{name, text};
use plan::{
    Action, Cause, Ident, Literal, Privilege, Privileges, QualifiedName, Recipient, Relation, RelationKind,
    Target,
};
use proptest::prelude::*;

/// What a statement consists of.
#[derive(Debug, PartialEq, Eq)]
enum Token {
    /// A key word, or a run of signs.
    Plain(String),
    Name(String),
    Text(String),
}

fn tokens(statement: &str) -> Vec<Token> {
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

fn plain(word: &str) -> Token {
    Token::Plain(word.to_owned())
}

fn quotes(name: &Ident) -> Token {
    Token::Name(name.as_str().to_owned())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn a_name_is_one_token_whatever_is_in_it(name in name()) {
        prop_assert_eq!(tokens(&name.to_string()), [quotes(&name)]);
    }

    #[test]
    fn a_string_is_one_token_whatever_is_in_it(text in text()) {
        prop_assert_eq!(tokens(&Literal(&text).to_string()), [Token::Text(text)]);
    }

    #[test]
    fn a_statement_has_the_words_that_it_should_have_and_no_others(
        database in name(), schema in name(), table in name(), reader in name(), writer in name(), comment in text(),
    ) {
        let name = QualifiedName { schema: schema.clone(), name: table.clone() };
        let grant = Action::Grant {
            database,
            target: Target::Tables(vec![Relation { name, kind: RelationKind::Table }]),
            privileges: Privileges::of(&[Privilege::Select]),
            to: [&reader, &writer].map(|role| Recipient::Role(role.clone())).into(),
            grantor: None,
            cause: Cause::Missing,
        };
        let wanted = [
            plain("GRANT"), plain("SELECT"), plain("ON"), plain("TABLE"), quotes(&schema), plain("."), quotes(&table),
            plain("TO"), quotes(&reader), plain(","), quotes(&writer),
        ];
        prop_assert_eq!(tokens(&grant.statement()), wanted);
        let wanted = [
            plain("COMMENT"), plain("ON"), plain("ROLE"), quotes(&reader), plain("IS"), Token::Text(comment.clone()),
        ];
        prop_assert_eq!(tokens(&Action::CommentOnRole { role: reader, comment }.statement()), wanted);
    }
}
