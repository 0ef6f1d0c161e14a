//! Common mistakes, each a program in `snippets`, and the compiler's messages for them.
//!
//! The first lines of a program contain the expected result: the code of its error, and texts that the message must
//! contain. Messages of the library are complete; of the compiler's own words only the helpful ones are checked.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// The programs, by name.
fn snippets() -> BTreeMap<String, String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("snippets");
    let paths = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let named = paths.map(|path| {
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        (name, std::fs::read_to_string(&path).unwrap())
    });
    named.collect()
}

/// The error of each program: its code, and its message as it is printed. One run checks all of them, without a
/// network.
fn errors(names: impl Iterator<Item = String>) -> BTreeMap<String, (String, String)> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let package = Path::new(env!("CARGO_TARGET_TMPDIR")).join("mistakes");
    std::fs::create_dir_all(&package).unwrap();
    let root = here.join("../..");
    let mut manifest = format!(
        "[package]\nname = \"mistakes\"\nversion = \"0.0.0\"\nedition = \"2024\"\n[workspace]\n\
         [dependencies]\nmodest = {{ path = {root:?}, default-features = false, features = [\"json\"] }}\n"
    );
    for name in names {
        let path = here.join("snippets").join(format!("{name}.rs"));
        manifest.push_str(&format!("[[bin]]\nname = {name:?}\npath = {path:?}\n"));
    }
    std::fs::write(package.join("Cargo.toml"), manifest).unwrap();
    std::fs::copy(here.join("../Cargo.lock"), package.join("Cargo.lock")).unwrap();
    let output = Command::new(env!("CARGO"))
        .args(["check", "--offline", "--bins", "--keep-going", "--message-format=json"])
        .current_dir(&package)
        .env("CARGO_TARGET_DIR", package.join("target"))
        .output()
        .unwrap();
    let mut errors = BTreeMap::new();
    for line in String::from_utf8(output.stdout).unwrap().lines() {
        let told: Value = serde_json::from_str(line).unwrap();
        let message = &told["message"];
        if let (Some("error"), Some(code)) = (message["level"].as_str(), message["code"]["code"].as_str()) {
            let name = told["target"]["name"].as_str().unwrap().to_owned();
            let printed = message["rendered"].as_str().unwrap().to_owned();
            errors.entry(name).or_insert((code.to_owned(), printed));
        }
    }
    assert!(!errors.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    errors
}

#[test]
fn each_mistake_prints_the_expected_error() {
    let snippets = snippets();
    let errors = errors(snippets.keys().cloned());
    let mut failed = Vec::new();
    for (name, text) in &snippets {
        let Some((code, printed)) = errors.get(name) else {
            failed.push(format!("{name} compiles"));
            continue;
        };
        let mut expected = text.lines().map_while(|line| line.strip_prefix("//~ "));
        if expected.next() != Some(code) || !expected.all(|text| printed.contains(text)) {
            failed.push(format!("{name}: {printed}"));
        }
    }
    assert!(
        failed.is_empty() && snippets.len() >= 20,
        "{} of {}:\n{}",
        failed.len(),
        snippets.len(),
        failed.join("\n")
    );
}
