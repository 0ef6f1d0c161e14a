"""Bottle's tutorial: routes, forms, uploads, static files, templates, cookies. https://bottlepy.org/docs/dev/tutorial.html"""

import os

import bottle
from bottle import Bottle, HTTPError, request, response, static_file, template

app = application = Bottle()


@app.route("/hello/<name>")
def hello(name):
    response.set_cookie("visited", name, secret="some-secret-key", path="/")
    return template("<b>Hello {{name}}</b>!", name=name)


@app.route("/who")
def who():
    return request.get_cookie("visited", secret="some-secret-key") or "nobody"


@app.post("/login")
def login():
    if request.forms.get("password") != "secret":
        raise HTTPError(401, "wrong password")
    return "welcome " + request.forms.get("username")


@app.post("/upload")
def upload():
    file = request.files.get("file")
    return {"name": file.filename, "size": len(file.file.read())}


@app.post("/json")
def echo_json():
    return {"echo": request.json}


@app.route("/static/<path:path>")
def files(path):
    return static_file(path, root=os.path.join(os.path.dirname(__file__), "flaskr", "static"))


@app.route("/stream")
def stream():
    yield "begun\n"
    for number in range(1000):
        yield f"{number}\n"
