"""A URL shortener over SQLite with sessions, flash messages and CSRF tokens."""

import secrets
import sqlite3
import sys
from urllib.parse import urlsplit

from flask import Flask, abort, flash, g, get_flashed_messages, jsonify, redirect, render_template_string, request, session

PAGE = open(__file__.replace("shortener.py", "shortener.html")).read()
app = Flask(__name__)
app.config.update(MAX_CONTENT_LENGTH=16 << 10, SECRET_KEY=secrets.token_bytes(), SESSION_COOKIE_SAMESITE="Lax")


def db():
    if "db" not in g:
        g.db = sqlite3.connect(app.config["DATABASE"], isolation_level=None)
    return g.db


@app.teardown_appcontext
def close(_):
    if "db" in g:
        g.pop("db").close()


def csrf_token():
    return session.setdefault("csrf", secrets.token_urlsafe())


@app.before_request
def csrf():
    if request.method == "POST" and not request.is_json:
        site = request.headers.get("Sec-Fetch-Site")
        token = session.get("csrf", "")
        if site in ("same-origin", "none") or token and secrets.compare_digest(token, request.form.get("csrf_token", "")):
            return
        abort(403)


@app.get("/")
def index():
    rows = []
    for code in session.get("codes", []):
        rows.append((code, *db().execute("SELECT url, visits FROM links WHERE code = ?", [code]).fetchone()))
    return render_template_string(PAGE, rows=rows, token=csrf_token(), flashes=get_flashed_messages())


@app.post("/links")
def add():
    value = request.get_json() if request.is_json else request.form
    url = value.get("url", "") if hasattr(value, "get") else ""
    if not isinstance(url, str) or len(url) > 2000 or urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).netloc:
        return jsonify(errors=[{"field": "url", "message": "expected http:// or https://, and at most 2000 bytes"}]), 422
    sql = "INSERT INTO links VALUES (lower(hex(randomblob(4))), ?, 0) RETURNING code"
    [code] = db().execute(sql, [url]).fetchone()
    if request.is_json:
        return jsonify(code=code, url=url, visits=0), 201, {"Location": f"/{code}"}
    flash(f"/{code} is made.")
    session["codes"] = [code, *session.get("codes", [])]
    return redirect("/", 303)


@app.get("/<code>")
def follow(code):
    row = db().execute("UPDATE links SET visits = visits + 1 WHERE code = ? RETURNING url", [code]).fetchone()
    return redirect(row[0]) if row else abort(404)


if __name__ == "__main__":
    app.config["DATABASE"] = sys.argv[2]
    with app.app_context():
        db().execute("CREATE TABLE IF NOT EXISTS links (code TEXT PRIMARY KEY, url TEXT NOT NULL, visits INTEGER NOT NULL)")
    app.run(port=int(sys.argv[1]))
