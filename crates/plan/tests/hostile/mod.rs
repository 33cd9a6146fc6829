//! Names and strings that break whatever does not quote.

use plan::Ident;
use proptest::prelude::*;

/// What ends, escapes, comments out, expands or looks like something else.
const PARTS: [&str; 52] = [
    "\"", "\"\"", "'", "''", "\\", "\\'", "\\\"", "$$", "$user", "$1", "%", "%s", "%I", ";", "--", "/*",
    "*/", " ", "\t", "\n", "\r\n", ".", ",", "(", ")", "[", "{", "=", "/", "*", "@", ":", "::", "`", "U&\"",
    "E'", "A", "a", "é", "ß", "İ", "日本", "😀", "e\u{301}", "\u{202e}", "\u{feff}", "\u{a0}", "\u{1}",
    "\u{7f}", "select", "public", "pg_",
];

/// Names that have to be among the tried ones: words with a meaning, and the longest.
pub(crate) const WORDS: [&str; 16] = [
    "user",
    "USER",
    "User",
    "select",
    "all",
    "default",
    "current_user",
    "$user",
    "pg_x",
    "PG_X",
    " ",
    "a.b",
    "a\"b",
    "0",
    // 63 bytes: of one byte each, and with one of two at the very end.
    "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
    "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxé",
];

/// Any text without NUL, mostly hostile.
pub(crate) fn text() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        4 => prop::sample::select(&PARTS[..]).prop_map(str::to_owned),
        1 => any::<char>().prop_filter("NUL cannot be sent", |c| *c != '\0').prop_map(String::from),
    ];
    prop::collection::vec(part, 1..24).prop_map(|parts| parts.concat())
}

/// Any name, many of them as long as a name can be.
pub(crate) fn name() -> impl Strategy<Value = Ident> {
    let made = text().prop_map(|mut text| {
        text.truncate(text.floor_char_boundary(63));
        text.parse().expect("1 to 63 bytes without NUL")
    });
    prop_oneof![1 => prop::sample::select(&WORDS[..]).prop_map(|word| word.parse().expect("short")), 5 => made]
}
