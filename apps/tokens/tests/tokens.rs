//! Valid tokens, and tokens that are invalid for each possible reason.

#[path = "../../../tests/built/mod.rs"]
mod built;

use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use built::{Answer, Built};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};

const SECRET: &str = "a secret of at least 32 bytes, as RFC 7518 wants";

fn token(algorithm: Algorithm, secret: &str, change: impl FnOnce(&mut Value)) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let mut claims =
        json!({ "sub": "ada", "tenant": "7", "roles": ["admin", "writer"], "aud": "notes", "exp": now + 600 });
    change(&mut claims);
    encode(&Header::new(algorithm), &claims, &EncodingKey::from_secret(secret.as_bytes())).unwrap()
}

fn ask(server: &Built, target: &str, token: &str) -> Answer {
    server.ask("GET", target, &[&format!("Authorization: Bearer {token}")], "")
}

#[test]
fn claims_become_the_user_and_wrong_tokens_are_rejected() {
    let server = Built::start(Command::new(env!("CARGO_BIN_EXE_tokens")).arg("127.0.0.1:0").env("JWT_SECRET", SECRET));
    let right = token(Algorithm::HS256, SECRET, |_| ());
    let me: Value = serde_json::from_str(&ask(&server, "/me", &right).body).unwrap();
    assert_eq!(me, json!({ "name": "ada", "tenant": "7", "roles": ["admin", "writer"] }));
    assert_eq!(ask(&server, "/report", &right).status, 200);
    let other = token(Algorithm::HS256, SECRET, |claims| claims["roles"] = json!(["writer"]));
    assert_eq!(ask(&server, "/report", &other).status, 403);
    let without = |name: &'static str| {
        token(Algorithm::HS256, SECRET, move |claims| _ = claims.as_object_mut().unwrap().remove(name))
    };
    let (head, rest) = right.split_once('.').unwrap();
    let (claims, _) = rest.split_once('.').unwrap();
    for (row, wrong) in [
        ("another secret", token(Algorithm::HS256, "another", |_| ())),
        ("another algorithm", token(Algorithm::HS512, SECRET, |_| ())),
        ("no algorithm", format!("eyJhbGciOiJub25lIn0.{claims}.")),
        ("no signature", format!("{head}.{claims}.")),
        ("expired", token(Algorithm::HS256, SECRET, |claims| claims["exp"] = json!(1))),
        ("for another service", token(Algorithm::HS256, SECRET, |claims| claims["aud"] = json!("mail"))),
        ("for nobody", without("sub")),
        ("without an end", without("exp")),
        ("without an audience", without("aud")),
        ("no token", "x".to_owned()),
    ] {
        let answer = ask(&server, "/me", &wrong);
        assert_eq!(answer.status, 401, "{row}: {answer:?}");
        assert!(answer.field("www-authenticate").unwrap().contains("invalid_token"), "{row}: {answer:?}");
    }
    let (_, _, log) = server.stop();
    assert!(log.iter().any(|line| line.contains("ExpiredSignature")), "{log:?}");
}
