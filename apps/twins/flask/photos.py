"""An inbox for photos, with thumbnails in the background and event streams. Each listener holds a thread."""

import queue
import sys
import threading
from pathlib import Path

from flask import Flask, Response, abort, redirect, request, send_from_directory
from PIL import Image
from werkzeug.utils import secure_filename

app = Flask(__name__)
app.config["MAX_CONTENT_LENGTH"] = 100 << 20
folder = Path(sys.argv[2] if len(sys.argv) > 2 else "photos").resolve()
jobs = queue.Queue(100)
listeners, lock = set(), threading.Lock()


def free_path(name):
    for number in range(1000):
        path = folder / (f"{Path(name).stem}-{number}{Path(name).suffix}" if number else name)
        try:
            path.touch(exist_ok=False)
            return path
        except FileExistsError:
            pass
    abort(409)


def shrink():
    while photo := jobs.get():
        try:
            image = Image.open(photo)
            image.thumbnail((320, 320))
            hidden = folder / f".{photo.name}"
            image.save(hidden, image.format)
            hidden.rename(folder / "thumbs" / photo.name)
        except OSError as error:
            app.logger.warning("%s: %s", photo, error)
            continue
        with lock:
            for listener in listeners:
                listener.put(photo.name)


@app.get("/")
def index():
    return send_from_directory(Path(__file__).parent.parent.parent / "photos" / "src", "page.html")


@app.post("/")
def add():
    for photo in request.files.getlist("photo"):
        name = secure_filename(photo.filename)
        if not name:
            continue
        if photo.mimetype not in ("image/jpeg", "image/png"):
            abort(415)
        path = free_path(name)
        photo.save(path)
        try:
            jobs.put_nowait(path)
        except queue.Full:
            abort(503)
    return redirect("/", 303)


@app.get("/events")
def events():
    mine = queue.Queue()
    with lock:
        listeners.add(mine)

    def lines():
        try:
            for path in sorted((folder / "thumbs").iterdir()):
                yield f"data: {path.name}\n\n"
            while True:
                try:
                    yield f"data: {mine.get(timeout=15)}\n\n"
                except queue.Empty:
                    yield ":\n\n"
        finally:
            with lock:
                listeners.discard(mine)

    return Response(lines(), mimetype="text/event-stream", headers={"Cache-Control": "no-store"})


@app.get("/photos/<path:path>")
def photo(path):
    return send_from_directory(folder, path)


if __name__ == "__main__":
    (folder / "thumbs").mkdir(parents=True, exist_ok=True)
    threading.Thread(target=shrink, name="thumbnails", daemon=True).start()
    app.run(port=int(sys.argv[1]), threaded=True)
