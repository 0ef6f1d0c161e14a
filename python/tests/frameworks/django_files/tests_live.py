"""Django's own live-server tests, with modest in place of its development server."""

import threading
import urllib.request

from django.contrib.staticfiles.testing import StaticLiveServerTestCase
from django.core.handlers.wsgi import WSGIHandler
from django.test.testcases import LiveServerThread

from modest.wsgi import Server, serve
from polls.models import Question


class ModestThread(LiveServerThread):
    def run(self):
        from django.db import connections

        self.server = Server()
        handler = self.static_handler(WSGIHandler())

        def application(environ, start_response):
            for alias, connection in self.connections_override.items():  # as in each thread of Django's own server
                connections[alias] = connection
            return handler(environ, start_response)

        serving = threading.Thread(target=serve, args=(application,), kwargs=dict(server=self.server, bind=self.host, port=0, quiet=True))
        serving.start()
        while not self.server.addresses:
            pass
        self.port = int(self.server.addresses[0].rpartition(":")[2])
        self.is_ready.set()
        serving.join()

    def terminate(self):
        self.server.shutdown()
        self.join()


class PollsLive(StaticLiveServerTestCase):
    server_thread_class = ModestThread

    def get(self, path):
        with urllib.request.urlopen(self.live_server_url + path) as answer:
            return answer.read().decode()

    def test_questions_are_shown(self):
        Question.objects.create(question_text="What's up?")
        self.assertIn("What&#x27;s up?", self.get("/polls/"))

    def test_static_files(self):
        self.assertIn("body", self.get("/static/admin/css/base.css"))
