//! A JSON API of nested resources: projects, and the tasks of each.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};

use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{FromRequest, FromRequestParts, Path, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tower_http::cors::CorsLayer;

type Tasks = BTreeMap<u64, Task>;

#[derive(Clone)]
pub struct Api {
    users: Arc<HashMap<String, String>>,
    projects: Arc<Mutex<BTreeMap<(String, String), Tasks>>>,
}

#[derive(Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Task {
    title: String,
    #[serde(default)]
    done: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewProject {
    name: String,
}

#[derive(Deserialize)]
struct Page {
    #[serde(default)]
    after: u64,
    limit: Option<u8>,
}

/// An error as problem details. The extractors report the first fault, as text.
struct Problem {
    status: StatusCode,
    title: String,
    errors: Vec<serde_json::Value>,
}

impl Problem {
    fn new(status: StatusCode, title: impl Into<String>) -> Problem {
        Problem { status, title: title.into(), errors: Vec::new() }
    }

    fn field(field: &str, message: &str) -> Problem {
        let errors = vec![json!({ "field": field, "message": message })];
        Problem { errors, ..Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid fields") }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = json!({ "status": self.status.as_u16(), "title": self.title, "errors": self.errors });
        let mut response = (self.status, Json(body)).into_response();
        let fields = response.headers_mut();
        fields.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if self.status == StatusCode::UNAUTHORIZED {
            fields.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"projects\""));
        }
        response
    }
}

impl From<JsonRejection> for Problem {
    fn from(rejection: JsonRejection) -> Problem {
        Problem::new(rejection.status(), rejection.body_text())
    }
}

impl From<QueryRejection> for Problem {
    fn from(rejection: QueryRejection) -> Problem {
        Problem::new(rejection.status(), rejection.body_text())
    }
}

#[derive(FromRequest)]
#[from_request(via(axum::Json), rejection(Problem))]
struct Body<T>(T);

#[derive(FromRequestParts)]
#[from_request(via(axum::extract::Query), rejection(Problem))]
struct Query<T>(T);

struct User(String);

impl FromRequestParts<Api> for User {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<User, Problem> {
        let field = parts.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let token =
            field.and_then(|value| value.split_once(' ')).filter(|(kind, _)| kind.eq_ignore_ascii_case("bearer"));
        let user = token.and_then(|(_, token)| api.users.get(token));
        user.cloned().map(User).ok_or_else(|| Problem::new(StatusCode::UNAUTHORIZED, "expected a token"))
    }
}

impl Api {
    fn with<T>(
        &self,
        key: (String, String),
        work: impl FnOnce(&mut Tasks) -> Result<T, Problem>,
    ) -> Result<T, Problem> {
        let mut all = self.projects.lock().unwrap();
        work(all.get_mut(&key).ok_or_else(|| missing(format!("there is no project {}", key.1)))?)
    }
}

fn missing(what: impl Into<String>) -> Problem {
    Problem::new(StatusCode::NOT_FOUND, what)
}

fn check(task: Task) -> Result<Task, Problem> {
    match task.title.trim() {
        "" => Err(Problem::field("title", "expected some text")),
        _ => Ok(task),
    }
}

async fn projects(State(api): State<Api>, User(user): User) -> Json<Vec<String>> {
    let all = api.projects.lock().unwrap();
    Json(all.keys().filter(|(owner, _)| *owner == user).map(|(_, name)| name.clone()).collect())
}

async fn add_project(
    State(api): State<Api>,
    User(user): User,
    Body(NewProject { name }): Body<NewProject>,
) -> Result<impl IntoResponse, Problem> {
    if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
        return Err(Problem::field("name", "expected letters, digits and hyphens"));
    }
    let location = format!("/projects/{name}");
    api.projects.lock().unwrap().entry((user, name)).or_default();
    Ok((StatusCode::CREATED, [(header::LOCATION, location)]))
}

async fn tasks(
    State(api): State<Api>,
    User(user): User,
    Path(project): Path<String>,
    Query(Page { after, limit }): Query<Page>,
) -> Result<Response, Problem> {
    let limit = limit.unwrap_or(20).clamp(1, 100);
    api.with((user, project.clone()), |tasks| {
        let page: Vec<_> = tasks.range(after + 1..).take(limit.into()).collect();
        let mut response = Json(&page).into_response();
        if let Some((last, _)) = page.last().filter(|_| tasks.range(after + 1..).count() > limit.into()) {
            let link = format!("</projects/{project}/tasks?after={last}&limit={limit}>; rel=\"next\"");
            let link = HeaderValue::try_from(link).map_err(|_| missing("no such link"))?;
            response.headers_mut().insert(header::LINK, link);
        }
        Ok(response)
    })
}

async fn add_task(
    State(api): State<Api>,
    User(user): User,
    Path(project): Path<String>,
    Body(task): Body<Task>,
) -> Result<impl IntoResponse, Problem> {
    let task = check(task)?;
    api.with((user, project.clone()), |tasks| {
        let id = tasks.last_key_value().map_or(1, |(last, _)| last + 1);
        tasks.insert(id, task);
        Ok((StatusCode::CREATED, [(header::LOCATION, format!("/projects/{project}/tasks/{id}"))]))
    })
}

async fn task(
    State(api): State<Api>,
    User(user): User,
    Path((project, id)): Path<(String, u64)>,
) -> Result<Json<Task>, Problem> {
    api.with((user, project), |tasks| tasks.get(&id).cloned().map(Json).ok_or_else(|| missing("no such task")))
}

async fn change_task(
    State(api): State<Api>,
    User(user): User,
    Path((project, id)): Path<(String, u64)>,
    Body(task): Body<Task>,
) -> Result<StatusCode, Problem> {
    let task = check(task)?;
    api.with((user, project), |tasks| {
        tasks.get_mut(&id).map(|old| *old = task).ok_or_else(|| missing("no such task"))
    })?;
    Ok(StatusCode::NO_CONTENT)
}

/// `tokens`: `NAME:TOKEN,NAME:TOKEN`. axum has no list of its routes.
pub fn app(tokens: &str, origin: &str) -> Router {
    let users =
        tokens.split(',').filter_map(|pair| pair.split_once(':')).map(|(name, token)| (token.into(), name.into()));
    let api = Api { users: Arc::new(users.collect()), projects: Arc::default() };
    let cors = CorsLayer::new()
        .allow_origin(origin.parse::<HeaderValue>().expect("an origin"))
        .allow_methods([Method::GET, Method::POST, Method::PUT])
        .allow_headers([header::AUTHORIZATION, header::CONTENT_TYPE])
        .expose_headers([header::LINK, header::LOCATION]);
    Router::new()
        .route("/projects", get(projects).post(add_project))
        .route("/projects/{project}/tasks", get(tasks).post(add_task))
        .route("/projects/{project}/tasks/{id}", get(task).put(change_task))
        .fallback(|_: Request| async { missing("there is nothing here") })
        .with_state(api)
        .layer(cors)
}
