"""Applications that return the length of the body, as each framework reads it."""


def flask():
    from flask import Flask, request

    app = Flask(__name__)
    app.add_url_rule("/", view_func=lambda: str(len(request.get_data())), methods=["POST"])
    return app


def django():
    from django.conf import settings
    from django.core.wsgi import get_wsgi_application
    from django.http import HttpResponse
    from django.urls import path

    urls = (path("", lambda request: HttpResponse(str(len(request.read())))),)
    settings.configure(ROOT_URLCONF=urls, ALLOWED_HOSTS=["*"], SECRET_KEY="test")
    return get_wsgi_application()


def pyramid():
    from pyramid.config import Configurator
    from pyramid.response import Response

    with Configurator() as config:
        config.add_route("all", "/")
        config.add_view(lambda request: Response(str(len(request.body))), route_name="all")
        return config.make_wsgi_app()


def bottle():
    import bottle

    app = bottle.Bottle()
    app.post("/")(lambda: str(len(bottle.request.body.read())))
    return app


def falcon():
    import falcon

    class Length:
        def on_post(self, request, response):
            response.text = str(len(request.bounded_stream.read()))

    app = falcon.App()
    app.add_route("/", Length())
    return app
