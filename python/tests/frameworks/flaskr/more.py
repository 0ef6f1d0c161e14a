"""More of Flask's patterns: uploads, downloads, streams, JSON, errors."""

import hashlib
import io
import os

from flask import Blueprint, Response, jsonify, request, send_file, stream_with_context

bp = Blueprint("more", __name__, url_prefix="/more")


@bp.post("/upload")
def upload():
    file = request.files["file"]
    found, size = hashlib.sha256(), 0
    while piece := file.stream.read(65536):
        found.update(piece)
        size += len(piece)
    return jsonify(name=file.filename, size=size, sha256=found.hexdigest(), note=request.form.get("note"))


@bp.get("/download")
def download():
    return send_file(os.environ["FLASKR_DOWNLOAD"], as_attachment=True, conditional=True)


@bp.get("/memory")
def memory():
    return send_file(io.BytesIO(b"in memory" * 1000), mimetype="text/plain", download_name="memory.txt")


@bp.get("/stream")
def stream():
    return Response(stream_with_context(f"row {number} of {request.path}\n" for number in range(1000)), mimetype="text/csv")


@bp.post("/json")
def echo_json():
    return jsonify(request.get_json())


@bp.get("/fails")
def fails():
    raise RuntimeError("on purpose")
