//! Compares the program with Python, for each row of docs/from-python.md about the program that contains "the same".
//! Rows with an option that the installed Python does not have are skipped.

use std::process::Command;

use crate::built::{Answer, Built, folder, modest};

/// These rows of the table, by their first option.
const ROWS: [(&str, &[&str]); 5] = [
    ("", &[]),
    ("-d", &["-d", "{folder}"]),
    ("-H", &["-d", "{folder}", "-H", "X-One", "1", "-H", "X-Two", "2"]),
    ("--content-type", &["-d", "{folder}", "--content-type", "text/x-other"]),
    ("--tls-cert", &[]), // run beside a client of TLS in `encrypted`
];

/// Returns the output and the responses of a server, without the parts that differ by design: the port, the date, the
/// name of the server, charsets.
fn seen(server: &Built) -> (String, Vec<String>) {
    let port = server.address.port().to_string();
    let answers = ["/a.txt", "/b.html", "/c.unknown", "/sub/", "/missing"].map(|target| server.get(target));
    (server.banner.replace(&port, "PORT"), answers.iter().map(shown).collect())
}

fn shown(answer: &Answer) -> String {
    let fields = ["content-type", "x-one", "x-two"].map(|name| {
        let value = answer.field(name).unwrap_or_default();
        value.split(';').next().unwrap_or_default().to_owned()
    });
    let (body, listed) = match answer.body.starts_with("<!") {
        true => ("a page", answer.body.contains("inside.txt")),
        false => (&*answer.body, false),
    };
    let is_error = answer.status >= 400; // each program has its own page and type
    if is_error { answer.status.to_string() } else { format!("{} {fields:?} {body} {listed}", answer.status) }
}

#[test]
fn shared_cases_run_in_python_and_modest() {
    let help = Command::new("python3").args(["-m", "http.server", "--help"]).output();
    let Some(help) = help.ok().filter(|help| help.status.success()) else {
        println!("there is no Python here: not tested");
        return;
    };
    let help = String::from_utf8_lossy(&help.stdout).into_owned();
    let files = [("a.txt", "a"), ("b.html", "<!doctype html>b"), ("c.unknown", "\u{1}\u{2}"), ("sub/inside.txt", "x")];
    let files = folder(&files);
    let path = files.path().to_str().unwrap();
    for (option, words) in ROWS {
        if !help.contains(option) || option == "--tls-cert" {
            continue; // this Python is older
        }
        let words: Vec<&str> = words.iter().map(|word| if *word == "{folder}" { path } else { word }).collect();
        let words = [&["-b", "127.0.0.1"], &words[..], &["0"]].concat();
        let mut python = Command::new("python3");
        python.args(["-u", "-m", "http.server"]).args(&words).current_dir(&files);
        let (python, modest) = (Built::start(&mut python), Built::start(modest(&words).current_dir(&files)));
        assert_eq!(seen(&modest), seen(&python), "{words:?}");
    }
}

/// A new row of the page has to be added here.
#[test]
fn each_option_that_the_page_calls_equal_is_tested_here() {
    let page = std::fs::read_to_string(crate::built::root().join("docs/from-python.md")).unwrap();
    let (_, rows) = page.split_once("\n## The program\n").unwrap();
    let rows = rows.split("\n## ").next().unwrap().lines().filter(|row| row.contains("the same"));
    let options: Vec<&str> = rows.map(|row| row.split('`').nth(1).unwrap().split([' ', '`']).next().unwrap()).collect();
    assert_eq!(options, ["-d", "-H", "--content-type", "--tls-cert", "Serving"]);
}
