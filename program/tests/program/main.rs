//! The program as its users run it, and checks of documents against the code.

#[path = "../../../tests/built/mod.rs"]
mod built; // a program that a test starts and uses

mod access; // users and rights
mod command; // options and their effects
mod encrypted; // TLS
mod handed; // sockets from a parent process
mod kept; // connections to another server
mod memory; // the memory of idle clients
mod metrics; // metrics
mod proxied; // requests for another server
mod python; // behaviour that equals Python's, compared with an installed Python
mod readme; // documents against code
mod settings; // the settings of the library, their tables and defaults

/// Whether one of these options needs what this system lacks. If so, checks that it is rejected with a sentence.
fn is_rejected_by_the_system(words: &[&str]) -> bool {
    let is_linux = cfg!(all(target_os = "linux", not(modest_portable)));
    let Some(option) = words.iter().find(|word| ["--confine", "--user"].contains(word)).filter(|_| !is_linux) else {
        return false;
    };
    let value = (*option == "--user").then_some("0:0");
    let (status, out, err) = built::run(built::modest(["-p", "0", option]).args(value));
    assert!(status == Some(2) && out.is_empty() && err.contains(&format!("{option} needs Linux")), "{out}{err}");
    true
}
