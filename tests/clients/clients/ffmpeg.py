"""ffmpeg and ffprobe: the properties of a film, a picture from its middle, and a whole playlist."""

import json

from kit.bench import digest, make
from kit.checks import same

NAME = "ffmpeg"
DEBIAN = {"ffmpeg": "ffmpeg", "ffprobe": "ffmpeg"}
SECONDS = 40


def version(at):
    return at.run(["ffmpeg", "-version"]).text.split()[2].split("-")[0]


def ffmpeg(at, *words):
    return at.run(["ffmpeg", "-v", "error", "-nostdin", "-y", *words], within=55).good()


def film(at):
    """A film of some megabytes with its index at the end, as cameras write it, so that a player must seek before it can start."""
    path = at.root / "film.mp4"
    if not path.exists():
        # Noise in the picture makes the file large: in a small one the player would read to the end instead of seeking.
        picture = ["-f", "lavfi", "-i", f"testsrc2=size=320x240:rate=25:duration={SECONDS},noise=alls=40:allf=t"]
        sound = ["-f", "lavfi", "-i", f"sine=frequency=440:duration={SECONDS}"]
        coded = [
            "-c:v",
            "libx264",
            "-preset",
            "ultrafast",
            "-crf",
            "28",
            "-g",
            "25",
            "-pix_fmt",
            "yuv420p",
            "-c:a",
            "aac",
        ]
        ffmpeg(at, *picture, *sound, *coded, "-f", "mp4", path)
        make(path, path.read_bytes())
        at.settle("/film.mp4")
    return path, f"{at.site.url}/film.mp4"


def check_probe(at):
    """ffprobe: the same output as for the file itself"""
    path, url = film(at)
    words = ["ffprobe", "-v", "error", "-show_streams", "-of", "json"]
    same(json.loads(at.run([*words, url]).good().out), json.loads(at.run([*words, path]).good().out), "the streams")


def check_seek(at):
    """a picture from the middle of the film: equal, by ranges and without reading everything"""
    path, url = film(at)
    folder = at.folder("ffmpeg-seek")
    for second in (30, 5, 38):
        mark = at.site.mark()
        for source, name in ((url, "far.png"), (path, "near.png")):
            ffmpeg(at, "-ss", second, "-i", source, "-frames:v", "1", folder / name)
        same(digest(folder / "far.png"), digest(folder / "near.png"), f"the picture at {second} s")
        asked = [line for line in at.site.logged(mark, "/film.mp4") if '" 206 ' in line]
        assert len(asked) >= 2, f"{asked}"


def check_play(at):
    """the whole film decoded: all pictures and sound equal those of the file"""
    path, url = film(at)
    sums = [ffmpeg(at, "-i", source, "-f", "md5", "-").out for source in (url, path)]
    same(sums[0], sums[1], "the sum of all pictures and sounds")


def check_playlist(at):
    """m3u8: a whole playlist of pieces"""
    path, _ = film(at)
    folder, url = at.served("playlist")
    ffmpeg(at, "-i", path, "-c", "copy", "-f", "hls", "-hls_time", "4", "-hls_list_size", "0", folder / "film.m3u8")
    at.settle("/playlist/film.m3u8")
    same(at.head("/playlist/film.m3u8")["content-type"], "application/vnd.apple.mpegurl", "the type of a playlist")
    same(at.head("/playlist/film0.ts")["content-type"], "video/mp2t", "the type of a piece")
    sums = [
        ffmpeg(at, "-i", source, "-c", "copy", "-f", "md5", "-").out
        for source in (f"{url}/film.m3u8", folder / "film.m3u8")
    ]
    same(sums[0], sums[1], "the sum of what was played")
