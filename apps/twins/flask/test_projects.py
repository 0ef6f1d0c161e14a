import pytest
from projects import create_app

FOREIGN = "https://app.example"


@pytest.fixture
def client():
    return create_app("ada:7f3a9c,bob:1b2d4e", FOREIGN).test_client()


def ask(client, token, method, target, json=None):
    fields = {"Authorization": f"Bearer {token}", "Origin": FOREIGN}
    return client.open(target, method=method, json=json, headers=fields)


def test_tasks_come_in_pages_and_belong_to_their_owner(client):
    made = ask(client, "7f3a9c", "POST", "/projects", {"name": "house"})
    assert (made.status_code, made.headers["Location"]) == (201, "/projects/house")
    for number in range(1, 26):
        assert ask(client, "7f3a9c", "POST", "/projects/house/tasks", {"title": f"{number}"}).status_code == 201
    changed = ask(client, "7f3a9c", "PUT", "/projects/house/tasks/2", {"title": "two", "done": True})
    assert changed.status_code == 204
    page = ask(client, "7f3a9c", "GET", "/projects/house/tasks?limit=2")
    assert page.headers["Link"] == '</projects/house/tasks?after=2&limit=2>; rel="next"'
    assert page.json == [[1, {"title": "1", "done": False}], [2, {"title": "two", "done": True}]]
    assert "Link" not in ask(client, "7f3a9c", "GET", "/projects/house/tasks?after=20").headers
    assert ask(client, "1b2d4e", "GET", "/projects/house/tasks").status_code == 404


def test_each_error_names_its_fields_for_pages_of_the_other_site(client):
    wrong = ask(client, "7f3a9c", "POST", "/projects", {"name": "a b"})
    assert (wrong.status_code, wrong.headers["Access-Control-Allow-Origin"]) == (422, FOREIGN)
    assert wrong.json["errors"][0]["field"] == "name"
    wrong = ask(client, "7f3a9c", "GET", "/projects/none/tasks?after=x&limit=1000")
    assert wrong.status_code == 400
    assert ask(client, "wrong", "GET", "/projects").status_code == 401
