"""Falcon's tutorial: resources, media, images that are stored and downloaded. https://falcon.readthedocs.io/en/stable/user/tutorial.html"""

import os
import tempfile
import uuid

import falcon

FOLDER = tempfile.mkdtemp()


class Quote:
    def on_get(self, req, resp):
        resp.media = {"quote": "I've always been more interested in the future than in the past.", "author": "Grace Hopper"}


class Collection:
    def on_get(self, req, resp):
        resp.media = {"images": [{"href": f"/images/{name}"} for name in sorted(os.listdir(FOLDER))]}

    def on_post(self, req, resp):
        name = f"{uuid.uuid4()}.png"
        with open(os.path.join(FOLDER, name), "wb") as image:
            while chunk := req.stream.read(4096):
                image.write(chunk)
        resp.status = falcon.HTTP_201
        resp.location = "/images/" + name


class Item:
    def on_get(self, req, resp, name):
        path = os.path.join(FOLDER, os.path.basename(name))
        if not os.path.exists(path):
            raise falcon.HTTPNotFound()
        resp.content_type = falcon.MEDIA_PNG
        resp.stream, resp.content_length = open(path, "rb"), os.path.getsize(path)


class Echo:
    def on_post(self, req, resp):
        resp.media = req.get_media()


app = application = falcon.App()
app.add_route("/quote", Quote())
app.add_route("/images", Collection())
app.add_route("/images/{name}", Item())
app.add_route("/echo", Echo())
