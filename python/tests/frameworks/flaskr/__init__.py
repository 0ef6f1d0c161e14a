"""Flask's tutorial: users, posts, sessions, flashed messages, SQLite. https://flask.palletsprojects.com/tutorial/"""

import os

from flask import Flask


def create_app(test_config=None):
    app = Flask(__name__, instance_relative_config=True, instance_path=os.environ.get("FLASKR_INSTANCE"))
    app.config.from_mapping(SECRET_KEY="dev", DATABASE=os.path.join(app.instance_path, "flaskr.sqlite"))
    os.makedirs(app.instance_path, exist_ok=True)

    @app.route("/hello")
    def hello():
        return "Hello, World!"

    from . import auth, blog, db, more

    db.init_app(app)
    app.register_blueprint(auth.bp)
    app.register_blueprint(blog.bp)
    app.register_blueprint(more.bp)
    app.add_url_rule("/", endpoint="index")
    return app
