//! A JSON API of nested resources: projects, and the tasks of each. Pages of results, bearer tokens, CORS for another site,
//! an error for each field, and the list of its routes.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use modest::layers::{BearerAuth, Cors, JsonErrors};
use modest::{Error, OrStatus, Request, RequestHandler, Response, Result, Routes, User};
use serde::{Deserialize, Serialize};

type Tasks = BTreeMap<u64, Task>;

/// The tasks of each project, by its owner and its name.
#[derive(Default)]
pub struct Api(Mutex<BTreeMap<(String, String), Tasks>>);

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

impl Api {
    fn projects(&self, request: &Request) -> Result<Response> {
        let user = request.user().or_status(401)?;
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(Response::json(&all.keys().filter(|(owner, _)| *owner == user).map(|(_, name)| name).collect::<Vec<_>>()))
    }

    fn add_project(&self, request: &Request) -> Result<Response> {
        let NewProject { name } = request.json_as()?;
        if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
            return Err(Error::new(422, "").with_field_error("name", "expected letters, digits and hyphens"));
        }
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.entry((request.user().or_status(401)?, name.clone())).or_default();
        Ok(Response::new(201).with_header("location", format!("/projects/{name}")))
    }

    /// `GET /projects/NAME/tasks?after=20&limit=10`, with a link to the next page.
    fn tasks(&self, request: &Request) -> Result<Response> {
        let Page { after, limit } = request.query_as()?;
        let limit = limit.unwrap_or(20).clamp(1, 100);
        self.with(request, |tasks| {
            let page: Vec<_> = tasks.range(after + 1..).take(limit.into()).collect();
            let response = Response::json(&page);
            let Some((last, _)) = page.last().filter(|_| tasks.range(after + 1..).count() > limit.into()) else {
                return Ok(response);
            };
            Ok(response.with_header("link", format!("<{}?after={last}&limit={limit}>; rel=\"next\"", request.path())))
        })
    }

    fn add_task(&self, request: &Request) -> Result<Response> {
        let task = task(request)?;
        self.with(request, |tasks| {
            let id = tasks.last_key_value().map_or(1, |(last, _)| last + 1);
            tasks.insert(id, task);
            Ok(Response::new(201).with_header("location", format!("{}/{id}", request.path())))
        })
    }

    fn task(&self, request: &Request) -> Result<Response> {
        let id: u64 = request.path_param("id")?;
        self.with(request, |tasks| Ok(Response::json(tasks.get(&id).or_status(404)?)))
    }

    fn change_task(&self, request: &Request) -> Result<Response> {
        let (id, task): (u64, Task) = (request.path_param("id")?, task(request)?);
        self.with(request, |tasks| tasks.get_mut(&id).map(|old| *old = task).or_status(404))?;
        Ok(Response::no_content())
    }

    /// Calls `work` with the tasks of the project in the path, if the user owns that project.
    fn with<T>(&self, request: &Request, work: impl FnOnce(&mut Tasks) -> Result<T>) -> Result<T> {
        let key = (request.user().or_status(401)?, request.path_param("project")?);
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        work(all.get_mut(&key).ok_or_else(|| Error::new(404, format!("there is no project {}", key.1)))?)
    }
}

fn task(request: &Request) -> Result<Task> {
    let task: Task = request.json_as()?;
    let has_title = !task.title.trim().is_empty();
    has_title.then_some(task).ok_or_else(|| Error::new(422, "").with_field_error("title", "expected some text"))
}

pub fn routes() -> Routes<Api> {
    Routes::new()
        .get("/projects", Api::projects)
        .post("/projects", Api::add_project)
        .get("/projects/{project}/tasks", Api::tasks)
        .post("/projects/{project}/tasks", Api::add_task)
        .get("/projects/{project}/tasks/{id}", Api::task)
        .put("/projects/{project}/tasks/{id}", Api::change_task)
}

/// `tokens`: `NAME:TOKEN,NAME:TOKEN`.
pub fn app(tokens: &str, origin: &str) -> impl RequestHandler + use<> {
    let tokens = tokens.split(',').filter_map(|pair| pair.split_once(':'));
    let auth = tokens.fold(BearerAuth::new("projects"), |auth, (name, token)| auth.token(token, User::new(name)));
    let cors = Cors::new().origin(origin).headers(["authorization", "content-type"]).expose(["link", "location"]);
    routes().with_state(Api::default()).layer(auth).layer(cors).layer(JsonErrors)
}
