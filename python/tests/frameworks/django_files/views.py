from django.db.models import F
from django.http import FileResponse, HttpResponse, HttpResponseRedirect, StreamingHttpResponse
from django.shortcuts import get_object_or_404, render
from django.template import engines
from django.urls import reverse

from .models import Choice, Document, Question

DETAIL = """<h1>{{ question.question_text }}</h1>{% if error_message %}<p><strong>{{ error_message }}</strong></p>{% endif %}
<form action="{% url 'polls:vote' question.id %}" method="post">{% csrf_token %}{% for choice in question.choice_set.all %}
<input type="radio" name="choice" value="{{ choice.id }}"><label>{{ choice.choice_text }}</label>{% endfor %}<input type="submit" value="Vote"></form>"""
RESULTS = "{% for choice in question.choice_set.all %}<li>{{ choice.choice_text }} -- {{ choice.votes }}</li>{% endfor %}"


def page(request, text, **context):
    return HttpResponse(engines["django"].from_string(text).render(context, request))


def index(request):
    return page(request, "{% for question in questions %}<li>{{ question.question_text }}</li>{% endfor %}", questions=Question.objects.order_by("-pub_date")[:5])


def detail(request, question_id):
    return page(request, DETAIL, question=get_object_or_404(Question, pk=question_id))


def results(request, question_id):
    return page(request, RESULTS, question=get_object_or_404(Question, pk=question_id))


def vote(request, question_id):
    question = get_object_or_404(Question, pk=question_id)
    try:
        selected_choice = question.choice_set.get(pk=request.POST["choice"])
    except (KeyError, Choice.DoesNotExist):
        return page(request, DETAIL, question=question, error_message="You didn't select a choice.")
    selected_choice.votes = F("votes") + 1
    selected_choice.save()
    return HttpResponseRedirect(reverse("polls:results", args=(question.id,)))


def download(request, document_id):
    return FileResponse(get_object_or_404(Document, pk=document_id).file.open("rb"))


def stream(request):
    return StreamingHttpResponse((f"{number}\n" for number in range(1000)), content_type="text/plain")
