"""Pyramid's quick tutorial: views, routes, sessions, a form with a CSRF token, static files, JSON. https://docs.pylonsproject.org/"""

import os

from pyramid.config import Configurator
from pyramid.csrf import get_csrf_token
from pyramid.httpexceptions import HTTPFound, HTTPNotFound
from pyramid.response import FileResponse, Response
from pyramid.session import SignedCookieSessionFactory
from pyramid.view import view_config

PAGES = {"100": "Page 100"}


@view_config(route_name="home")
def home(request):
    request.session["count"] = request.session.get("count", 0) + 1
    return Response(f"<h1>Hello {request.params.get('name', 'World')}</h1><p>visit {request.session['count']}</p>")


@view_config(route_name="page", renderer="json")
def page(request):
    if request.matchdict["id"] not in PAGES:
        raise HTTPNotFound("no such page")
    return {"page": PAGES[request.matchdict["id"]]}


@view_config(route_name="edit", request_method="GET")
def edit(request):
    return Response(f'<form method="post"><input name="csrf_token" value="{get_csrf_token(request)}"><input name="title"></form>')


@view_config(route_name="edit", request_method="POST", require_csrf=True)
def save(request):
    PAGES[request.matchdict["id"]] = request.POST["title"]
    return HTTPFound(location=request.route_url("page", id=request.matchdict["id"]))


@view_config(route_name="upload", request_method="POST", renderer="json", require_csrf=False)
def upload(request):
    return {"name": request.POST["file"].filename, "size": len(request.POST["file"].file.read())}


@view_config(route_name="file")
def file(request):
    return FileResponse(os.path.abspath(__file__), request=request, content_type="text/plain")


@view_config(route_name="iterated")
def iterated(request):
    return Response(app_iter=(b"%d\n" % number for number in range(1000)), content_type="text/plain")


def make_app():
    with Configurator() as config:
        config.set_session_factory(SignedCookieSessionFactory("itsaseekreet"))
        for name, path in [("home", "/"), ("page", "/page/{id}"), ("edit", "/page/{id}/edit"), ("upload", "/upload"), ("file", "/file"),
                           ("iterated", "/iterated")]:
            config.add_route(name, path)
        config.add_static_view(name="static", path="flaskr:static")
        config.scan(__name__)
        return config.make_wsgi_app()
