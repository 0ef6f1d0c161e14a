//! The rows and docs/conformance.md agree: cited rows exist, each row has one name, and each section with rows is
//! mentioned.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use crate::all_rows;

/// Row names are unique.
#[test]
fn rows_are_numerous_and_distinct() {
    let rows = all_rows();
    assert!(rows.len() >= 300, "only {}", rows.len());
    let mut names = BTreeSet::new();
    let mut alike = Vec::new();
    let mut wires = BTreeMap::new();
    for row in &rows {
        assert!(names.insert(row.name), "two rows are named {:?}", row.name);
        let sent: Vec<_> = row.steps.iter().map(|step| (step.bytes.clone(), step.ends)).collect();
        let looked_for =
            row.steps.iter().flat_map(|step| &step.wants).map(|want| format!("{want:?}")).collect::<String>();
        if let Some(other) = wires.insert((row.site as usize, sent, looked_for), row.name) {
            alike.push((row.name, other));
        }
        let mut words = row.name.split(' ');
        let rfc = words.next().unwrap_or_default();
        let section = words.next().unwrap_or_default();
        let sound =
            rfc.len() == 4 && section.split('.').all(|part| part.parse::<u8>().is_ok()) && words.next().is_some();
        assert!(sound && rfc.parse::<u16>().is_ok(), "RFC, section and a word: {:?}", row.name);
    }
    assert!(alike.is_empty(), "these rows are equal: {alike:#?}");
}

/// Each row and each test that the document cites exists, and each section of RFC 9110, 9111 and 9112 with rows has a
/// line.
#[test]
fn documented_rules_are_tested() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let document = fs::read_to_string(root.join("docs/conformance.md")).expect("docs/conformance.md");
    let rows = all_rows();
    let names: BTreeSet<&str> = rows.iter().map(|row| row.name).collect();
    let mut sections = BTreeSet::new();
    let mut cited = 0;
    for line in document.lines().filter(|line| line.starts_with("| ")) {
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        sections.insert(cells[0].to_owned());
        for name in cells.last().unwrap_or(&"").split('`').skip(1).step_by(2) {
            cited += 1;
            assert!(
                names.contains(name) || is_a_test(root, name),
                "docs/conformance.md cites {name:?}, which is not there"
            );
        }
    }
    assert!(cited >= 150, "only {cited} tests are cited");
    for row in &rows {
        let mut words = row.name.split(' ');
        let section = [words.next(), words.next()].map(Option::unwrap_or_default).join(" ");
        let spoken_of = ["9110 ", "9111 ", "9112 "].iter().any(|rfc| section.starts_with(rfc));
        assert!(!spoken_of || sections.contains(&section), "docs/conformance.md has no line for {section:?}");
    }
}

/// `tests/talk/expect.rs: a_name`, or a file alone.
fn is_a_test(root: &Path, cited: &str) -> bool {
    let (file, name) = cited.split_once(": ").unwrap_or((cited, ""));
    cited.contains(".rs") && fs::read_to_string(root.join(file)).is_ok_and(|text| text.contains(&format!("fn {name}")))
}
