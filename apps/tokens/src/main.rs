//! JSON Web Tokens (RFC 7519): a crate checks the signature, the audience and the age of each token, and its claims become the
//! roles and claims of the request's `User`.
//!
//! `JWT_SECRET=... cargo run -p tokens -- 127.0.0.1:8000`. For tokens of an OpenID Connect provider use its public key:
//! `DecodingKey::from_jwk`, `Algorithm::RS256`, and `Validation::set_issuer`.

use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode};
use modest::layers::{BearerAuth, JsonErrors};
use modest::{Error, OrStatus, Request, RequestHandler, Response, Result, Routes, TcpServer, User};
use serde::Deserialize;
use serde_json::json;

/// The content of a token.
#[derive(Deserialize)]
struct Claims {
    sub: String,
    tenant: String,
    #[serde(default)]
    roles: Vec<String>,
}

/// Returns a layer that responds with 401 to every token that the crate rejects, and logs the reason.
fn auth(key: DecodingKey) -> BearerAuth {
    let mut rules = Validation::new(Algorithm::HS256); // only this algorithm: the token must not choose one
    rules.set_audience(&["notes"]);
    rules.set_required_spec_claims(&["exp", "aud", "sub"]);
    BearerAuth::checked_by("notes", move |_, token| {
        let token = decode::<Claims>(token, &key, &rules).inspect_err(|error| log::info!("a token: {error}")).ok()?;
        let Claims { sub, tenant, roles } = token.claims;
        Some(roles.into_iter().fold(User::new(sub).with_claim("tenant", tenant), User::with_role))
    })
}

fn me(_: &(), request: &Request) -> Result<Response> {
    let user = request.value::<User>().or_status(401)?;
    let roles: Vec<_> = user.roles().collect();
    Ok(Response::json(&json!({ "name": user.name(), "tenant": user.claim("tenant"), "roles": roles })))
}

fn report(_: &(), request: &Request) -> Result<Response> {
    match request.value::<User>().or_status(401)? {
        user if user.has_role("admin") => Ok(Response::text("all is well\n")),
        _ => Err(Error::new(403, "expected the role admin")),
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let _log = modest::log_to_stderr();
    let address = std::env::args().nth(1).unwrap_or("127.0.0.1:8000".into());
    let secret = std::env::var("JWT_SECRET").map_err(|_| "JWT_SECRET is not set")?;
    let routes = Routes::new().get("/me", me).get("/report", report).with_state(());
    let app = routes.layer(auth(DecodingKey::from_secret(secret.as_bytes()))).layer(JsonErrors);
    let server = TcpServer::bind(address, app)?;
    server.handle().shutdown_on_signals()?;
    println!("Serving HTTP at http://{}/me ...", server.local_addr());
    Ok(server.serve_forever()?)
}
