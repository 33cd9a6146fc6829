//! Names and strings in statements, as a server's lexer takes them apart (PostgreSQL manual, "Lexical Structure").

extern crate postgres_provisioner_plan as plan;

mod cases;
mod hostile;
mod tokens;

use hostile::{name, text};
use plan::{
    Action, Cause, Ident, Literal, Privilege, Privileges, QualifiedName, Recipient, Relation, RelationKind,
    Target,
};
use proptest::prelude::*;
use tokens::{Token, tokens};

fn plain(word: &str) -> Token {
    Token::Plain(word.to_owned())
}

fn quotes(name: &Ident) -> Token {
    Token::Name(name.as_str().to_owned())
}

proptest! {
    #![proptest_config(cases::config(2_000))]

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
