// Two views: /tasks lists, /tasks/7 shows one. Links change the path without loading the page again.
const main = document.querySelector("main");

async function show() {
  const number = location.pathname.match(/^\/tasks\/(\d+)$/)?.[1];
  const answer = await fetch(`/api/tasks${number ? `/${number}` : ""}`);
  const said = await answer.json();
  const lines = !answer.ok ? [said.detail ?? said.title] : number ? [said.title, said.done ? "done" : "to do"] : said.map((task) => task.title);
  main.replaceChildren(...lines.map((text, at) => {
    const line = document.createElement(answer.ok && !number ? "a" : "p");
    line.textContent = text;
    line.href = `/tasks/${at}`;
    line.style.display = "block";
    return line;
  }));
}

main.addEventListener("click", (event) => {
  if (event.target.tagName !== "A") return;
  event.preventDefault();
  history.pushState(null, "", event.target.href);
  show();
});
addEventListener("popstate", show);
show();
