//! HTTP to the letter: the requests that a client may send, and the responses that it must get, over real sockets.
//! There is one row for each case, named after its section of RFC 9110, 9111, 9112 or 3986. README.md describes how to
//! add one.

mod app;
mod reader;
mod row;
mod run;
mod sites;
#[allow(dead_code, unused_imports, reason = "two suites use it, each a part")]
#[path = "../transport/mod.rs"]
mod transport; // the same tests over another transport
mod tree;
// One table for each topic.
mod answers;
mod caching;
mod chunks;
mod conditions;
mod connections;
mod dates;
mod expectations;
mod fields;
mod framing;
mod hosts;
mod limits;
mod lines;
mod methods;
mod negotiation;
mod paths;
mod ranges;
mod targets;
mod types;
mod documents;
mod pairs;

macro_rules! tables {
    ($($topic:ident)*) => {
        $(#[test]
        fn $topic() {
            run::run($topic::rows());
        })*

        /// All rows.
        fn all_rows() -> Vec<row::Row> {
            [$($topic::rows()),*].into_iter().flatten().collect()
        }
    };
}

tables! {
    answers caching chunks conditions connections dates expectations fields framing hosts limits lines methods negotiation paths
    ranges targets types
}

/// The rows of a third of the tables inside TLS, in fewer pieces; with `MODEST_TRANSPORTS=all` those of all tables,
/// also behind the PROXY protocol and over Unix sockets, with the same bytes.
#[test]
fn all_transports_behave_alike() {
    let transports: &[_] = if transport::runs_all() { &["tls", "proxy", "unix"] } else { &["tls"] };
    let tables = ["--skip", "documents::", "--skip", "pairs::", "--skip", "all_transports"];
    transports.iter().for_each(|transport| transport::run_over(transport, &tables));
}
