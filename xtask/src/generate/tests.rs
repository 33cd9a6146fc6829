use super::*;

const PAGE: &str = "# Page\n<!-- generated: fields -->\nold\n<!-- end -->\nprose\n";

#[test]
fn a_section_is_replaced_and_the_prose_around_it_stays() {
    let page = replace_section(PAGE, "fields", "new").unwrap();
    assert_eq!(page, "# Page\n<!-- generated: fields -->\n\nnew\n\n<!-- end -->\nprose\n");
    assert_eq!(replace_section(&page, "fields", "new").unwrap(), page);
}

#[test]
fn a_missing_marker_is_an_error() {
    assert!(replace_section(PAGE, "status", "").is_err());
    assert!(replace_section("<!-- generated: fields -->\n", "fields", "").is_err());
}

#[test]
fn generating_again_gives_the_same_text() {
    let contents = || crds::files().unwrap().into_iter().map(|file| file.contents).collect::<Vec<_>>();
    assert_eq!(contents(), contents());
}

#[test]
fn a_table_cell_stays_on_its_line() {
    let cells = [["a | b".to_owned(), "two\nlines".to_owned()]];
    assert_eq!(docs::table(["x", "y"], &cells), "| x | y |\n|---|---|\n| a \\| b | two lines |");
}
