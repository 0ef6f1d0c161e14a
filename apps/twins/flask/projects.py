"""A JSON API of nested resources: projects, and the tasks of each. `python projects.py --routes` prints its routes."""

import os
import sys

from flask import Flask, g, jsonify, request
from werkzeug.exceptions import HTTPException


class Invalid(Exception):
    def __init__(self, status, **fields):
        self.status, self.fields = status, fields


def body(**types):
    value = request.get_json()
    if not isinstance(value, dict):
        raise Invalid(422, body="expected an object")
    faults = {name: "unknown" for name in value.keys() - types.keys()}
    for name, (kind, default) in types.items():
        value.setdefault(name, default)
        if type(value[name]) is not kind:
            faults[name] = f"expected {kind.__name__}"
    if faults:
        raise Invalid(422, **faults)
    return value


def number(name, default, least, most):
    text = request.args.get(name, "")
    if not text:
        return default
    if not text.isdecimal() or not least <= int(text) <= most:
        raise Invalid(400, **{name: f"expected a whole number from {least} to {most}"})
    return int(text)


def create_app(tokens, origin):
    app = Flask(__name__)
    users = {token: name for name, token in (pair.split(":") for pair in tokens.split(","))}
    projects = {}

    @app.before_request
    def authenticate():
        if request.method == "OPTIONS":
            return
        kind, _, token = request.headers.get("Authorization", "").partition(" ")
        g.user = users.get(token) if kind.lower() == "bearer" else None
        if g.user is None:
            raise Invalid(401)

    @app.after_request
    def cors(response):
        response.headers.add("Vary", "Origin")
        if request.headers.get("Origin") == origin:
            response.headers["Access-Control-Allow-Origin"] = origin
            response.headers["Access-Control-Allow-Headers"] = "authorization, content-type"
            response.headers["Access-Control-Allow-Methods"] = "GET, POST, PUT"
            response.headers["Access-Control-Expose-Headers"] = "link, location"
        return response

    @app.errorhandler(Invalid)
    def invalid(error):
        errors = [{"field": field, "message": message} for field, message in error.fields.items()]
        response = jsonify(status=error.status, errors=errors)
        if error.status == 401:
            response.headers["WWW-Authenticate"] = 'Bearer realm="projects"'
        response.content_type = "application/problem+json"
        return response, error.status

    @app.errorhandler(HTTPException)
    def problem(error):
        response = jsonify(status=error.code, title=error.name)
        response.content_type = "application/problem+json"
        return response, error.code

    def tasks_of(project):
        if (g.user, project) not in projects:
            raise Invalid(404)
        return projects[g.user, project]

    def task():
        value = body(title=(str, None), done=(bool, False))
        if not value["title"].strip():
            raise Invalid(422, title="expected some text")
        return value

    @app.get("/projects")
    def list_projects():
        return jsonify([name for owner, name in projects if owner == g.user])

    @app.post("/projects")
    def add_project():
        name = body(name=(str, None))["name"]
        if not name or not all(c.isascii() and (c.isalnum() or c == "-") for c in name):
            raise Invalid(422, name="expected letters, digits and hyphens")
        projects.setdefault((g.user, name), {})
        return "", 201, {"Location": f"/projects/{name}"}

    @app.get("/projects/<project>/tasks")
    def list_tasks(project):
        after, limit = number("after", 0, 0, 2**64 - 1), number("limit", 20, 0, 255)
        limit, tasks = min(max(limit, 1), 100), tasks_of(project)
        left = [[id, task] for id, task in tasks.items() if id > after]
        response = jsonify(left[:limit])
        if len(left) > limit:
            response.headers["Link"] = f'<{request.path}?after={left[limit - 1][0]}&limit={limit}>; rel="next"'
        return response

    @app.post("/projects/<project>/tasks")
    def add_task(project):
        tasks, value = tasks_of(project), task()
        id = max(tasks, default=0) + 1
        tasks[id] = value
        return "", 201, {"Location": f"{request.path}/{id}"}

    @app.get("/projects/<project>/tasks/<int:id>")
    def one_task(project, id):
        tasks = tasks_of(project)
        if id not in tasks:
            raise Invalid(404)
        return jsonify(tasks[id])

    @app.put("/projects/<project>/tasks/<int:id>")
    def change_task(project, id):
        tasks, value = tasks_of(project), task()
        if id not in tasks:
            raise Invalid(404)
        tasks[id] = value
        return "", 204

    return app


if __name__ == "__main__":
    if "--routes" in sys.argv:
        for rule in create_app("a:b", "").url_map.iter_rules():
            print(",".join(sorted(rule.methods)), rule)
    else:
        create_app(os.environ["API_TOKENS"], sys.argv[2]).run(port=int(sys.argv[1]))
